from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path

from glmcode.repl.slash import find_command, help_rows
from glmcode.repl.slash_table import COMMANDS, TABLE, markdown_table
from tests.fake_engine import FakeEngine, Reply
from tests.repl.pty_driver import glmcode
from tests.repl.test_turns import reach, ready, sent, slow

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


def test_what_a_label_says_goes_on_below_itself_where_it_is_wrapped(tmp_path: Path) -> None:
    with FakeEngine([]) as engine, glmcode(tmp_path, *reach(engine), size=(80, 24)) as session:
        ready(session)
        session.type("/help\r")
        about = COMMANDS["/cache"].about
        session.wait_for("one by one, none")
        first = next(line for line in session.screen.text.split("\n") if "what was reused" in line)
        rest = session.screen.text.split(first)[1].split("\n")[1]
        column = first.index("what was reused")
        assert rest[:column].strip() == "" and about.endswith(rest[column:].rstrip())


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
        session.wait_for("> /todo\n\ntodo  nothing: the model writes a list")
        session.type("/model\r")
        session.wait_for("/config engine.profile NAME")
        session.type("/profile\r")
        session.wait_for("tiny")
        session.type("/engine\r")
        session.wait_for("a server that glmcode does not run")
        session.type("/feedback\r")
        session.wait_for("nothing is sent")
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


def test_another_session_goes_on_in_the_same_repl_by_number_and_by_copy(tmp_path: Path) -> None:
    script = [Reply(text="The first answer."), Reply(text="Two."), Reply(text="Three."),
              Reply(text="Four.")]  # fmt: skip
    with FakeEngine(script) as engine, glmcode(tmp_path, *reach(engine), size=WIDE) as session:
        ready(session)
        session.type("/fork\r")
        session.wait_for("nothing was said yet")
        session.type("about one\r")
        session.wait_for("The first answer.")
        ready(session)
        session.type("/rename The  great task\r")
        session.wait_for("this session is called The great task")
        session.type("/clear\r")
        session.wait_for("new session")
        session.type("/sessions\r")
        session.wait_for("The great task  (just now, ")
        assert "tokens" in session.screen.text.rpartition("just now, ")[2].partition("\n")[0]
        session.type("zebra\r")
        session.wait_for("Two.")
        ready(session)
        session.type("/resume 7\r")
        session.wait_for("there is no number 7")
        ready(session)
        session.type("/resume\r")
        session.wait_for_visible("❯ /resume")
        session.type("1\r")
        session.wait_for("goes on")
        ready(session)
        session.type("go on with it\r")
        session.wait_for("Three.")
        assert "about one" in sent(engine, 2) and "zebra" not in sent(engine, 2)
        ready(session)
        session.type("/fork\r")
        session.wait_for(", a copy of ")
        ready(session)
        session.type("in the copy\r")
        session.wait_for("Four.")
        assert "go on with it" in sent(engine, 3) and "about one" in sent(engine, 3)
        assert session.screen.foreign == []
    texts = [path.read_text() for path in (tmp_path / "home").rglob("2*.jsonl")]
    assert sorted(("about one" in one, "in the copy" in one) for one in texts) == [
        (False, False), (True, False), (True, True),
    ]  # fmt: skip


