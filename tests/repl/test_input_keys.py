from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.fake_engine import FakeEngine, Reply
from tests.repl.pty_driver import glmcode
from tests.repl.test_editing import script
from tests.repl.test_turns import reach, ready

LINE_BREAKS = {
    "Shift-Enter, CSI u": "\x1b[13;2u",
    "Shift-Enter, xterm": "\x1b[27;2;13~",
    "Shift-Enter with NumLock": "\x1b[13;130u",
    "Ctrl-Enter": "\x1b[13;5u",
    "Alt-Enter": "\x1b\r",
    "Ctrl-J": "\n",
    "backslash and Enter": "\\\r",
}
ENTERS = {"CSI u": "\x1b[13u", "CapsLock": "\x1b[13;65u", "keypad": "\x1bOM", "CR": "\r"}


def test_every_way_to_break_a_line_breaks_it_and_sends_nothing(tmp_path: Path) -> None:
    with (
        FakeEngine([Reply(text="Read.")]) as engine,
        glmcode(tmp_path, *reach(engine)) as session,
    ):
        ready(session)
        session.read(0.6)
        for number, keys in enumerate(LINE_BREAKS.values()):
            session.type(f"l{number}{keys}")
        session.type("end")
        session.wait_for_visible("  end")
        assert not engine.steps
        session.type("\r")
        session.wait_for("Read.")
        told = engine.steps[0].json["messages"][-1]["content"]
        lines = "\n".join(f"l{number}" for number in range(len(LINE_BREAKS)))
        assert told.endswith(f"{lines}\nend")


def test_vi_keys_break_lines_in_the_same_ways(tmp_path: Path) -> None:
    with (
        FakeEngine([Reply(text="Read.")]) as engine,
        glmcode(tmp_path, *reach(engine), env={"GLMCODE_UI__KEYS": "vi"}) as session,
    ):
        ready(session)
        session.read(0.6)
        session.type("a\x1b[13;2ub\nc\x1b\rd")
        session.wait_for_visible("  d")
        session.type("\r")
        session.wait_for("Read.")
        assert engine.steps[0].json["messages"][-1]["content"].endswith("a\nb\nc\nd")


def test_enter_is_enter_however_the_terminal_sends_it(tmp_path: Path) -> None:
    replies = [Reply(text=f"Read {name}.") for name in ENTERS]
    with FakeEngine(replies) as engine, glmcode(tmp_path, *reach(engine)) as session:
        ready(session)
        for name, keys in ENTERS.items():
            session.type(f"now{keys}")
            session.wait_for(f"Read {name}.")
            session.wait_for_visible("ready")


def test_slash_editor_opens_the_editor_on_its_words(tmp_path: Path) -> None:
    env = script(tmp_path, 'cp "$2" ../seen; printf "from the editor" > "$2"')
    with FakeEngine([]) as engine, glmcode(tmp_path, *reach(engine), env=env) as session:
        ready(session)
        session.type("/editor some\x1b\rwords here\r")
        session.wait_for_visible("❯ from the editor")
        assert (tmp_path / "seen").read_text() == "some\nwords here"


def test_slash_vim_toggles_the_keys_and_the_status_line_says_the_mode(tmp_path: Path) -> None:
    with FakeEngine([]) as engine, glmcode(tmp_path, *reach(engine)) as session:
        ready(session)
        assert "INSERT" not in session.screen.visible
        session.type("/vim\r")
        session.wait_for_visible("INSERT · ready")
        session.type("one two")
        session.wait_for_visible("❯ one two")
        session.type("\x1b")
        session.wait_for_visible("NORMAL · ready")
        session.type("v")
        session.wait_for_visible("VISUAL · ready")
        session.type("\x1b")
        session.wait_for_visible("NORMAL · ready")
        session.type("0dw")
        session.wait_for_visible("❯ two")
        session.type("R")
        session.wait_for_visible("REPLACE · ready")
        session.type("\x1b")
        session.wait_for_visible("NORMAL · ready")
        session.type("cc/vim\r")
        session.wait_for("emacs keys")
        session.wait_gone("INSERT")
        session.type("abc\x01x")
        session.wait_for_visible("❯ xabc")


