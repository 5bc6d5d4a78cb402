from __future__ import annotations

from pathlib import Path

from tests.fake_engine import FakeEngine, Reply
from tests.repl.pty_driver import glmcode
from tests.repl.test_turns import reach, ready

PROGRAM = """
import sys
from glmcode import cli
from glmcode.repl import commands, conversation, view

real = view.View.event

def faulty(self, event):
    if "fault" in getattr(event, "text", ""):
        raise KeyError("made by the test")
    return real(self, event)

view.View.event = faulty
if "--break-tail" in sys.argv:
    sys.argv.remove("--break-tail")
    view.View.tail = lambda self, height, **more: {}[height]
if "--break-status" in sys.argv:
    sys.argv.remove("--break-status")
    commands.status_rows = lambda options, agent: 1 / 0
    import asyncio, warnings
    begin = conversation.Conversation.begin

    def noisy(self, agent):
        begin(self, agent)
        warnings.warn("a library speaks")
        print("a library prints", file=sys.stderr)
        asyncio.get_running_loop().call_soon(lambda: [][0])

    conversation.Conversation.begin = noisy
sys.exit(cli.main())
"""


def test_a_fault_in_drawing_is_one_sentence_and_the_session_goes_on(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    script = [Reply(text="This is a fault, you know."), Reply(text="And on it goes.")]
    with (
        FakeEngine(script) as engine,
        glmcode(tmp_path, *reach(engine), program=[str(program)]) as session,
    ):
        ready(session)
        session.type("go\r")
        session.wait_for("a fault in glmcode: KeyError: 'made by the test'; details:")
        ready(session)
        session.type("go on\r")
        session.wait_for("And on it goes.")
        assert "Traceback" not in session.raw
        log = (tmp_path / "home" / "state" / "faults.log").read_text()
        assert "Traceback" in log and "made by the test" in log
        session.type("\x04")
        assert session.wait_exit() == 0
        assert session.terminal_is_restored()


def test_faults_of_keys_and_callbacks_and_words_of_libraries_stay_off_the_screen(
    tmp_path: Path,
) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    with (
        FakeEngine([Reply(text="Still here.")]) as engine,
        glmcode(tmp_path, *reach(engine), "--break-status", program=[str(program)]) as session,
    ):
        session.wait_for("IndexError")
        session.type("/status\r")
        session.wait_for("ZeroDivisionError: division by zero; details:")
        session.type("hello\r")
        session.wait_for("Still here.")
        session.type("\x04")
        assert session.wait_exit() == 0
        assert "Traceback" not in session.raw and "a library" not in session.raw
        log = (tmp_path / "home" / "state" / "faults.log").read_text()
        assert "a library speaks" in log and "a library prints" in log


def test_a_fault_that_never_ends_ends_the_session_with_the_terminal_restored(
    tmp_path: Path,
) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    reply = Reply(text="Some words", gap=0.2, chunk=1, times=1, close=True)
    with (
        FakeEngine([reply]) as engine,
        glmcode(tmp_path, *reach(engine), "--break-tail", "go", program=[str(program)]) as session,
    ):
        assert session.wait_exit() == 1
        assert "KeyError" in session.screen.text
        assert "Traceback" not in session.raw
        assert session.terminal_is_restored()
