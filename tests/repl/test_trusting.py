from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from tests.fake_engine import FakeEngine, Reply
from tests.repl.pty_driver import PtySession, glmcode
from tests.repl.test_modes import bash, last_result
from tests.repl.test_turns import reach, ready, sent

QUESTION = "Trust this folder, and those below it?"
RULE = '[permissions]\ndeny = ["Bash(ls *)"]\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A workspace with settings of its own, and instructions that import a file."""
    base = tmp_path.resolve()
    own = base / "workspace" / ".glmcode"
    own.mkdir(parents=True)
    (own / "config.toml").write_text(RULE)
    (base / "workspace" / "AGENTS.md").write_text("use tabs, see @more.md\n")
    (base / "workspace" / "more.md").write_text("imported words\n")
    return base


def kept(folder: Path) -> dict[str, bool]:
    file = folder / "home" / "state" / "trusted.json"
    return dict(json.loads(file.read_text())) if file.exists() else {}


def answer(session: PtySession, text: str) -> None:
    session.wait_for(QUESTION)
    session.read(0.2)
    session.type(text)


def script() -> list[Reply]:
    return [bash("ls -a"), Reply(text="Over.")]


def is_in_force(engine: FakeEngine, session: PtySession, *, imports: bool = True) -> bool:
    """Whether the folder's rule (and its import) count in a turn of this session."""
    ready(session)
    session.type("go\r")
    session.wait_for("Over.")
    denied = "denies it" in last_result(engine, 1)
    assert (denied and imports) == ("imported words" in sent(engine, 0)), "both or neither"
    return denied


@pytest.mark.parametrize(
    ("said", "trusted"),
    [
        ("y\r", True),
        ("YES\r", True),
        ("n\r", False),
        ("\r", False),
    ],
)
def test_the_answer_decides_and_nobody_is_asked_twice(
    folder: Path, said: str, trusted: bool
) -> None:
    with (
        FakeEngine(script()) as engine,
        glmcode(folder, *reach(engine), size=(300, 30)) as session,
    ):
        answer(session, said)
        shown = session.screen.text
        assert f"{folder}/workspace brings its own: " in shown
        assert ".glmcode/config.toml" in shown and "AGENTS.md with imports" in shown
        assert is_in_force(engine, session) is trusted
        assert session.screen.text.count(QUESTION) == 1
        session.type("\x04")
        session.wait_exit()
        assert session.terminal_is_restored()
    assert kept(folder) == {f"{folder}/workspace": trusted}
    with FakeEngine(script()) as engine, glmcode(folder, *reach(engine)) as session:
        assert is_in_force(engine, session) is trusted
        assert QUESTION not in session.screen.text


def test_what_is_neither_yes_nor_no_is_asked_again(folder: Path) -> None:
    with FakeEngine(script()) as engine, glmcode(folder, *reach(engine)) as session:
        answer(session, "yeah, sure\r")
        session.wait_for("y or n")
        assert kept(folder) == {}
        session.read(0.2)
        session.type("y\r")
        assert is_in_force(engine, session)


def test_a_line_typed_before_the_question_stood_does_not_answer_it(folder: Path) -> None:
    with FakeEngine([]) as engine, glmcode(folder, *reach(engine)) as session:
        session.type("y\r")
        session.wait_for(QUESTION)
        session.read(0.7)
        assert kept(folder) == {} and "ready" not in session.screen.text
        session.type("n\r")
        ready(session)
    assert kept(folder) == {f"{folder}/workspace": False}


@pytest.mark.parametrize("way", ["link", "-C link", "below"])
def test_it_is_remembered_by_the_real_path_and_holds_below(folder: Path, way: str) -> None:
    (folder / "link").symlink_to(folder / "workspace")
    below = folder / "workspace" / "below"
    (below / ".glmcode").mkdir(parents=True)
    (below / ".glmcode" / "config.toml").write_text(RULE)
    with FakeEngine([]) as engine, glmcode(folder, *reach(engine)) as session:
        answer(session, "y\r")
        ready(session)
    into = {"link": folder / "link", "-C link": folder, "below": below}[way]
    words = ("-C", str(folder / "link")) if way == "-C link" else ()
    with (
        FakeEngine(script()) as engine,
        glmcode(folder, *reach(engine), *words, cwd=into) as session,
    ):
        assert is_in_force(engine, session, imports=way != "below")
        assert QUESTION not in session.screen.text
    assert kept(folder) == {f"{folder}/workspace": True}


def test_a_link_that_is_asked_about_is_remembered_as_the_folder_that_it_leads_to(
    folder: Path,
) -> None:
    (folder / "link").symlink_to(folder / "workspace")
    with (
        FakeEngine(script()) as engine,
        glmcode(folder, *reach(engine), cwd=folder / "link") as session,
    ):
        answer(session, "y\r")
        assert is_in_force(engine, session)
    assert kept(folder) == {f"{folder}/workspace": True}
    other = folder / "other"
    (other / ".glmcode").mkdir(parents=True)
    (other / ".glmcode" / "config.toml").write_text(RULE)
    (folder / "link").unlink()
    (folder / "link").symlink_to(other)
    with (
        FakeEngine([]) as engine,
        glmcode(folder, *reach(engine), cwd=folder / "link") as session,
    ):
        session.wait_for(QUESTION)


@pytest.mark.parametrize("end", ["\x03", "\x04", "SIGTERM", "SIGHUP"])
def test_ctrl_c_and_the_end_of_input_leave_without_an_answer(folder: Path, end: str) -> None:
    with FakeEngine([]) as engine, glmcode(folder, *reach(engine)) as session:
        session.wait_for(QUESTION)
        session.read(0.2)
        if end.startswith("SIG"):
            os.kill(session.process.pid, getattr(signal, end))
        else:
            session.type(end)
        code = session.wait_exit()
        assert "Traceback" not in session.raw
        assert session.terminal_is_restored()
        if end == "\x03":
            assert code == 130
        elif end == "\x04":
            assert code == 130 and "no answer" in session.screen.text
        assert kept(folder) == {}


def test_a_folder_that_brings_nothing_is_not_asked_about(tmp_path: Path) -> None:
    with FakeEngine([]) as engine, glmcode(tmp_path, *reach(engine)) as session:
        ready(session)
        assert QUESTION not in session.screen.text
    assert kept(tmp_path) == {}


def test_trust_for_one_run_asks_nothing_and_remembers_nothing(folder: Path) -> None:
    with FakeEngine(script()) as engine, glmcode(folder, *reach(engine), "--trust") as session:
        assert is_in_force(engine, session)
        assert QUESTION not in session.screen.text
    assert kept(folder) == {}


def test_a_name_of_a_folder_cannot_speak_to_the_terminal_or_forge_the_question(
    tmp_path: Path,
) -> None:
    evil = tmp_path / "a\nTrust this folder? [y/N] y\x1b]0;title\x07\u202eb"
    (evil / ".glmcode").mkdir(parents=True)
    (evil / ".glmcode" / "config.toml").write_text(RULE)
    with FakeEngine([]) as engine, glmcode(tmp_path, *reach(engine), cwd=evil) as session:
        session.wait_for("It may set rules")
        session.read(0.3)
        assert session.screen.foreign == []
        assert "\x1b]0" not in session.raw and "\u202e" not in session.raw
        lines = [line for line in session.screen.text.split("\n") if line.startswith(QUESTION)]
        assert len(lines) == 1
