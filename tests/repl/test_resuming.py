from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.fake_engine import FakeEngine, Reply
from tests.repl.pty_driver import glmcode
from tests.repl.test_turns import reach, ready, sent

ROOT = Path(__file__).resolve().parent.parent.parent
HOLD = """
import sys, pathlib
from glmcode.sessions import open_session
open_session(pathlib.Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""
READ = Reply(text="I look.", calls=[{"name": "Read", "arguments": {"file_path": "a.py"}}])


def had(tmp_path: Path, engine: FakeEngine, prompt: str) -> str:
    """Have a conversation in a process of its own; its session's id."""
    with glmcode(tmp_path, *reach(engine), prompt) as session:
        session.wait_for("answer to " + prompt)
        ready(session)
        session.type("\x04")
        assert session.wait_exit() == 0
        return re.findall(r"session (\d{8}-\d{6}-\w{6}):", session.screen.text)[-1]


@contextmanager
def held(tmp_path: Path, session_id: str) -> Iterator[int]:
    (path,) = (tmp_path / "home").rglob(f"{session_id}.jsonl")
    environment = {**os.environ, "GLMCODE_HOME": str(tmp_path / "home")}
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, cwd=ROOT,
    )  # fmt: skip
    assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
    try:
        yield holder.pid
    finally:
        holder.communicate()


def test_continue_shows_the_end_of_the_conversation_and_goes_on_in_it(tmp_path: Path) -> None:
    (tmp_path / "workspace").mkdir()
    (tmp_path / "workspace" / "a.py").write_text("x = 1\n")
    script = [READ, Reply(text="The **answer to first**."), Reply(text="The answer to second.")]
    with FakeEngine(script) as engine:
        first = had(tmp_path, engine, "first")
        with glmcode(tmp_path, *reach(engine), "-c") as session:
            ready(session)
            shown = session.screen.text
            for text in ("> first", "I look.", "Read a.py", "The answer to first."):
                assert text in shown
            assert "Working directory" not in shown
            assert f"session {first} goes on" in shown
            session.type("second\r")
            session.wait_for("The answer to second.")
            ready(session)
            session.type("/clear\r")
            session.wait_for("new session")
            session.type("\x04")
            assert session.wait_exit() == 0
        assert "The **answer to first**." in sent(engine, 2)
        assert engine.steps[2].json["messages"][-1]["content"] == "second"
        assert engine.steps[2].grows is True


def test_of_a_long_conversation_only_the_last_turns_are_shown(tmp_path: Path) -> None:
    with FakeEngine([Reply(text=f"The answer to p{n}.") for n in range(6)]) as engine:
        session_id = had(tmp_path, engine, "p0")
        for number in range(1, 5):
            with glmcode(tmp_path, *reach(engine), "-c", f"p{number}") as session:
                session.wait_for(f"The answer to p{number}.")
                ready(session)
                session.type("\x04")
                assert session.wait_exit() == 0
        with glmcode(tmp_path, *reach(engine), "-r", session_id[:19]) as session:
            ready(session)
            shown = session.screen.text
            assert "> p4" in shown and "> p2" in shown and "> p1" not in shown
            assert f"4 messages before (glmcode sessions show {session_id})" in shown


def test_resume_without_an_id_lets_the_person_choose_from_a_numbered_list(tmp_path: Path) -> None:
    with FakeEngine([Reply(text=f"The answer to {n}.") for n in ("alpha", "beta")]) as engine:
        alpha, beta = had(tmp_path, engine, "alpha"), had(tmp_path, engine, "beta")
        with glmcode(tmp_path, *reach(engine), "-r") as session:
            session.wait_for("Which one?")
            shown = session.screen.text
            assert re.search(rf"1  {beta} +\S.*beta", shown)
            assert re.search(rf"2  {alpha} +\S.*alpha", shown)
            session.type("7\r")
            session.wait_for("a number from 1 to 2")
            session.type("2\r")
            ready(session)
            session.wait_for(f"session {alpha} goes on")
            assert "The answer to alpha." in session.screen.text
        with glmcode(tmp_path, *reach(engine), "-r") as session:
            session.wait_for("Which one?")
            session.type("\x03")
            assert session.wait_exit() == 130
        assert len(engine.steps) == 2


def test_a_session_in_use_is_offered_as_a_copy(tmp_path: Path) -> None:
    script = [Reply(text="The answer to first."), Reply(text="The answer to second.")]
    with FakeEngine(script) as engine:
        first = had(tmp_path, engine, "first")
        with held(tmp_path, first) as pid:
            with glmcode(tmp_path, *reach(engine), "-c") as session:
                session.wait_for(f"in use by process {pid}")
                session.wait_for("[y/N]")
                session.type("n\r")
                assert session.wait_exit() == 1
                assert "Traceback" not in session.raw
            with glmcode(tmp_path, *reach(engine), "-c", "second") as session:
                session.wait_for("[y/N]")
                session.type("y\r")
                session.wait_for("The answer to second.")
                assert f"a copy of {first} goes on" in session.screen.text
        assert "The answer to first." in sent(engine, 1)


def test_a_session_that_is_none_is_told_before_any_screen_is_drawn(tmp_path: Path) -> None:
    with FakeEngine([]) as engine:
        with glmcode(tmp_path, *reach(engine), "-r", "20010101") as session:
            assert session.wait_exit() == 2
            assert "no session begins with '20010101'" in session.screen.text
        with glmcode(tmp_path, *reach(engine), "-r") as session:
            assert session.wait_exit() == 1
            assert "there is no session of" in session.screen.text
