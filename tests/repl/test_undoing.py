from __future__ import annotations

from pathlib import Path

from tests.fake_engine import FakeEngine, Reply
from tests.repl.pty_driver import glmcode
from tests.repl.test_turns import reach, ready, sent


def call(command: str) -> Reply:
    return Reply(calls=[{"name": "Bash", "arguments": {"command": command}}])


def test_an_undo_shows_the_files_asks_restores_and_tells_the_model(tmp_path: Path) -> None:
    work = tmp_path / "workspace"
    work.mkdir()
    (work / "a.txt").write_text("one\n")
    script = [call("echo two > a.txt; echo new > b.txt"), Reply(text="Changed."), Reply(text="Ok.")]
    with FakeEngine(script) as engine, glmcode(tmp_path, "-y", *reach(engine)) as session:
        ready(session)
        session.type("change them\r")
        session.wait_for("Changed.")
        ready(session)
        session.type("/undo\r")
        session.wait_for("Do it?")
        session.wait_for_visible("waiting for your answer")
        shown = session.screen.text
        assert "change   a.txt" in shown and "remove   b.txt" in shown and "always" not in shown
        assert (work / "a.txt").read_text() == "two\n"
        session.read(0.4)
        session.type("1")
        session.wait_for("put back: 2 files")
        assert (work / "a.txt").read_text() == "one\n" and not (work / "b.txt").exists()
        ready(session)
        session.type("/redo\r")
        session.wait_for("Redo the undo of ")
        session.wait_for_visible("Do it?")
        session.read(0.4)
        session.type("4")
        session.wait_for("nothing was changed")
        assert not (work / "b.txt").exists()
        ready(session)
        session.type("what now?\r")
        session.wait_for("Ok.")
        assert "[The user undid the changes of the last turn: files a.txt, b.txt]" in sent(
            engine, 2
        )
        ready(session)
        (work / "a.txt").write_text("mine\n")
        session.type("/redo\r")
        session.wait_for("a.txt: changed since")
        assert (work / "a.txt").read_text() == "mine\n"
        ready(session)
        session.type("/undo\r")
        session.wait_for("there is nothing to undo")
        assert session.screen.foreign == []


def test_a_rewind_takes_files_and_conversation_back_and_gives_the_text_again(
    tmp_path: Path,
) -> None:
    work = tmp_path / "workspace"
    work.mkdir()
    (work / "a.txt").write_text("one\n")
    script = [Reply(text="Hello."), call("echo two > a.txt"), Reply(text="Changed."),
              Reply(text="Fine.")]  # fmt: skip
    with FakeEngine(script) as engine, glmcode(tmp_path, "-y", *reach(engine)) as session:
        ready(session)
        session.type("hello\r")
        session.wait_for("Hello.")
        ready(session)
        session.type("change it\r")
        session.wait_for("Changed.")
        ready(session)
        session.type("/rewind 3\r")
        session.wait_for("there is no such turn")
        ready(session)
        session.type("/rewind\r")
        session.wait_for("Do it?")
        assert 'to before "change it"' in session.screen.text
        session.read(0.4)
        session.type("1")
        session.wait_for("messages are gone")
        assert (work / "a.txt").read_text() == "one\n"
        session.wait_for("> change it")
        session.type(" carefully\r")
        session.wait_for("Fine.")
        assert "change it carefully" in sent(engine, 3) and "echo two" not in sent(engine, 3)
        assert session.screen.foreign == []
