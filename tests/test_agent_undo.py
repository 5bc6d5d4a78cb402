from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from glmcode.agent import Approval
from glmcode.checkpoints.recorder import Checkpoints, Step
from glmcode.checkpoints.store import store_folder
from glmcode.checkpoints.undo import Undo
from glmcode.core.events import Notice
from glmcode.core.messages import UserMessage
from glmcode.core.tool import Action
from glmcode.sessions import open_session
from tests.fake_engine import FakeEngine, Reply
from tests.scripted import calls, says
from tests.test_agent import EDIT, READ, Held

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLMCODE_HOME", str(tmp_path / "home"))


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = (tmp_path / "work").resolve()
    folder.mkdir()
    (folder / "a.py").write_text("x = 1\n")
    return folder


def bash(command: str) -> tuple[str, dict[str, Any]]:
    return ("Bash", {"command": command})


def glmcode(work: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "glmcode", "undo", *arguments],
        cwd=work, capture_output=True, text=True, stdin=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=60, check=False,
    )  # fmt: skip


def test_what_a_turn_edited_and_ran_is_undone_and_the_next_message_says_so(work: Path) -> None:
    script = [
        calls(READ),
        calls(EDIT, bash("rm -f gone; mkdir new; echo hi > new/file; chmod 755 a.py"), step=2),
        says("done"),
        calls(("Edit", {**EDIT[1], "new_string": "x = 3"}), step=4),
        says("ok"),
    ]
    (work / "gone").write_text("was here\n")
    held = Held(work, script, mode="bypassPermissions")

    async def main() -> None:
        await held.agent.submit("change it")
        assert (work / "a.py").read_text() == "x = 2\n" and not (work / "gone").exists()
        await held.agent.past.settled()
        undo = Undo(held.agent.past.checkpoints)
        applied = undo.apply(undo.plan())
        assert applied.failed == []
        await held.agent.submit("again")
        await held.agent.close()

    asyncio.run(main())
    assert (work / "a.py").read_bytes() == b"x = 1\n" and (
        work / "a.py"
    ).stat().st_mode & 0o111 == 0
    assert (work / "gone").read_text() == "was here\n" and not (work / "new").exists()
    last = [m for m in held.agent.transcript.messages if isinstance(m, UserMessage)][-1]
    assert last.text == (
        "[The user undid the changes of the last turn: files a.py, gone, new/file]\n\nagain"
    )
    assert held.results()[-1].startswith("not run: a.py was not read in this session")


def test_an_undo_outside_the_session_is_told_when_it_is_resumed_and_only_once(work: Path) -> None:
    held = Held(work, [calls(READ), calls(EDIT, step=2), says("done")], mode="acceptEdits")
    held.run("make x 2")
    done = glmcode(work, "--yes")
    assert done.returncode == 0, done.stderr
    assert "change   a.py" in done.stdout and "-x = 2" in done.stdout and "+x = 1" in done.stdout
    assert (work / "a.py").read_bytes() == b"x = 1\n"
    path = held.agent.journal.path
    again = Held(work, [says("one"), says("two")], stored=open_session(path))
    again.run("go on", "and on")
    said = [m.text for m in again.agent.transcript.messages if isinstance(m, UserMessage)]
    note = "[The user undid the changes of the last turn: files a.py]"
    assert said[-2] == f"{note}\n\ngo on" and said[-1] == "and on"


def test_without_an_answer_nothing_is_undone_and_a_dry_run_changes_nothing(work: Path) -> None:
    held = Held(work, [calls(READ), calls(EDIT, step=2), says("done")], mode="acceptEdits")
    held.run("make x 2")
    assert glmcode(work).returncode == 3
    assert glmcode(work, "--dry-run").returncode == 0
    assert (work / "a.py").read_bytes() == b"x = 2\n"


def test_what_the_person_changed_since_is_refused_by_name_until_forced(work: Path) -> None:
    held = Held(work, [calls(READ), calls(EDIT, step=2), says("done")], mode="acceptEdits")
    held.run("make x 2")
    (work / "a.py").write_text("mine\n")
    refused = glmcode(work, "--yes")
    assert refused.returncode == 1 and "a.py: changed since" in refused.stderr
    assert (work / "a.py").read_text() == "mine\n"
    assert glmcode(work, "--yes", "--force").returncode == 0
    assert (work / "a.py").read_text() == "x = 1\n"
    assert glmcode(work, "--redo", "--yes").returncode == 0
    assert (work / "a.py").read_text() == "mine\n"


def test_turns_are_listed_and_one_can_go_back_to_before_any_of_them(work: Path) -> None:
    script = [calls(bash(f"echo {n} > a.py"), step=n) for n in (1, 2, 3)]
    parts = [part for one in script for part in (one, says("ok"))]
    Held(work, list(parts), mode="bypassPermissions").run("first", "second", "third")
    listed = glmcode(work, "--list").stdout
    assert [line.split()[-1] for line in listed.splitlines()[::2]] == ["third", "second", "first"]
    second = listed.splitlines()[2].split()[0]
    assert glmcode(work, "--to", second, "--yes").returncode == 0
    assert (work / "a.py").read_text() == "1\n"
    assert glmcode(work, "--to", second, "--yes").returncode == 1
    assert glmcode(work, "--to", "nothing").returncode == 2


