from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.fake_engine import FakeEngine, Reply
from tests.repl.pty_driver import PtySession, glmcode
from tests.repl.test_approval import answer
from tests.repl.test_turns import reach, ready, sent

ASKED = "Put it back?"


def bash(command: str) -> Reply:
    return Reply(calls=[{"name": "Bash", "arguments": {"command": command}}])


@contextmanager
def changed(tmp_path: Path, *more: Reply, **options: Any) -> Iterator[tuple[FakeEngine, Any]]:
    """A session that has changed a.txt and made b.txt."""
    work = tmp_path / "workspace"
    work.mkdir()
    (work / "a.txt").write_bytes(b"one\r\ntwo\n")
    script = [bash("echo three > a.txt; echo new > b.txt"), Reply(text="Changed."), *more]
    with (
        FakeEngine(script) as engine,
        glmcode(tmp_path, "-y", *reach(engine), size=(110, 40), **options) as session,
    ):
        ready(session)
        session.type("go\r")
        session.wait_for("Changed.")
        ready(session)
        yield engine, session


def say(session: PtySession, text: str, answer: str) -> None:
    """Type a command and wait for what it says."""
    session.type(f"{text}\r")
    session.wait_for(answer)
    ready(session)


def test_what_was_accepted_is_not_listed_again_until_it_changes(tmp_path: Path) -> None:
    with changed(tmp_path, bash("echo more >> b.txt"), Reply(text="Once more.")) as (_, session):
        say(session, "/diff accept b.txt", "accepted: b.txt; 1 left to look at")
        say(session, "/diff", "1 file (1 accepted: /diff all shows them too)")
        assert "b.txt  new" not in session.screen.text
        say(session, "/diff accept all", "accepted: 2 files; 0 left to look at")
        say(session, "/diff", "nothing is left (2 accepted")
        say(session, "go on", "Once more.")
        say(session, "/diff", "b.txt  new +2 -0")
        assert "1 file (1 accepted" in session.screen.text


def test_a_file_is_put_back_after_its_diff_was_shown_and_undo_takes_that_back(
    tmp_path: Path,
) -> None:
    work = tmp_path / "workspace"
    with changed(tmp_path, Reply(text="I see.")) as (engine, session):
        session.type("/diff revert a.txt\r")
        session.wait_for_visible(ASKED)
        shown = session.screen.visible
        assert "● Revert a.txt" in shown and "- three" in shown and "+ one" in shown
        assert (work / "a.txt").read_bytes() == b"three\n"
        answer(session, "1", ASKED)
        session.wait_for("/undo takes this back")
        ready(session)
        assert (work / "a.txt").read_bytes() == b"one\r\ntwo\n"
        say(session, "/diff", "1 file; /diff FILE shows one")
        assert (work / "b.txt").exists()
        say(session, "well?", "I see.")
        assert "The user put back how these were before this session" in sent(engine, 2)
        session.type("/undo\r")
        answer(session, "1", "Do it?")
        session.wait_until(lambda: session.screen.text.count("put back: 1 file") == 2, "the undo")
        ready(session)
        assert (work / "a.txt").read_bytes() == b"three\n"
        say(session, "/diff", "2 files; /diff FILE")


def test_a_no_changes_nothing_and_a_new_file_goes_when_it_is_put_back(tmp_path: Path) -> None:
    work = tmp_path / "workspace"
    with changed(tmp_path) as (_, session):
        session.type("/diff revert b.txt\r")
        answer(session, "4", ASKED)
        session.wait_for("nothing was changed")
        ready(session)
        assert (work / "b.txt").read_text() == "new\n"
        session.type("/diff revert ./b.txt\r")
        answer(session, "y", ASKED)
        session.wait_for("/undo takes this back")
        assert not (work / "b.txt").exists() and (work / "a.txt").read_text() == "three\n"


def test_a_mode_that_is_put_back_is_shown_before(tmp_path: Path) -> None:
    script = tmp_path / "workspace" / "run.sh"
    script.parent.mkdir()
    script.write_text("echo\n")
    script.chmod(0o644)
    replies = [bash("chmod 755 run.sh"), Reply(text="Done.")]
    with FakeEngine(replies) as engine, glmcode(tmp_path, "-y", *reach(engine)) as session:
        ready(session)
        say(session, "go", "Done.")
        session.type("/diff revert run.sh\r")
        session.wait_for_visible("(mode 0755 to 0644)")
        answer(session, "y", ASKED)
        session.wait_for("/undo takes this back")
        assert script.stat().st_mode & 0o777 == 0o644


def test_what_a_person_changed_since_is_said_and_goes_only_by_force(tmp_path: Path) -> None:
    work = tmp_path / "workspace"
    with changed(tmp_path) as (_, session):
        say(session, "/diff", "2 files")  # what the command changed is recorded then
        (work / "a.txt").write_text("mine\n")
        say(session, "/diff revert a.txt", "a.txt was not put back: changed since, by you")
        assert (work / "a.txt").read_text() == "mine\n"
        session.type("/diff revert a.txt force\r")
        session.wait_for_visible(ASKED)
        assert "- mine" in session.screen.visible
        (work / "a.txt").write_text("mine, later\n")
        answer(session, "1", ASKED)
        session.wait_for("put back: 0 files")
        ready(session)
        assert (work / "a.txt").read_text() == "mine, later\n", "it changed while it was asked"
        session.type("/diff revert a.txt force\r")
        session.wait_until(lambda: "- mine, later" in session.screen.visible, "the new diff")
        answer(session, "1", ASKED)
        session.wait_for("put back: 1 file")
        session.wait_until(lambda: (work / "a.txt").read_bytes() == b"one\r\ntwo\n", "it")
        ready(session)
        session.type("/undo\r")
        answer(session, "1", "Do it?")
        session.wait_until(lambda: (work / "a.txt").read_text() == "mine, later\n", "the undo")


def test_names_that_fit_several_or_none_are_said(tmp_path: Path) -> None:
    with changed(tmp_path) as (_, session):
        say(session, "/diff accept txt", "2 files are called txt: a.txt, b.txt")
        say(session, "/diff revert nothing", "no changed file is called nothing")
        say(session, "/diff revert", "/diff revert FILE: back to how it was")
        session.type("/diff rev")
        session.wait_for_visible("revert  FILE: back to how it was before this session")
        session.type("\t")
        session.wait_for_visible("  b.txt")
        session.type("a.\t")
        session.wait_for_visible("❯ /diff revert a.txt")
