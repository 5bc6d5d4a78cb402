from __future__ import annotations

from pathlib import Path

from tests.fake_engine import FakeEngine, Reply
from tests.repl.pty_driver import glmcode
from tests.repl.test_modes import bash, last_result
from tests.repl.test_outside import press
from tests.repl.test_turns import reach, ready

WITHOUT = """
import sys
import glmcode.sandbox.probe as probe

def refused(name):
    def tried(so_far):
        so_far.append(f"{name} is refused here")
    tried.__name__ = name
    return tried

probe._bubblewrap, probe._landlock = refused("_bubblewrap"), refused("_landlock")
from glmcode.cli import main

sys.exit(main())
"""
SAID = "no sandbox works here"


def test_where_no_sandbox_can_be_had_that_is_said_once_before_the_first_question(
    tmp_path: Path,
) -> None:
    script = [bash("touch one"), bash(f"touch {tmp_path}/two"), Reply(text="Both.")]
    with (
        FakeEngine(script) as engine,
        glmcode(
            tmp_path, *reach(engine), program=("-c", WITHOUT), offers=True, size=(120, 40)
        ) as session,
    ):
        ready(session)
        session.type("go\r")
        session.wait_for_visible("Allow it?")
        shown = " ".join(session.screen.text.split())
        assert f"{SAID} (_bubblewrap is refused here; _landlock is refused here)" in shown
        assert "commands run with all your rights, so look at what you allow" in shown
        assert shown.index(SAID) < shown.index("Allow it?")
        assert "unasked" not in shown, "nothing is offered that nothing keeps"
        press(session, "1")
        session.wait_for("touch one")
        session.wait_until(lambda: len(engine.steps) == 2, "the second step")
        session.wait_for_visible("Allow it?")
        press(session, "1")
        session.wait_for("Both.")
        assert (tmp_path / "workspace" / "one").exists() and (tmp_path / "two").exists()
        assert session.screen.text.count(SAID) == 1
        ready(session)
        session.type("/permissions\r")
        session.wait_for("none works here (_bubblewrap is refused here")
        session.wait_for("not decided, but no sandbox keeps everything inside now")
        assert "sandbox" not in last_result(engine, 2)


def test_full_access_that_was_asked_for_is_not_lamented(tmp_path: Path) -> None:
    script = [bash("touch one"), Reply(text="Done.")]
    words = ("--sandbox", "danger-full-access")
    with (
        FakeEngine(script) as engine,
        glmcode(tmp_path, *reach(engine), *words, program=("-c", WITHOUT)) as session,
    ):
        ready(session)
        session.type("go\r")
        session.wait_for_visible("Allow it?")
        press(session, "1")
        session.wait_for("Done.")
        assert SAID not in session.screen.text