def test_diff_shows_what_the_session_changed_and_export_and_copy_give_it_away(
    tmp_path: Path,
) -> None:
    work = tmp_path / "workspace"
    work.mkdir()
    (work / "a.txt").write_text("one\ntwo\n")
    command = {"command": "echo three > a.txt; echo new > b.txt"}
    script = [Reply(calls=[{"name": "Bash", "arguments": command}]), Reply(text="It is <done>.")]
    with (
        FakeEngine(script) as engine,
        glmcode(tmp_path, "-y", *reach(engine), size=WIDE) as session,
    ):
        ready(session)
        session.type("/diff\r")
        session.wait_for("this session changed no file")
        session.type("/copy\r")
        session.wait_for("there is no answer yet")
        session.type("change them\r")
        session.wait_for("It is <done>.")
        ready(session)
        session.type("/diff\r")
        session.wait_for("2 files; /diff FILE shows one")
        shown = session.screen.text
        assert "a.txt  changed +1 -2" in shown and "b.txt  new +1 -0" in shown
        assert "1 - one" not in shown
        session.type("/diff all\r")
        session.wait_for("1 + new")
        assert "1 - one" in session.screen.text and "1 + three" in session.screen.text
        assert "\x1b[32m+ \x1b[0m" in session.raw and "\x1b[31mone\x1b[0m" in session.raw
        session.type("/diff b.t\r")
        session.wait_until(lambda: session.screen.text.count("1 + new") == 2, "b.txt again")
        assert session.screen.text.count("1 + three") == 1
        session.type("/copy\r")
        session.wait_for("went to the clipboard")
        assert f"\x1b]52;c;{base64.b64encode(b'It is <done>.').decode()}\x07" in session.raw
        for name in ("told.md", "told.html", "told.json"):
            session.type(f"/export {name}\r")
            session.wait_for(f"{name} (")
        assert "It is <done>." in (work / "told.md").read_text()
        page = (work / "told.html").read_text()
        assert "It is &lt;done&gt;." in page and "<done>" not in page and "change them" in page
        messages = json.loads((work / "told.json").read_text())["messages"]
        assert messages[-1]["text"] == "It is <done>."
        session.type("/export told.md\r")
        session.wait_for("is there already")
        session.type("/export told.pdf\r")
        session.wait_for("as what?")


def test_a_terminal_without_a_clipboard_is_told_so(tmp_path: Path) -> None:
    with (
        FakeEngine([Reply(text="Done.")]) as engine,
        glmcode(tmp_path, *reach(engine), env={"TERM_PROGRAM": "Apple_Terminal"}) as session,
    ):
        ready(session)
        session.type("go\r")
        session.wait_for("Done.")
        ready(session)
        session.type("/copy\r")
        session.wait_for("no way to its clipboard")
        assert "]52;" not in session.raw


def test_init_is_a_turn_that_asks_for_an_agents_md(tmp_path: Path) -> None:
    with FakeEngine([Reply(text="Written.")]) as engine, glmcode(tmp_path, *reach(engine)) as one:
        ready(one)
        one.type("/init mind the tests\r")
        one.wait_for("Written.")
        assert "> /init mind the tests" in one.screen.text
        assert "Write an AGENTS.md for this repository" not in one.screen.text
    assert "Write an AGENTS.md for this repository" in sent(engine, 0)
    assert "In particular: mind the tests" in sent(engine, 0)


def repository(tmp_path: Path) -> Path:
    work = tmp_path / "workspace"
    work.mkdir()
    (work / "a.py").write_text("x = 1\n")
    for words in (
        ("init", "-q"), ("config", "user.email", "a@example.com"), ("config", "user.name", "A"),
        ("add", "."), ("commit", "-qm", "Begin"),
    ):  # fmt: skip
        subprocess.run(["git", *words], cwd=work, check=True)
    (work / "a.py").write_text("x = 2\n")
    return work


def log_of(work: Path) -> list[str]:
    told = subprocess.run(["git", "log", "--format=%B"], cwd=work, capture_output=True, check=True)
    return [line for line in told.stdout.decode().splitlines() if line]


def test_btw_answers_beside_the_conversation_and_leaves_no_trace(tmp_path: Path) -> None:
    script = [Reply(text="First."), Reply(text="It is **blue**."), Reply(text="Second.")]
    with FakeEngine(script) as engine, glmcode(tmp_path, *reach(engine), size=WIDE) as session:
        ready(session)
        session.type("one\r")
        session.wait_for("First.")
        ready(session)
        session.type("/btw which colour?\r")
        session.wait_for("the model does not remember it")
        assert "It is blue.\n\nbeside the conversation" in session.screen.text
        ready(session)
        session.type("two\r")
        session.wait_for("Second.")
        assert "which colour?" in sent(engine, 1) and "First." in sent(engine, 1)
        assert "colour" not in sent(engine, 2) and "blue" not in sent(engine, 2)
    (path,) = (tmp_path / "home").rglob("2*.jsonl")
    assert "colour" not in path.read_text() and "blue" not in path.read_text()