def test_an_ignored_file_and_one_outside_are_undone_where_a_tool_wrote_them(
    work: Path, tmp_path: Path
) -> None:
    (work / ".gitignore").write_text("*.log\nbuild/\n")
    (work / "old.log").write_text("before\n")
    outside = tmp_path / "elsewhere"
    outside.mkdir()
    script = [
        calls(("Read", {"file_path": "old.log"})),
        calls(
            ("Write", {"file_path": "old.log", "content": "after\n"}),
            ("Write", {"file_path": "build/deep/new.txt", "content": "made\n"}),
            ("Write", {"file_path": str(outside / "f"), "content": "made\n"}),
            bash("echo more >> old.log; echo more >> build/deep/new.txt; echo x > build/other"),
            step=2,
        ),
        says("done"),
    ]
    held = Held(work, script, mode="bypassPermissions", extra_folders=(outside,))
    held.run("write")
    done = glmcode(work, "--yes")
    assert (work / "old.log").read_text() == "before\n", done.stderr
    assert list(outside.iterdir()) == []
    assert [p.name for p in (work / "build").iterdir()] == ["other"]  # no tool wrote that one
    assert done.returncode == 1 and "not build: was left: it holds other files" in done.stderr


def test_a_store_that_cannot_be_written_stops_the_turn_before_the_edit(
    work: Path, tmp_path: Path
) -> None:
    folder = store_folder(work)
    folder.parent.mkdir(parents=True)
    folder.write_text("a file stands in its place")
    held = Held(work, [calls(READ), calls(EDIT, step=2), says("done")], mode="acceptEdits")
    (end,) = held.run("make x 2")
    assert end.reason == "error" and "no checkpoint can be written" in end.detail
    assert "tools.checkpoints = false" in end.detail
    assert (work / "a.py").read_bytes() == b"x = 1\n"


def test_without_checkpoints_nothing_is_recorded_and_everything_works(work: Path) -> None:
    script = [calls(READ), calls(EDIT, step=2), says("done")]
    held = Held(work, script, mode="acceptEdits", checkpoints=False)
    held.run("make x 2")
    assert (work / "a.py").read_bytes() == b"x = 2\n"
    assert not store_folder(work).exists()


def test_an_action_that_was_denied_is_no_turn_to_undo(work: Path) -> None:
    held = Held(work, [calls(READ), calls(EDIT, step=2), says("ok")], [Approval(allowed=False)])
    held.run("look")
    kept = Checkpoints(work, "")
    assert Undo(kept).turns() == []
    kept.close()


def test_a_file_too_large_to_keep_is_said_when_it_is_changed(work: Path) -> None:
    (work / "big.bin").write_bytes(b"x" * 10_000_001)
    held = Held(work, [calls(bash("echo y >> big.bin")), says("ok")], mode="bypassPermissions")
    held.run("grow it")
    said = [event.text for event in held.events if isinstance(event, Notice)]
    assert "changed, and undo can't bring it back: big.bin (larger than 10 MB)" in said
    refused = glmcode(work, "--yes")
    assert refused.returncode == 1 and "big.bin: what stood there was not kept" in refused.stderr


def test_a_cancelled_command_is_undone_with_its_turn(work: Path) -> None:
    script = [calls(bash("echo half > a.py; sleep 60")), says("ok")]
    held = Held(work, script, mode="bypassPermissions")

    async def main() -> None:
        turn = asyncio.ensure_future(held.agent.submit("slow"))
        while (work / "a.py").read_text() != "half\n":  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        held.agent.cancel()
        assert (await turn).reason == "cancelled"
        await held.agent.close()

    asyncio.run(main())
    assert glmcode(work, "--yes").returncode == 0
    assert (work / "a.py").read_bytes() == b"x = 1\n"


def test_a_project_in_the_home_folder_itself_is_not_walked(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(work))
    (work / "other.txt").write_text("1\n")
    script = [calls(READ), calls(EDIT, bash("echo 2 > other.txt"), step=2), says("done")]
    held = Held(work, script, mode="bypassPermissions")
    held.run("change")
    said = [event.text for event in held.events if isinstance(event, Notice)]
    assert any("is no project folder" in text for text in said)
    done = glmcode(work, "--yes")
    assert done.returncode == 0, done.stderr
    assert (work / "a.py").read_text() == "x = 1\n" and (work / "other.txt").read_text() == "2\n"


def test_what_a_command_did_when_glmcode_was_killed_is_named_and_undone_only_by_force(
    work: Path,
) -> None:
    call = {"name": "Bash", "arguments": {"command": "echo half > a.py; rm b.py; sleep 60"}}
    (work / "b.py").write_text("b\n")
    with FakeEngine([Reply(calls=[call])]) as engine:
        process = subprocess.Popen(
            [sys.executable, "-m", "glmcode", "-p", "-y", "--base-url", engine.base_url,
             "--protocol", "chat", "-m", "glm", "go"],
            cwd=work, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        end = time.monotonic() + 60
        while (work / "b.py").exists() and time.monotonic() < end:
            time.sleep(0.02)
        process.kill()
        process.wait()
    refused = glmcode(work, "--yes")
    assert refused.returncode == 1
    assert "a.py: glmcode ended during `Bash echo half > a.py" in refused.stderr
    assert (work / "a.py").read_text() == "half\n"
    assert glmcode(work, "--yes", "--force").returncode == 0
    assert (work / "a.py").read_text() == "x = 1\n" and (work / "b.py").read_text() == "b\n"


def test_the_tree_is_not_looked_at_around_a_command_that_only_looks(work: Path) -> None:
    looks, changes = bash("cat a.py | head -1 && ls"), bash("echo y > a.py")
    script = [calls(looks), calls(changes, step=2), says("done")]
    held = Held(work, script, mode="bypassPermissions")
    begun: list[str] = []
    before = held.agent.past._before

    async def noted(name: str, action: Action) -> Step:
        begun.append(action.subject)
        return await before(name, action)

    held.agent.past._before = noted  # type: ignore[method-assign]
    held.run("look, then change it")
    assert begun == ["echo y > a.py"]
