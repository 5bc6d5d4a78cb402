from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from glmcode.repl.own import add_line, instructions_file, is_own
from tests.fake_engine import FakeEngine, Reply
from tests.repl.pty_driver import glmcode
from tests.repl.test_turns import reach, ready, sent, slow
from tests.sandbox.kit import WORKING


def status_of(session: Any) -> str:
    return str(session.screen.visible.rstrip().split("\n")[-1])


def test_a_command_is_run_unasked_shown_and_told_with_the_next_message_alone(
    tmp_path: Path,
) -> None:
    script = [Reply(text="I see."), Reply(text="Indeed.")]
    with FakeEngine(script) as engine, glmcode(tmp_path, *reach(engine)) as session:
        ready(session)
        session.type("!printf 'a\\033[2Jb\\nsecond\\n' && false\r")
        session.wait_for("second")
        session.wait_for("exit 1 in")
        session.type("!!echo not for you\r")
        session.wait_for("exit 0 in")
        ready(session)
        assert engine.steps == []
        session.type("what was that?\r")
        session.wait_for("I see.")
        ready(session)
        session.type("again\r")
        session.wait_for("Indeed.")
        told = engine.steps[0].json["messages"][-1]["content"]
        assert "what was that?\n\n[The user ran a command: printf" in told
        assert "ab\nsecond\n[exit 1 in" in told
        assert "not for you" not in sent(engine, 1)
        assert engine.steps[1].json["messages"][-1]["content"] == "again"
        assert session.screen.foreign == []


def test_ctrl_c_stops_a_command_with_what_it_started_and_keeps_what_it_printed(
    tmp_path: Path,
) -> None:
    command = "!echo begun; sleep 600 & echo $! > pid; wait; echo never"
    with FakeEngine([Reply(text="Ok.")]) as engine, glmcode(tmp_path, *reach(engine)) as session:
        ready(session)
        session.type(f"{command}\r")
        pid = tmp_path / "workspace" / "pid"
        session.wait_until(lambda: pid.exists() and pid.read_text() != "", "its start")
        session.wait_for_visible("Esc stops")
        assert status_of(session).startswith("running Bash"), "never ready while it runs"
        session.type("\x03")
        session.wait_for("stopped by the user")
        ready(session)
        session.type("and?\r")
        session.wait_for("Ok.")
        told = engine.steps[0].json["messages"][-1]["content"]
        assert "begun\n[stopped by the user]" in told and "\nnever" not in told


@pytest.mark.skipif(not WORKING, reason="no sandbox works here")
def test_a_command_of_a_person_stays_in_the_sandbox(tmp_path: Path) -> None:
    with FakeEngine([]) as engine, glmcode(tmp_path, *reach(engine)) as session:
        ready(session)
        session.type(f"!echo x > {tmp_path}/outside; touch inside\r")
        session.wait_for("exit 0 in")
        assert (tmp_path / "workspace" / "inside").exists()
        assert not (tmp_path / "outside").exists()


def test_a_command_waits_for_the_turn_and_is_never_said_to_the_model_as_words(
    tmp_path: Path,
) -> None:
    script = [slow("word " * 30), Reply(text="Next.")]
    with FakeEngine(script) as engine, glmcode(tmp_path, *reach(engine)) as session:
        ready(session)
        session.type("go\r")
        session.wait_for_visible("word")
        session.type("!echo $((40 + 2))\r")
        session.wait_for_visible("queued: !echo")
        session.type("\x13")
        session.wait_for_visible("queued: !echo")
        session.wait_for("exit 0 in")
        assert "42" in session.screen.text
        assert len(engine.steps) == 1


def test_a_line_is_added_after_a_yes_and_every_other_byte_stays(tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    subprocess.run(["git", "init", "-q"], cwd=workspace, check=True)
    path = workspace / "AGENTS.md"
    path.write_bytes(b"# Rules\r\n\xff kept, no end")
    with FakeEngine([Reply(text="Noted.")]) as engine, glmcode(tmp_path, *reach(engine)) as session:
        ready(session)
        session.type("#use tabs\r")
        session.wait_for_visible("Add this line?")
        assert "AGENTS.md" in session.screen.text and "- use tabs" in session.screen.text
        session.read(0.4)
        session.type("n")
        session.read(0.3)
        session.type("\r")
        session.wait_for("nothing was changed")
        assert path.read_bytes() == b"# Rules\r\n\xff kept, no end"
        ready(session)
        session.type("# use tabs\r")
        session.wait_for_visible("Add this line?")
        session.read(0.4)
        session.type("y")
        session.wait_for("added to")
        assert path.read_bytes() == b"# Rules\r\n\xff kept, no end\r\n- use tabs\r\n"
        ready(session)
        session.type("hello\r")
        session.wait_for("Noted.")
        assert "[The user added a line to AGENTS.md: use tabs]" in sent(engine, 0)


def test_the_file_is_the_repository_s_own_and_a_claude_md_stays_the_one_that_counts(
    tmp_path: Path,
) -> None:
    below = tmp_path / "deep" / "er"
    below.mkdir(parents=True)
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    root = Path(os.path.realpath(tmp_path))
    assert instructions_file(below) == root / "AGENTS.md"
    (tmp_path / "CLAUDE.md").write_text("x\n")
    assert instructions_file(below) == root / "CLAUDE.md"
    (tmp_path / "AGENTS.md").write_text("x\n")
    assert instructions_file(below) == root / "AGENTS.md"


def test_a_new_file_holds_the_line_alone(tmp_path: Path) -> None:
    add_line(tmp_path / "AGENTS.md", "one", tmp_path / "backups")
    add_line(tmp_path / "AGENTS.md", "two", tmp_path / "backups")
    assert (tmp_path / "AGENTS.md").read_bytes() == b"- one\n- two\n"


def test_only_one_line_that_reads_like_a_note_is_one() -> None:
    assert is_own("#use tabs") and is_own("# use tabs") and is_own("!ls\npwd") and is_own(" !!ls")
    for text in ("#12 is broken", "## Heading", "# Task\nDo it.", "#", "#!/bin/sh", "x # y", ""):
        assert not is_own(text), text
