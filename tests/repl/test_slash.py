from __future__ import annotations

from pathlib import Path

from glmcode import __version__
from glmcode.repl.slash import find_command, help_rows
from glmcode.repl.slash_table import TABLE, markdown_table
from tests.fake_engine import FakeEngine
from tests.repl.pty_driver import glmcode
from tests.repl.test_turns import reach, ready, slow

WIDE = (150, 40)
ROOT = Path(__file__).resolve().parent.parent.parent


def test_the_readme_holds_the_table_of_commands_as_the_code_has_it() -> None:
    assert markdown_table() in (ROOT / "README.md").read_text()


def test_every_command_is_found_by_its_name_and_aliases_and_stands_in_the_help() -> None:
    named = [name for one in TABLE for name in (one.name, *one.aliases)]
    assert len(named) == len(set(named))
    for one in TABLE:
        assert all(find_command(f"{name} word") == one.name for name in (one.name, *one.aliases))
        assert (one.usage, one.about) in help_rows()


def test_looking_commands_tell_what_holds_and_config_sets_for_the_next_session(
    tmp_path: Path,
) -> None:
    work = tmp_path / "workspace"
    work.mkdir()
    (work / "AGENTS.md").write_text("Be kind.\n")
    with FakeEngine([]) as engine, glmcode(tmp_path, *reach(engine), size=WIDE) as session:
        ready(session)
        session.type("/memory\r")
        session.wait_for("9 bytes")
        session.type("/todo\r")
        session.wait_for("the model writes a list")
        session.type("/model\r")
        session.wait_for("for good  /config engine.profile NAME")
        session.type("/profile\r")
        session.wait_for("tiny")
        session.type("/engine\r")
        session.wait_for("a server that glmcode does not run")
        session.type("/feedback\r")
        session.wait_for("nothing is sent")
        assert f"glmcode   {__version__}" in session.screen.text
        session.type("/plan\r")
        session.wait_for("mode plan: looks only")
        session.type("/config ui.enter steer\r")
        session.wait_for("from the next session on")
        settings = next((tmp_path / "home").rglob("config.toml"))
        assert settings.read_text().strip().endswith('enter = "steer"')
        session.type("/config ui.enter\r")
        session.wait_for("what Enter does while a turn runs")
        session.type("/config ui.entr\r")
        session.wait_for("did you mean")
        session.type("/config permissions.allow 'Bash(make *)' Read\r")
        session.wait_for('["Bash(make *)", "Read"]')
        assert session.screen.foreign == []


def test_the_doctor_looks_around_without_stopping_the_input(tmp_path: Path) -> None:
    with FakeEngine([]) as engine, glmcode(tmp_path, *reach(engine), size=WIDE) as session:
        ready(session)
        session.type("/doctor\r")
        session.wait_for("looking around")
        session.wait_for("ok python")
        session.wait_for("none of this machine is wanted")


def test_a_command_that_needs_rest_says_so_while_a_turn_runs(tmp_path: Path) -> None:
    with (
        FakeEngine([slow("word " * 400)]) as engine,
        glmcode(tmp_path, *reach(engine)) as session,
    ):
        ready(session)
        session.type("go\r")
        session.wait_for("word word")
        session.type("/clear\r")
        session.wait_for("not while a turn runs: Esc stops it")
        session.type("\x1b")
        session.wait_for("interrupted")