@pytest.mark.parametrize("how", ["--plain", "TERM"])
def test_the_plain_screen_is_lines_alone_with_every_state_said_once(
    tmp_path: Path, how: str
) -> None:
    words = ["--plain"] if how == "--plain" else []
    env = {} if words else {"TERM": "dumb"}
    call = {"name": "Bash", "arguments": {"command": "touch made"}}
    long = Reply(text="\n\n".join(f"Part {n} of many." for n in range(200)), chunk=4, gap=0.02)
    replies = [Reply(calls=[call]), Reply(text="Made it."), long, Reply(text="The third.")]
    with (
        FakeEngine(replies) as engine,
        glmcode(tmp_path, *words, *reach(engine), env=env) as session,
    ):
        session.wait_for("protocol chat")
        session.type("make it\n")
        session.wait_for("Allow it? 1 yes")
        session.read(0.4)
        session.type("1\n")
        session.wait_for("Made it.")
        assert (tmp_path / "workspace" / "made").exists()
        session.type("long\n")
        session.wait_for("Part 3")
        session.type("and then\n")
        session.wait_for("queued: it is next")
        session.type("\x03")
        session.wait_for("not sent:")
        session.type("more\n")
        session.wait_for("The third.")
        session.type("\x04")
        assert session.wait_exit() == 0
        assert "\x1b" not in session.raw and "\b" not in session.raw
        assert not re.search(r"\r(?!\r*\n)", session.raw)
        text = session.screen.text
    for once in ("● Bash touch made", "Allow it?", "queued: it is next", "Made it.", "Part 3 of"):
        assert text.count(once) == 1, once
    assert text.count("interrupted") == 1


def test_on_the_plain_screen_an_editor_writes_a_message(tmp_path: Path) -> None:
    env = script(tmp_path, 'printf "written\\nthere" > "$2"; stty raw -echo')
    with (
        FakeEngine([Reply(text="Read.")]) as engine,
        glmcode(tmp_path, "--plain", *reach(engine), env=env) as session,
    ):
        session.wait_for("protocol chat")
        session.type("/editor\n")
        session.wait_for("Read.")
        assert engine.steps[0].json["messages"][-1]["content"].endswith("written\nthere")
        session.type("/vim\n")
        session.wait_for("set the keys there")
        session.type("\x04")
        assert session.wait_exit() == 0
        assert session.terminal_is_restored()


def test_on_the_plain_screen_pasted_lines_are_one_message_and_a_backslash_goes_on(
    tmp_path: Path,
) -> None:
    replies = [Reply(text="Read one."), Reply(text="Read two."), Reply(text="Read three.")]
    with FakeEngine(replies) as engine, glmcode(tmp_path, "--plain", *reach(engine)) as session:
        session.wait_for("protocol chat")
        session.type("# a title\n\n/status\n!x\nthe end\n")
        session.wait_for("Read one.")
        session.type("first\\\n")
        session.wait_for("first\\")
        session.read(0.2)
        session.type("second\n")
        session.wait_for("Read two.")
        session.type("dropped\\\n")
        session.wait_for("dropped\\")
        session.read(0.2)
        session.type("\x03")
        session.wait_for("Ctrl-C again leaves")
        session.type("kept\n")
        session.wait_for("Read three.")
        session.type("at the end\\\n\x04")
        session.wait_exit()
    told = [step.json["messages"][-1]["content"] for step in engine.steps]
    assert told[0].endswith("\n\n# a title\n\n/status\n!x\nthe end")
    assert told[1:3] == ["first\nsecond", "kept"]
    assert "\n> at the end" in session.screen.text