def test_a_question_beside_the_conversation_is_stopped_by_esc(tmp_path: Path) -> None:
    script = [slow("word " * 400), Reply(text="Second.")]
    with FakeEngine(script) as engine, glmcode(tmp_path, *reach(engine), size=WIDE) as session:
        ready(session)
        session.type("/btw what?\r")
        session.wait_until(lambda: len(engine.steps) == 1, "the question")
        session.type("\x1b")
        session.wait_for("interrupted")
        ready(session)
        session.type("two\r")
        session.wait_for("Second.")


def test_a_review_inside_the_session_judges_what_changed_and_the_session_stays(
    tmp_path: Path,
) -> None:
    work = repository(tmp_path)
    finding = {
        "file": "a.py",
        "line": 1,
        "code": "x = 2",
        "severity": "error",
        "reason": "Two is wrong.",
    }
    judged = {"findings": [finding], "verdict": "block"}
    script = [Reply(text=json.dumps(judged)), Reply(text="Hello.")]
    with (
        FakeEngine(script) as engine,
        glmcode(tmp_path, "--trust", *reach(engine), size=WIDE) as session,
    ):
        ready(session)
        session.type("/review\r")
        session.wait_for("a.py:1: error: Two is wrong.")
        assert "block: 1 finding in 1 file" in session.screen.text
        ready(session)
        session.type("/review\r")
        session.wait_for("as before")
        outside = subprocess.run(
            [sys.executable, "-m", "glmcode", "review", *reach(engine)], cwd=work,
            env={**os.environ, "GLMCODE_HOME": str(tmp_path / "home")}, capture_output=True,
        )  # fmt: skip
        assert outside.returncode == 4 and b", as before" in outside.stdout
        ready(session)
        session.type("hello\r")
        session.wait_for("Hello.")
        assert "x = 2" in sent(engine, 0) and "Two is wrong" not in sent(engine, 1)


def test_a_commit_proposes_a_message_asks_and_commits_what_is_staged(tmp_path: Path) -> None:
    work = repository(tmp_path)
    told = {"subject": "Make it two", "body": "One was not enough."}
    script = [Reply(text=json.dumps(told)), Reply(text=json.dumps(told))]
    with (
        FakeEngine(script) as engine,
        glmcode(tmp_path, "--trust", *reach(engine), size=WIDE) as session,
    ):
        ready(session)
        session.type("/commit\r")
        session.wait_for("nothing is staged")
        subprocess.run(["git", "add", "a.py"], cwd=work, check=True)
        for key in ("4", "1"):
            ready(session)
            session.type("/commit\r")
            session.wait_for_visible("Commit what is staged with this message?")
            assert "One was not enough." in session.screen.text
            session.read(0.4)
            assert log_of(work) == ["Begin"]
            session.type(key)
            session.wait_gone("Commit what is staged with this message?")
        session.wait_for("committed ")
        assert log_of(work) == ["Make it two", "One was not enough.", "Begin"]


def test_todo_shows_the_models_list_and_one_may_leave_while_the_doctor_looks(
    tmp_path: Path,
) -> None:
    todos = [
        {"content": "Look", "status": "completed"},
        {"content": "Write", "status": "in_progress"},
        {"content": "Test", "status": "pending"},
    ]
    call = {"name": "TodoWrite", "arguments": {"todos": todos}}
    with (
        FakeEngine([Reply(calls=[call]), Reply(text="Planned.")]) as engine,
        glmcode(tmp_path, *reach(engine), size=WIDE) as session,
    ):
        ready(session)
        session.type("plan\r")
        session.wait_for("Planned.")
        ready(session)
        session.type("/todo\r")
        session.wait_for("[x]  Look")
        assert "[>]  Write" in session.screen.text and "[ ]  Test" in session.screen.text
        session.type("/doctor\r")
        session.wait_for("looking around")
        session.type("\x04")
        assert session.wait_exit() == 0
