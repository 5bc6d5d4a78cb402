from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from glmcode.core.messages import AssistantMessage, RejectedCall, ToolCall, ToolMessage, UserMessage
from glmcode.sessions import Journal

ID = "20260101-000000-aaaaaa"
OTHER = "20260101-000000-bbbbbb"


class Home:
    """Stored sessions, and `glmcode sessions` on them."""

    def __init__(self, tmp_path: Path) -> None:
        self.home = tmp_path / "home"
        self.work = (tmp_path / "work").resolve()
        self.work.mkdir()
        self.environment = {**os.environ, "GLMCODE_HOME": str(self.home), "TZ": "UTC"}

    def run(self, *arguments: str, code: int = 0) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "glmcode", "sessions", *arguments],
            capture_output=True, encoding="utf-8", cwd=self.work, env=self.environment,
            stdin=subprocess.DEVNULL, timeout=60,
        )  # fmt: skip
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        self.stderr = done.stderr
        return done.stdout


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    home = Home(tmp_path)
    monkeypatch.setenv("GLMCODE_HOME", str(home.home))
    return home


def told(workspace: Path, session_id: str = ID, said: str = "Repair it") -> Journal:
    header = {"model": "glm", "protocol": "tokens", "preamble": {"tools": [], "system": "s"}}
    journal = Journal.create(workspace, header, session_id)
    journal.message(UserMessage(text=f"Folder: x\n\n{said}"), {"typed": said})
    call = ToolCall(id="a", name="Bash", arguments={"command": "ls -l"})
    bad = RejectedCall(id="b", reason="malformed", raw="<tool_call>", before=1)
    message = AssistantMessage(
        reasoning="I look.", text="Let me see.", calls=(call,), rejected=(bad,), stop="calls"
    )
    journal.message(message)
    output = "\n".join(f"line {number}" for number in range(20)) + "\x1b[31m red \x1b]0;t\x07"
    journal.message(ToolMessage(call_id="a", name="Bash", text=output))
    journal.message(ToolMessage(call_id="b", name="", text="not run", is_error=True))
    names = ("prompt", "cached", "new", "queue_s", "prefill_s", "decode_s", "cause")
    for row in ((1000, 0, 1000, 0.5, 2.0, 1.25, "first request"), (1100, 992, 108, 0, 0.25, 1, "")):
        journal.write("ledger", dict(zip(names, row, strict=True)))
    journal.message(AssistantMessage(text="Done: `é`."))
    return journal


def test_a_list_shows_titles_here_and_with_all_those_of_other_folders(home: Home) -> None:
    told(home.work).close()
    told(home.work / "other", OTHER, "Elsewhere").close()
    out = home.run("list")
    assert ID in out and "Repair it" in out and OTHER not in out
    out = home.run("list", "--all")
    assert OTHER in out and str(home.work / "other") in out and "Elsewhere" in out
    listed = json.loads(home.run("list", "--all", "--json"))
    assert {one["id"]: one["title"] for one in listed} == {ID: "Repair it", OTHER: "Elsewhere"}
    assert listed[0]["bytes"] == Path(listed[0]["path"]).stat().st_size
    assert {"workspace", "model", "created", "used", "forked_from", "fault"} <= set(listed[0])


def test_a_list_of_nothing_is_empty_and_says_so(home: Home) -> None:
    assert home.run("list") == "" and "no sessions" in home.stderr
    assert json.loads(home.run("list", "--json")) == []


def test_show_prints_the_conversation_plainly_and_nothing_that_acts_on_a_terminal(
    home: Home,
) -> None:
    told(home.work).close()
    out = home.run("show", ID[:16])
    for text in ("> Repair it", "Let me see.", "* Bash ls -l", "    line 0", "Done: `é`."):
        assert text in out
    assert "13 more lines" not in out and "12 more lines (--full" in out
    assert "I look." not in out and "Folder: x" not in out
    full = home.run("show", ID, "--full")
    assert "  | I look." in full and "    line 19" in full
    assert "\x1b" not in out + full and "\x07" not in out + full


def test_show_tells_what_compaction_and_rewind_took_out(home: Home) -> None:
    journal = told(home.work)
    journal.write("compaction", {"messages": [], "why": "the window was full"})
    journal.write("rewind", {"keep": 0})
    journal.close()
    out = home.run("show", ID)
    assert "--- compacted here" in out and "the window was full" in out
    assert "--- taken back to the first 0 messages" in out


