from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.fake_engine import FakeEngine, Reply
from tests.repl.pty_driver import PtySession, glmcode
from tests.repl.test_modes import bash, last_result
from tests.repl.test_outside import press
from tests.repl.test_turns import reach, ready
from tests.sandbox.kit import WORKING

pytestmark = pytest.mark.skipif("bubblewrap" not in WORKING, reason="no complete sandbox here")
OFFER = "Let what stays inside the sandbox run unasked?"


def kept(tmp_path: Path) -> object:
    file = tmp_path / "home" / "state" / "choices.json"
    return json.loads(file.read_text()) if file.exists() else None


def one_turn(tmp_path: Path, *arguments: str) -> tuple[str, bool]:
    """The screen after a command in a session of its own, and whether the command ran unasked."""
    script = [bash("touch later"), Reply(text="After that.")]
    later = tmp_path / "workspace" / "later"
    with (
        FakeEngine(script) as engine,
        glmcode(tmp_path, *reach(engine), *arguments, offers=True) as session,
    ):
        ready(session)
        session.type("go\r")
        session.wait_until(
            lambda: "After that." in session.screen.text or "Allow it?" in session.screen.visible,
            "an end or a question",
        )
        ran = later.exists()
        later.unlink(missing_ok=True)
        return session.screen.text, ran


def offered(session: PtySession) -> str:
    ready(session)
    session.type("go\r")
    session.wait_for_visible(OFFER)
    return " ".join(session.screen.text.split())


def test_a_yes_runs_this_command_and_those_of_later_sessions_unasked(tmp_path: Path) -> None:
    script = [bash("touch one"), bash("touch two"), Reply(text="Both.")]
    work = tmp_path / "workspace"
    with (
        FakeEngine(script) as engine,
        glmcode(tmp_path, *reach(engine), offers=True) as session,
    ):
        shown = offered(session)
        assert "touch one" in shown and "An offer that is made once" in shown
        assert (
            "they write only in the workspace and in a temporary folder, and reach no network"
            in (shown)
        )
        assert not (work / "one").exists() and "Allow it?" not in shown
        press(session, "1")
        session.wait_for("Both.")
        assert (work / "one").exists() and (work / "two").exists()
        assert "Allow it?" not in session.screen.text
        assert session.screen.text.count(OFFER) <= 1
    assert kept(tmp_path) == {"sandbox_auto_allow": True}
    screen, ran = one_turn(tmp_path)
    assert ran and OFFER not in screen
    screen, ran = one_turn(tmp_path, "--set", "permissions.sandbox_auto_allow=false")
    assert not ran and "Allow it?" in screen


def test_a_no_asks_about_this_command_and_is_not_offered_again(tmp_path: Path) -> None:
    script = [bash("touch one"), Reply(text="So be it.")]
    with (
        FakeEngine(script) as engine,
        glmcode(tmp_path, *reach(engine), offers=True) as session,
    ):
        offered(session)
        press(session, "4")
        session.wait_for_visible("Allow it?")
        assert not (tmp_path / "workspace" / "one").exists()
        press(session, "1")
        session.wait_for("So be it.")
        assert (tmp_path / "workspace" / "one").exists()
    assert kept(tmp_path) == {"sandbox_auto_allow": False}
    screen, ran = one_turn(tmp_path)
    assert not ran and OFFER not in screen


def test_stopping_at_the_offer_decides_nothing(tmp_path: Path) -> None:
    script = [bash("touch one"), bash("touch one"), Reply(text="Now.")]
    with (
        FakeEngine(script) as engine,
        glmcode(tmp_path, *reach(engine), offers=True) as session,
    ):
        offered(session)
        press(session, "\x1b")
        session.wait_for("interrupted")
        assert kept(tmp_path) is None and not (tmp_path / "workspace" / "one").exists()
        offered(session)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--sandbox", "danger-full-access"),
        ("--permission-mode", "dontAsk"),
        ("--permission-mode", "plan"),
        ("--allowed-tools", "Bash(touch *)"),
        ("--disallowed-tools", "Bash(touch *)"),
        ("--set", "permissions.ask=Bash(touch *)"),
        ("-y",),
    ],
)
def test_no_offer_where_it_would_decide_nothing(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    screen, _ = one_turn(tmp_path, *arguments)
    assert OFFER not in screen
    assert kept(tmp_path) is None


def test_what_leaves_the_sandbox_is_asked_also_after_a_yes(tmp_path: Path) -> None:
    script = [bash(f"echo x > {tmp_path}/outside"), Reply(text="Not.")]
    with (
        FakeEngine(script) as engine,
        glmcode(tmp_path, *reach(engine), offers=True) as session,
    ):
        offered(session)
        press(session, "1")
        session.wait_for_visible("Run it again outside the sandbox?")
        press(session, "4")
        session.wait_for("Not.")
        assert "did not let it run outside" in last_result(engine, 1)
        assert not (tmp_path / "outside").exists()


def test_permissions_shows_it_and_changes_it_for_good_and_clear_keeps_it(tmp_path: Path) -> None:
    script = [bash("touch one"), Reply(text="Done.")]
    with (
        FakeEngine(script) as engine,
        glmcode(
            tmp_path,
            *reach(engine),
            *("--allowed-tools", "Bash(make *)", "--disallowed-tools", "Bash(curl *)"),
            offers=True,
        ) as session,
    ):
        ready(session)
        session.type("/permissions\r")
        session.wait_for("you are asked when it matters first")
        session.wait_for("workspace-write through bubblewrap, no network")
        session.wait_for("Bash(make *)")
        session.wait_for("Bash(curl *)")
        session.type("/permissions sandbox_auto_allow maybe\r")
        session.wait_for("sandbox_auto_allow on (or off) changes that answer")
        session.type("/permissions sandbox_auto_allow on\r")
        session.wait_for("on: commands that stay inside the sandbox run unasked")
        assert kept(tmp_path) == {"sandbox_auto_allow": True}
        session.type("/clear\r")
        session.wait_for("new session")
        ready(session)
        session.type("go\r")
        session.wait_for("Done.")
        assert (tmp_path / "workspace" / "one").exists()
        session.type("/permissions sandbox_auto_allow off\r")
        session.wait_for("off: commands are asked about")
    assert kept(tmp_path) == {"sandbox_auto_allow": False}


def test_an_answer_that_cannot_be_kept_holds_for_the_session_and_that_is_said(
    tmp_path: Path,
) -> None:
    script = [bash("touch one"), Reply(text="Done.")]
    state = tmp_path / "home" / "state"
    (state / "choices.json").mkdir(parents=True)
    with (
        FakeEngine(script) as engine,
        glmcode(tmp_path, *reach(engine), offers=True) as session,
    ):
        offered(session)
        press(session, "1")
        session.wait_for("this holds for this session only: the answer cannot be kept")
        session.wait_for("Done.")
        assert (tmp_path / "workspace" / "one").exists()
    assert [path.name for path in state.glob("choices*")] == ["choices.json"]
