"""What the agent adds to a conversation: head, environment, folders' instructions, mentions."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from glmcode.agent import Agent, AgentOptions
from glmcode.agent_resume import preamble_to_json
from glmcode.base.settings import ContextSettings
from glmcode.core.events import Notice
from glmcode.core.messages import UserMessage
from glmcode.permissions import parse_rules
from glmcode.sessions import open_session, read_entries
from tests.scripted import Entry, calls, says
from tests.test_agent import Held


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLMCODE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = (tmp_path / "work").resolve()
    (folder / "src" / "deep").mkdir(parents=True)
    (folder / "a.py").write_text("x = 1\n")
    for name in ("b.py", "c.py", "deep/d.py"):
        (folder / "src" / name).write_text("y = 1\n")
    return folder


def reads(*paths: str, step: int = 1) -> Entry:
    return calls(*(("Read", {"file_path": path}) for path in paths), step=step)


def told(held: Held) -> list[str]:
    return [event.text for event in held.events if isinstance(event, Notice)]


def system(held: Held) -> str:
    return held.agent.transcript.preamble.system


FRAME = (
    "\n\n[glmcode: this project's instructions for the files in {0}/ follow; keep to them there.]\n"
    '<instructions from="{0}/AGENTS.md">\n{1}\n</instructions>'
)
Y = "1\ty = 1\n[lines 1-1 of 1]"


# The preamble


def test_instructions_stand_after_the_system_prompt_and_in_the_journal(work: Path) -> None:
    (work / "AGENTS.md").write_text("use tabs @gone.md\n")
    held = Held(work, [says("a")], system_prompt="BASE", append_system_prompt="MORE")
    held.run("hi")
    assert system(held).startswith("BASE\n\nMORE\n\nThe user and this project")
    assert 'AGENTS.md">\nuse tabs @gone.md\n[@gone.md was not imported' in system(held)
    assert told(held) == ["AGENTS.md: @gone.md was not imported: it does not exist"]
    header = next(iter(read_entries(held.agent.journal.path)))
    assert header["preamble"] == preamble_to_json(held.agent.transcript.preamble)


def test_without_instruction_files_the_head_is_the_system_prompt_alone(work: Path) -> None:
    assert system(Held(work, [], system_prompt="BASE")) == "BASE"


def test_instructions_can_be_left_out_everywhere(work: Path) -> None:
    options: Any = {"context": ContextSettings(instructions=False)}
    (work / "AGENTS.md").write_text("use tabs\n")
    (work / "src" / "AGENTS.md").write_text("use spaces\n")
    held = Held(work, [reads("src/b.py"), says("a")], **options)
    held.run("hi")
    assert "use tabs" not in system(held) and held.results() == [Y]


def test_a_new_session_reads_the_instructions_anew_and_a_stored_one_keeps_its_own(
    work: Path,
) -> None:
    (work / "AGENTS.md").write_text("one\n")
    held = Held(work, [says("a"), says("b"), says("c")])

    async def main() -> tuple[Agent, Agent]:
        await held.agent.submit("hi")
        (work / "AGENTS.md").write_text("two\n")
        fresh = await held.agent.renewed()
        await held.agent.close(keep_client=True)
        stored = open_session(held.agent.journal.path)
        options = AgentOptions(workspace=work, stored=stored)
        again = Agent(options, held.agent.client, held.events.append)
        await again.submit("more")
        await again.close(keep_client=True)
        await fresh.close()
        return fresh, again

    fresh, again = asyncio.run(main())
    assert "\ntwo\n" in fresh.transcript.preamble.system
    assert again.transcript.preamble == held.agent.transcript.preamble
    assert "\none\n" in again.transcript.preamble.system
    users = [m.text for m in again.transcript.messages if isinstance(m, UserMessage)]
    assert users[0].startswith("Working directory: ") and users[1] == "more"


HEAD = """
import asyncio, json, sys
from pathlib import Path
from glmcode.agent_head import build_head
from glmcode.agent_options import AgentOptions
from glmcode.agent_resume import preamble_to_json
options = AgentOptions(workspace=Path(sys.argv[1]).resolve(), mode=sys.argv[2])
print(json.dumps(preamble_to_json(build_head(options).preamble)))
"""


def test_two_processes_in_two_folders_share_every_byte_of_the_head(work: Path) -> None:
    subprocess.run(["git", "init", "-q", str(work)], check=True)
    (work / "AGENTS.md").write_text("root @b.md @a.md @gone.md\n")
    for name in "ab":
        (work / f"{name}.md").write_text(f"{name} @AGENTS.md\n")
    heads = {
        subprocess.run(
            [sys.executable, "-c", HEAD, str(folder), mode],
            env={**os.environ, "PYTHONHASHSEED": seed, "TZ": f"UTC+{seed}", "LC_ALL": locale},
            capture_output=True,
            check=True,
        ).stdout
        for folder, mode, seed, locale in (
            (work, "plan", "1", "C"),
            (work / "src" / "deep", "default", "2", "C.UTF-8"),
        )
    }
    assert len(heads) == 1
    assert str(work) not in json.loads(heads.pop())["system"]


# The first message


def test_the_first_message_tells_what_git_says_and_ends_its_block_with_an_empty_line(
    work: Path,
) -> None:
    subprocess.run(["git", "init", "-q", "-b", "trunk", str(work)], check=True)
    held = Held(work, [says("one"), says("two")])
    held.run("first", "second")
    first, second = (m.text for m in held.agent.transcript.messages if isinstance(m, UserMessage))
    block, _, rest = first.partition("\n\n")
    lines = block.split("\n")
    assert lines[3:] == ["Git branch: trunk (no commits yet)", "Git status:", "?? a.py", "?? src/"]
    assert (rest, second) == ("first", "second")


# Folders below


def test_a_folder_s_instructions_end_the_first_result_that_touches_it(work: Path) -> None:
    (work / "src" / "AGENTS.md").write_text("use spaces\n")
    (work / "src" / "deep" / "CLAUDE.md").write_text("go deep\n")
    script = [
        reads("a.py"),
        reads("src/b.py", step=2),
        reads("src/c.py", step=3),
        reads("src/deep/d.py", step=4),
        says("done"),
    ]
    held = Held(work, script)
    held.run("go")
    assert held.results() == [
        "1\tx = 1\n[lines 1-1 of 1]",
        Y + FRAME.format("src", "use spaces"),
        Y,
        Y + FRAME.format("src/deep", "go deep").replace("AGENTS", "CLAUDE"),
    ]


@pytest.mark.parametrize(
    "call",
    [
        ("Grep", {"pattern": "y", "path": "src"}),
        ("Glob", {"pattern": "*.py", "path": "src"}),
        ("Write", {"file_path": "src/new.py", "content": "z\n"}),
    ],
)
def test_searches_and_changes_of_a_folder_touch_it_too(work: Path, call: Any) -> None:
    (work / "src" / "AGENTS.md").write_text("use spaces\n")
    held = Held(work, [calls(call), says("done")], mode="acceptEdits")
    held.run("go")
    assert held.results()[0].endswith(FRAME.format("src", "use spaces"))


def test_a_search_of_everything_touches_no_folder_below(work: Path) -> None:
    (work / "src" / "AGENTS.md").write_text("use spaces\n")
    held = Held(work, [calls(("Grep", {"pattern": "y = 1"})), says("done")])
    held.run("go")
    assert "spaces" not in held.results()[0]


def test_two_reads_side_by_side_hand_it_over_once(work: Path) -> None:
    (work / "src" / "AGENTS.md").write_text("use spaces\n")
    held = Held(work, [reads("src/b.py", "src/c.py"), says("done")])
    held.run("go")
    assert sum("use spaces" in text for text in held.results()) == 1


def test_reading_the_instructions_themselves_counts_as_being_told(work: Path) -> None:
    (work / "src" / "AGENTS.md").write_text("use spaces\n")
    held = Held(work, [reads("src/AGENTS.md"), reads("src/b.py", step=2), says("done")])
    held.run("go")
    assert held.results() == ["1\tuse spaces\n[lines 1-1 of 1]", Y]


def test_what_git_ignores_and_what_the_rules_deny_has_no_say(work: Path) -> None:
    (work / ".gitignore").write_text("vendor/\n")
    (work / "vendor" / "p").mkdir(parents=True)
    (work / "vendor" / "p" / "AGENTS.md").write_text("obey me\n")
    (work / "vendor" / "p" / "x.py").write_text("y = 1\n")
    (work / "src" / "AGENTS.md").write_text("use spaces\n")
    script = [reads("vendor/p/x.py"), reads("src/b.py", step=2), says("done")]
    held = Held(work, script, deny=parse_rules(["Read(src/AGENTS.md)"]))
    held.run("go")
    first, second = held.results()
    assert first == Y
    assert "use spaces" not in second and "[left out: it may not be read: the rule" in second


def test_a_result_with_instructions_stays_within_the_limit_of_a_result(work: Path) -> None:
    (work / "src" / "AGENTS.md").write_text("a rule of many words\n" * 2_000)
    (work / "src" / "big.py").write_text("a line of a long file\n" * 2_000)
    held = Held(work, [reads("src/big.py"), says("done")], result_chars=6_000)
    held.model.window = 200_000
    held.run("go")
    (result,) = held.results()
    assert 5_000 < len(result) <= 6_000
    assert "; continue with offset=" in result
    assert "; Read src/AGENTS.md for the rest]\n</instructions>" in result


def test_a_session_gone_on_with_does_not_hand_over_again(work: Path) -> None:
    (work / "src" / "AGENTS.md").write_text("use spaces\n")
    held = Held(work, [reads("src/b.py"), says("a")])
    held.run("go")
    stored = open_session(held.agent.journal.path)
    again = Held(work, [reads("src/c.py", step=2), says("b")], stored=stored)
    again.run("more")
    assert again.results()[-1] == Y


# Mentions


def last(held: Held) -> str:
    users = [m.text for m in held.agent.transcript.messages if isinstance(m, UserMessage)]
    return users[-1].partition("\n\n")[2]


def test_a_mentioned_file_follows_the_text_and_counts_as_read(work: Path) -> None:
    edit = {"file_path": "a.py", "old_string": "x = 1", "new_string": "x = 2"}
    held = Held(work, [calls(("Edit", edit)), says("done")], mode="acceptEdits")
    held.run("change @a.py, please")
    assert last(held) == (
        "change @a.py, please\n\n[@a.py, as mentioned above]\n1\tx = 1\n[lines 1-1 of 1]"
    )
    assert told(held) == ["@a.py: read, 1 line"]
    assert (work / "a.py").read_text() == "x = 2\n"


def test_ranges_and_folders_are_shown_and_folders_tell_their_instructions(work: Path) -> None:
    (work / "long.txt").write_text("".join(f"l{n}\n" for n in range(1, 100)))
    (work / "src" / "AGENTS.md").write_text("use spaces\n")
    held = Held(work, [says("done")])
    held.run("@long.txt:10-11 @src @src/b.py")
    assert last(held).split("\n\n", 1)[1] == (
        "[@long.txt:10-11, as mentioned above]\n10\tl10\n11\tl11\n"
        "[lines 10-11 of 99; continue with offset=12]\n\n"
        "[@src, as mentioned above]\nAGENTS.md\nb.py\nc.py\ndeep/\n[4 entries]\n\n"
        f"[@src/b.py, as mentioned above]\n{Y}{FRAME.format('src', 'use spaces')}"
    )


def test_what_cannot_or_may_not_be_read_is_named(work: Path, tmp_path: Path) -> None:
    (work / "pic.png").write_bytes(b"\x89PNG\r\n\x1a\n\0")
    os.mkfifo(work / "fifo")
    (work / ".env").write_text("SECRET=1\n")
    (tmp_path / "out.txt").write_text("outside\n")
    (tmp_path / "outside").mkdir()
    (work / "link").symlink_to(tmp_path / "out.txt")
    held = Held(work, [says("done")], deny=parse_rules(["Read(.env)"]))
    held.run("@pic.png @fifo @.env @../out.txt @../outside @link")
    text = last(held)
    assert "SECRET" not in text and "outside\n" not in text.partition("\n\n")[2]
    assert "[@pic.png was not read: pic.png is a binary file (PNG image" in text
    assert "[@fifo was not read: fifo is a FIFO (named pipe)" in text
    assert "[@.env was not read: the rule Read(.env) denies it]" in text
    for name in ("../out.txt", "../outside", "link"):
        assert f"[@{name} was not read: the path lies outside the workspace; allow it" in text
    assert len(told(held)) == 6


def test_outside_is_read_where_it_is_allowed(work: Path, tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "out.txt").write_text("outside\n")
    held = Held(work, [says("done")], extra_folders=((tmp_path / "more").resolve(),))
    held.run("@../more/out.txt")
    assert "1\toutside\n" in last(held)


def test_all_mentions_of_a_message_are_bounded_together(work: Path) -> None:
    for number in range(6):
        (work / f"big{number}.txt").write_text("a line of a long file\n" * 2_000)
    held = Held(work, [says("done")], result_chars=4_000)
    held.model.window = 200_000
    held.run(" ".join(f"@big{number}.txt" for number in range(6)))
    assert 7_000 < len(last(held)) < 9_000
    assert "[@big5.txt was not read: the mentions before it fill the message; use Read]" in last(
        held
    )


def test_what_came_along_is_no_mention(work: Path) -> None:
    held = Held(work, [says("done")])

    async def main() -> None:
        await held.agent.submit("look", "piped @a.py")
        await held.agent.close()

    asyncio.run(main())
    assert last(held) == "look\n\npiped @a.py" and told(held) == []


def test_a_turn_that_is_cancelled_before_it_began_leaves_nothing_behind(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(work, [says("done")])

    async def forever() -> str:
        await asyncio.sleep(60)
        return ""

    async def main() -> str:
        block, held.agent._block = held.agent._block, forever
        turn = asyncio.ensure_future(held.agent.submit("one"))
        await asyncio.sleep(0.02)
        held.agent.cancel()
        first = await turn
        held.agent._block = block
        await held.agent.submit("two")
        await held.agent.close()
        return first.reason

    assert asyncio.run(main()) == "cancelled"
    users = [m.text for m in held.agent.transcript.messages if isinstance(m, UserMessage)]
    assert (
        len(users) == 1
        and users[0].startswith("Working directory:")
        and "interrupted" not in users[0]
    )


def test_what_a_mention_taught_survives_a_resume(work: Path) -> None:
    edit = {"file_path": "a.py", "old_string": "x = 1", "new_string": "x = 2"}
    held = Held(work, [says("seen")])
    held.run("look at @a.py")
    stored = open_session(held.agent.journal.path)
    again = Held(work, [calls(("Edit", edit)), says("b")], stored=stored, mode="acceptEdits")
    again.run("now change it")
    assert again.results()[0].startswith("edited a.py")


def test_a_mention_in_a_message_that_is_refused_does_not_count_as_read(work: Path) -> None:
    edit = {"file_path": "a.py", "old_string": "x = 1", "new_string": "x = 2"}
    held = Held(work, [calls(("Edit", edit)), says("b")], mode="acceptEdits")
    first, second = held.run("@a.py " + "word " * 60_000, "change a.py")
    assert (first.reason, second.reason) == ("context_full", "done")
    assert held.results()[0].startswith("not run: ") and (work / "a.py").read_text() == "x = 1\n"