def test_the_ledger_is_a_table_with_totals(home: Home) -> None:
    told(home.work).close()
    head, first, second, total = home.run("show", ID, "--ledger").splitlines()
    assert head.split() == [
        "#", "request", "prompt", "cached", "new", "expected", "again", "queue", "prefill",
        "decode", "cause",
    ]  # fmt: skip
    assert first.split() == [
        "1", "step", "1,000", "0", "1,000", "?", "?", "0.50", "2.00", "1.25", "first", "request"
    ]  # fmt: skip
    assert second.split()[2:] == ["1,100", "992", "108", "?", "?", "0.00", "0.25", "1.00"]
    assert total.split()[:9] == ["all", "2,100", "992", "1,108", "0", "0", "0.50", "2.25", "2.25"]
    assert "47.2 % not computed again" in total
    assert len({line.index(mark) for line, mark in ((first, "1.25"), (second, "1.00"))}) == 1


def test_a_session_without_a_ledger_says_so(home: Home) -> None:
    journal = Journal.create(home.work, {}, ID)
    journal.message(UserMessage(text="x"))
    journal.close()
    assert "no requests" in home.run("show", ID, "--ledger")


def test_export_gives_markdown_whose_fences_hold(home: Home, tmp_path: Path) -> None:
    journal = told(home.work)
    journal.message(UserMessage(text="now this"))
    call = ToolCall(id="c", name="Read", arguments={"file_path": "x.md"})
    journal.message(AssistantMessage(calls=(call,), stop="calls"))
    journal.message(ToolMessage(call_id="c", name="Read", text="```\ncode\n````\n"))
    journal.close()
    out = home.run("export", ID)
    assert out.startswith(f"# Session {ID}\n") and "## User\n\nRepair it\n" in out
    assert "> I look." in out and "**Bash**" in out and '"command": "ls -l"' in out
    assert "`````\n```\ncode\n````\n`````" in out
    file = tmp_path / "out.md"
    assert home.run("export", ID, "-o", str(file)) == ""
    assert file.read_text() == out
    home.run("export", ID, "-o", str(tmp_path / "no" / "such"), code=1)
    assert "cannot be written" in home.stderr


def test_export_as_json_holds_every_message_and_the_ledger(home: Home) -> None:
    told(home.work).close()
    value = json.loads(home.run("export", ID, "--format", "json"))
    assert value["id"] == ID and value["preamble"]["system"] == "s"
    assert [m["role"] for m in value["messages"]] == [
        "user", "assistant", "tool", "tool", "assistant",
    ]  # fmt: skip
    assert value["messages"][0]["typed"] == "Repair it"
    assert value["messages"][2]["text"].endswith("\x1b]0;t\x07")
    assert [entry["new"] for entry in value["ledger"]] == [1000, 108]


def test_an_export_to_a_terminal_holds_nothing_that_acts_on_it(home: Home) -> None:
    told(home.work).close()
    ours, theirs = os.openpty()
    with os.fdopen(ours, "rb", buffering=0) as screen:
        subprocess.run(
            [sys.executable, "-m", "glmcode", "sessions", "export", ID],
            stdin=subprocess.DEVNULL, stdout=theirs, cwd=home.work, env=home.environment,
            timeout=60, check=True,
        )  # fmt: skip
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # the other side is closed
            while part := screen.read(65_536):
                shown += part
    assert b"line 0" in shown and b"\x1b" not in shown


def test_an_export_that_has_no_room_says_where(home: Home) -> None:
    told(home.work).close()
    command = f"{sys.executable} -m glmcode sessions export {ID} > /dev/full"
    done = subprocess.run(
        ["bash", "-c", command], stderr=subprocess.PIPE, encoding="utf-8", cwd=home.work,
        env=home.environment, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == "glmcode: standard output cannot be written: No space left on device\n"


def test_what_stands_before_a_damaged_line_is_shown_and_the_damage_said(home: Home) -> None:
    journal = told(home.work)
    journal.close()
    with journal.path.open("a") as file:
        file.write("garbage\n")
    for command in (("show", ID), ("export", ID)):
        assert "Let me see." in home.run(*command, code=1)
        assert "line 9 is damaged" in home.stderr
    assert ID in home.run("list")


def test_rm_needs_a_yes_and_refuses_a_session_in_use(home: Home) -> None:
    journal = told(home.work)
    home.run("rm", ID, code=2)
    assert "--yes" in home.stderr and journal.path.exists()
    home.run("rm", ID, "--yes", code=1)
    assert f"in use by process {os.getpid()}" in home.stderr and journal.path.exists()
    journal.close()
    assert home.run("rm", ID, "--yes") == f"removed {ID}\n"
    assert not journal.path.exists()
    home.run("rm", ID, "--yes", code=2)
    assert "no session begins with" in home.stderr


def test_wrong_use_is_code_2_and_help_names_every_command(home: Home) -> None:
    home.run(code=2)
    home.run("lst", code=2)
    out = home.run("--help")
    assert all(word in out for word in ("list", "show", "export", "rm"))
    assert "--ledger" in home.run("show", "--help")
