from __future__ import annotations

import re
from pathlib import Path

from tests.fake_engine import FakeEngine, Reply
from tests.repl.pty_driver import glmcode
from tests.repl.test_turns import reach, ready, slow

EVIL = (
    "\x1b]52;c;ZXZpbA==\x07 clip \x1b[2J\x1b[1;1Hhome \x1b]0;title\x1b\\ \x9b31m c1 "
    "\u202egnirts\u202c \x08\x08 bs \x1bc reset \x1b[?1049h \u2028 line \x00 nul"
)
PERMITTED = re.compile(
    r"\x1b\]2;[^\x00-\x1f\x7f-\x9f]*\x07"
    r"|\x1b\[\??[0-9;]*[A-Za-z]|[^\x00-\x09\x0b-\x0c\x0e-\x1f\x7f-\x9f]",
    re.DOTALL,
)
TITLES = {"", "workspace · glmcode", "● workspace · glmcode", "? workspace · glmcode"}


def test_no_text_of_model_file_command_or_person_reaches_the_terminal_as_a_command(
    tmp_path: Path,
) -> None:
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    textual = EVIL.replace("\x00", "")
    (workspace / "bad.txt").write_text(f"first\n{textual}\n")
    edit = {"file_path": "bad.txt", "old_string": "first", "new_string": f"second {textual}"}
    script = [
        Reply(
            reasoning=f"thought {EVIL} thought",
            text=f"# Head {EVIL}\n\n`code {EVIL}`\n\n```\n{EVIL}\n```\n\n[l](http://x/{EVIL})",
            calls=[{"name": "Read", "arguments": {"file_path": "bad.txt"}}],
        ),
        Reply(calls=[{"name": "Edit", "arguments": edit}]),
        Reply(
            calls=[
                {
                    "name": "Bash",
                    "arguments": {"command": "cat bad.txt; printf '\\0 nul'; umask 022; exit 3"},
                }
            ]
        ),
        Reply(calls=[{"name": f"Nope{EVIL}", "arguments": {"path": EVIL}}]),
        Reply(text=f"unfinished {EVIL}"),
    ]
    with FakeEngine(script) as engine, glmcode(tmp_path, *reach(engine), size=(160, 50)) as session:
        ready(session)
        session.type(f"\x1b[200~look {EVIL.replace(chr(27), '')}\x1b[201~")
        session.type("\r")
        for done in ("edited bad.txt", "[exit 3"):
            session.wait_for_visible("Allow it?")
            session.read(0.6)
            session.type("1")
            session.wait_for(done)
        session.wait_for("unfinished")
        ready(session)
        session.type("\x04")
        session.wait_exit()
        assert session.screen.foreign == []
        assert session.screen.notified == []
        assert {*session.screen.titles} <= TITLES
        assert PERMITTED.sub("", session.raw) == ""
        for hidden in ("\u202e", "\u2028"):
            assert hidden not in session.raw
        assert "second ␛]52;c;ZXZpbA==␇" in session.screen.text, "the diff shows what it holds"
        assert "<U+202E>" in session.screen.text


def test_a_dumb_terminal_gets_lines_and_not_one_escape(tmp_path: Path) -> None:
    script = [
        Reply(text="**Bold** words.", calls=[{"name": "Bash", "arguments": {"command": "make"}}]),
        Reply(text="Done."),
        slow("Words that go on. " * 100),
    ]
    env = {"TERM": "dumb"}
    with FakeEngine(script) as engine, glmcode(tmp_path, *reach(engine), env=env) as session:
        session.wait_for("protocol chat")
        session.type("go\n")
        session.wait_for(
            "Allow it? 1 yes, 2 for this session, 3 always Bash(make), 4 no, 5 edit it:"
        )
        session.read(0.4)
        session.type("4\n")
        session.wait_for("What instead?")
        session.type("be still\n")
        session.wait_for("Done.")
        assert "the user said no: be still" in engine.steps[1].body.decode()
        session.type("more\n")
        session.wait_until(lambda: len(engine.steps) == 3, "the request")
        session.read(0.3)
        session.type("\x03")
        session.wait_for("interrupted")
        session.type("\x04")
        assert session.wait_exit() == 0
        assert "\x1b" not in session.raw
        assert session.terminal_is_restored()


def test_a_line_typed_ahead_on_a_dumb_terminal_is_a_message_not_an_answer(tmp_path: Path) -> None:
    script = [
        Reply(calls=[{"name": "Bash", "arguments": {"command": "make"}}], delay=1.0),
        Reply(text="Done."),
    ]
    env = {"TERM": "dumb"}
    with FakeEngine(script) as engine, glmcode(tmp_path, *reach(engine), env=env) as session:
        session.wait_for("protocol chat")
        session.type("go\n")
        session.read(0.3)
        session.type("y\n")
        session.wait_for("Allow it?")
        session.read(0.5)
        assert len(engine.steps) == 1
        session.type("1\n")
        session.wait_for("Done.")


def test_no_color_is_honoured(tmp_path: Path) -> None:
    script = [Reply(text="# Head\n\n`code` and **bold**\n\n```python\nx = 1\n```\n")]
    env = {"NO_COLOR": "1"}
    with FakeEngine(script) as engine, glmcode(tmp_path, *reach(engine), env=env) as session:
        ready(session)
        session.type("go\r")
        session.wait_for("x = 1")
        ready(session)
        numbers = {n for styled in session.screen.styled for n in styled.split(";")}
        assert not {n for n in numbers if n.startswith(("3", "4", "9")) and len(n) == 2}


def test_twenty_columns_wide_characters_and_a_resize_while_it_streams(tmp_path: Path) -> None:
    words = "日本語のテキスト and more words 😀 of it. "
    table = "\n\n| a | b |\n|---|---|\n| 日本 | long long long long cell |\n\n"
    nested = "- a\n  - b\n    - c\n      - d " + "word " * 10 + "\n\nThe end.\n"
    command = {"command": "touch " + "x" * 50}
    script = [
        Reply(
            text=words * 12 + table + nested,
            chunk=6,
            gap=0.02,
            close=True,
            calls=[{"name": "Bash", "arguments": command}],
        ),
        Reply(text="Over."),
    ]
    with FakeEngine(script) as engine, glmcode(tmp_path, *reach(engine), size=(80, 24)) as session:
        ready(session)
        session.type("go\r")
        session.wait_for("日本語")
        session.resize(20, 12)
        session.read(0.5)
        session.resize(50, 3)
        session.read(0.3)
        session.resize(20, 10)
        session.wait_for("The end.")
        session.wait_for_visible("Allow")
        session.read(0.4)
        session.type("1")
        session.wait_for("Over.")
        session.wait_for_visible("ready")
        assert session.screen.foreign == []
        assert session.screen.notified == []
        assert {*session.screen.titles} <= TITLES
        assert "Traceback" not in session.raw
        session.type("abc")
        session.wait_for_visible("❯ abc")
