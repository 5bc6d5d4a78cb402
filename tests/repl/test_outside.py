from __future__ import annotations

from pathlib import Path

import pytest

from tests.fake_engine import FakeEngine, Reply
from tests.repl.pty_driver import PtySession, glmcode
from tests.repl.test_modes import bash, last_result
from tests.repl.test_turns import reach, ready
from tests.sandbox.kit import WORKING

pytestmark = pytest.mark.skipif(not WORKING, reason="no sandbox works here")
ALLOWED = ("--allowed-tools", "Bash,Edit(//**)")
QUESTION = "Run it again outside the sandbox?"


def twice(tmp_path: Path) -> str:
    return f"echo ran >> log; echo said; echo x >> {tmp_path}/outside"


def runs(tmp_path: Path) -> int:
    return (tmp_path / "workspace" / "log").read_text().count("ran")


def press(session: PtySession, key: str) -> None:
    """After the pause that a question waits for."""
    session.read(0.5)
    session.type(key)


def test_a_person_is_asked_after_the_failure_and_a_yes_runs_it_outside(tmp_path: Path) -> None:
    script = [bash(twice(tmp_path)), Reply(text="It is done.")]
    with FakeEngine(script) as engine, glmcode(tmp_path, *reach(engine), *ALLOWED) as session:
        ready(session)
        session.type("go\r")
        session.wait_for_visible(QUESTION)
        shown = " ".join(session.screen.text.split())
        assert "said" in shown and "Read-only file system" in shown
        assert "The sandbox forbids writing outside the workspace" in shown
        assert "may have done part of its work" in shown
        assert "always" not in session.screen.visible.split(QUESTION)[1]
        assert runs(tmp_path) == 1 and not (tmp_path / "outside").exists()
        press(session, "1")
        session.wait_for("It is done.")
        assert runs(tmp_path) == 2 and (tmp_path / "outside").read_text() == "x\n"
        assert "run outside the sandbox, as the user allowed" in last_result(engine, 1)
        assert "run outside the sandbox, as the user allowed" in " ".join(
            session.screen.text.split()
        )
        assert session.screen.foreign == []


def test_a_no_shows_the_failure_and_the_model_hears_of_it(tmp_path: Path) -> None:
    script = [bash(twice(tmp_path)), Reply(text="Then not.")]
    with FakeEngine(script) as engine, glmcode(tmp_path, *reach(engine), *ALLOWED) as session:
        ready(session)
        session.type("go\r")
        session.wait_for_visible(QUESTION)
        press(session, "4")
        session.wait_for("Then not.")
        assert runs(tmp_path) == 1 and not (tmp_path / "outside").exists()
        assert "did not let it run outside the sandbox" in last_result(engine, 1)
        assert "[exit 1 in" in session.screen.text, "the person sees how it ended"


@pytest.mark.parametrize("key", ["\x1b", "\x03"])
def test_escape_and_ctrl_c_at_the_question_stop_the_turn_and_run_nothing(
    tmp_path: Path, key: str
) -> None:
    script = [bash(twice(tmp_path)), Reply(text="What now?")]
    with FakeEngine(script) as engine, glmcode(tmp_path, *reach(engine), *ALLOWED) as session:
        ready(session)
        session.type("go\r")
        session.wait_for_visible(QUESTION)
        press(session, key)
        session.wait_for("interrupted")
        ready(session)
        assert runs(tmp_path) == 1 and not (tmp_path / "outside").exists()
        session.type("and\r")
        session.wait_for("What now?")
        assert "the user stopped when asked whether" in engine.steps[1].body.decode()


def test_what_was_being_typed_when_the_question_came_does_not_answer_it(tmp_path: Path) -> None:
    script = [bash(f"sleep 1; {twice(tmp_path)}"), Reply(text="Then not.")]
    with FakeEngine(script) as engine, glmcode(tmp_path, *reach(engine), *ALLOWED) as session:
        ready(session)
        session.type("go\r")
        session.wait_for_visible("running Bash")
        end = 0
        while QUESTION not in session.screen.visible:
            session.type("y")
            session.read(0.05)
            end += 1
            assert end < 1_000
        session.type("y1")
        session.read(0.3)
        assert not (tmp_path / "outside").exists() and QUESTION in session.screen.visible
        press(session, "\x1b")
        session.wait_for("interrupted")
        assert runs(tmp_path) == 1


def test_a_dumb_terminal_is_asked_in_a_line(tmp_path: Path) -> None:
    script = [bash(twice(tmp_path)), Reply(text="It is done.")]
    env = {"TERM": "dumb"}
    with (
        FakeEngine(script) as engine,
        glmcode(tmp_path, *reach(engine), *ALLOWED, env=env) as session,
    ):
        session.wait_for("protocol chat")
        session.type("go\n")
        session.wait_for(f"{QUESTION} 1 yes, 4 no:")
        session.read(0.5)
        session.type("1\n")
        session.wait_for("It is done.")
        assert (tmp_path / "outside").read_text() == "x\n"
