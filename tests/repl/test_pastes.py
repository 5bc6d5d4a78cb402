from __future__ import annotations

from pathlib import Path

import pytest
from prompt_toolkit.document import Document
from prompt_toolkit.input.vt100_parser import Vt100Parser
from prompt_toolkit.key_binding import KeyPress
from prompt_toolkit.keys import Keys
from prompt_toolkit.layout import BufferControl
from prompt_toolkit.layout.processors import TransformationInput

from glmcode.repl.history import MAX_ENTRY_BYTES, FileHistory
from glmcode.repl.incoming import _Parser
from glmcode.repl.pastes import FoldedPastes, Pastes, described, is_long
from tests.fake_engine import FakeEngine, Reply
from tests.repl.pty_driver import PtySession, glmcode
from tests.repl.test_turns import reach, ready

LONG = "".join(f"line {number} \U00100000\ue000 ☃\t{'x' * 30}\n" for number in range(5_000))
SHORT = "\n".join("abc")


def paste(session: PtySession, text: str) -> None:
    data = f"\x1b[200~{text}\x1b[201~".replace("\n", "\r")
    for at in range(0, len(data), 2_000):
        session.type(data[at : at + 2_000])
        session.read()


def said(engine: FakeEngine, step: int = 0) -> str:
    message: str = engine.steps[step].json["messages"][-1]["content"]
    return message


def test_a_long_paste_is_one_character_and_reaches_the_model_byte_for_byte(
    tmp_path: Path,
) -> None:
    with (
        FakeEngine([Reply(text="Read."), Reply(text="Again.")]) as engine,
        glmcode(tmp_path, *reach(engine)) as session,
    ):
        ready(session)
        session.type("see: ")
        paste(session, LONG)
        session.wait_for_visible("❯ see: [pasted 5,000 lines, 264 KB]")
        session.type(" well\x1b[D\x1b[D\x1b[D\x1b[D\x1b[D\x7f")
        session.wait_for_visible("❯ see:  well")
        session.type("\x1f")
        session.wait_for_visible("❯ see: [pasted 5,000 lines, 264 KB] well")
        session.type("\x05?\r")
        session.wait_for("Read.")
        assert said(engine).endswith(f"see: {LONG} well?")
        session.wait_for_visible("ready")
        session.type("\x1b[A")
        session.wait_for_visible("❯ see: [pasted 5,000 lines, 264 KB] well?")
        session.type("!\r")
        session.wait_for("Again.")
        assert said(engine, 1).endswith(f"see: {LONG} well?!")


def test_ctrl_o_or_the_same_paste_again_unfolds_it(tmp_path: Path) -> None:
    text = "".join(f"row {number}\n" for number in range(11))
    with FakeEngine([]) as engine, glmcode(tmp_path, *reach(engine)) as session:
        ready(session)
        paste(session, text)
        session.wait_for_visible("❯ [pasted 11 lines, 67 bytes]")
        session.wait_for_visible("Ctrl-O unfolds the paste")
        session.type("more\x0f")
        session.wait_for_visible("row 10\n  more")
        assert "[pasted" not in session.screen.visible
        session.type("\x1f")
        session.wait_for_visible("❯ [pasted 11 lines, 67 bytes]more")
        session.type("\x7f" * 4)
        session.wait_gone("more")
        paste(session, text)
        session.wait_for_visible("row 10")
        session.type("\x03")
        session.wait_gone("row 10")


def test_a_paste_survives_the_editor_the_history_of_another_session_and_the_queue(
    tmp_path: Path,
) -> None:
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/bash\ncp "$1" ../seen\nprintf "\\nmore" >> "$1"\n')
    editor.chmod(0o755)
    env = {"VISUAL": str(editor)}
    slow = Reply(text=" ".join(f"word{n}" for n in range(900)), chunk=4, gap=0.02)
    with (
        FakeEngine([slow, Reply(text="Second.")]) as engine,
        glmcode(tmp_path, *reach(engine), env=env) as session,
    ):
        ready(session)
        session.type("go\r")
        session.wait_for_visible("word3")
        session.type("look ")
        paste(session, LONG)
        session.type(" end\x07")
        session.wait_for_visible("❯ look [pasted 5,000 lines, 264 KB] end")
        session.wait_for_visible("  more")
        assert (tmp_path / "seen").read_text() == f"look {LONG} end"
        session.type("\r")
        session.wait_for_visible("queued: look line 0")
        session.type("\x1b[A")
        session.wait_for_visible("❯ look [pasted 5,000 lines, 264 KB] end")
        session.type("\x1b")
        session.wait_for_visible("ready")
        session.type("\x03")
        session.wait_gone("look [pasted")
        session.type("\x04")
        session.wait_exit()
    with (
        FakeEngine([Reply(text="Third.")]) as engine,
        glmcode(tmp_path, *reach(engine)) as session,
    ):
        ready(session)
        session.type("\x12loo")
        session.wait_for_visible("look [pasted 5,000 lines, 264 KB] end")
        session.type("\r\r")
        session.wait_for("Third.")
        assert said(engine).endswith(f"look {LONG} end\nmore")


def test_what_follows_a_paste_never_answers_a_question(tmp_path: Path) -> None:
    call = {"name": "Bash", "arguments": {"command": "touch made"}}
    with (
        FakeEngine([Reply(calls=[call]), Reply(text="Over.")]) as engine,
        glmcode(tmp_path, *reach(engine)) as session,
    ):
        ready(session)
        session.type("go\r")
        session.wait_for_visible("Allow it?")
        session.read(1.2)
        paste(session, "take ")
        session.wait_for_visible("❯ take")
        session.type("1 of them")
        session.wait_for_visible("❯ take 1 of them")
        assert not (tmp_path / "workspace" / "made").exists()


@pytest.mark.parametrize("char", ["\U00100000", "\ue000", "\U0010fffd", "\uffff", "\U000f0000"])
def test_no_character_that_can_be_typed_is_taken_for_a_paste(char: str) -> None:
    pastes = Pastes()
    mark = pastes.pasted(LONG)
    assert len(mark) == 1 and not pastes.is_mark(char)
    assert pastes.whole(f"{char}{mark}{char}") == f"{char}{LONG}{char}"
    with pytest.raises(UnicodeEncodeError):
        mark.encode()


def test_more_pastes_than_there_are_characters_stay_as_they_are() -> None:
    pastes = Pastes()
    texts = [f"{number}" + "\n" * 12 + "." for number in range(1_100)]
    stand = "".join(pastes.pasted(text) for text in texts)
    assert pastes.whole(stand) == "".join(texts)
    assert stand.count("\n") == (1_100 - 1_024) * 12


def test_ctrl_c_ends_a_paste_whose_end_got_lost() -> None:
    keys: list[KeyPress] = []
    parser: Vt100Parser = _Parser(keys.append)
    for data in ("\x1b[200~begun", " and \x03 lost", "\x03", "x"):
        parser.feed(data)
    assert [(one.key, one.data) for one in keys] == [
        (Keys.BracketedPaste, "begun and \x03 lost"),
        (Keys.ControlC, "\x03"),
        ("x", "x"),
    ]


def test_what_a_terminal_answers_too_late_is_no_key_but_in_a_paste_it_is_text() -> None:
    keys: list[KeyPress] = []
    parser: Vt100Parser = _Parser(keys.append)
    answers = "\x1b]11;rgb:0000/0000/0000\x07\x1bP1$r0m\x1b\\\x1b]10;rgb:f/f/f\x1b\\"
    parser.feed(f"a{answers}b\x1b[200~{answers}\x1b[201~{answers}\x07")
    assert [(one.key, one.data) for one in keys] == [
        ("a", "a"),
        ("b", "b"),
        (Keys.BracketedPaste, answers),
        (Keys.ControlG, "\x07"),
    ]


def test_a_history_full_of_pastes_leaves_characters_for_new_ones(tmp_path: Path) -> None:
    history = FileHistory(tmp_path / "history")
    texts = [f"{number}" + "\n" * 12 + "." for number in range(1_000)]
    for text in texts:
        history.store_string(f"see {history.pastes.pasted(text)}")
    later = FileHistory(tmp_path / "history")
    loaded = list(later.load_history_strings())
    assert [later.pastes.whole(entry) for entry in loaded] == [f"see {t}" for t in texts[::-1]]
    assert len(loaded[0]) == 5 and len(later.pastes.pasted(LONG)) == 1


def test_the_history_keeps_a_whole_paste_and_of_an_endless_one_that_there_was_one(
    tmp_path: Path,
) -> None:
    path = tmp_path / "history"
    history = FileHistory(path)
    history.store_string("before")
    history.store_string(f"look {history.pastes.pasted(LONG)}!")
    endless = "y" * MAX_ENTRY_BYTES
    history.store_string(f"and {history.pastes.pasted(endless)}")
    later = FileHistory(path)
    entries = [later.pastes.whole(entry) for entry in later.load_history_strings()]
    assert entries == ["and [pasted 1 line, 400 KB]", f"look {LONG}!", "before"]


def test_marks_in_a_history_file_are_no_pastes(tmp_path: Path) -> None:
    path = tmp_path / "history"
    path.write_bytes(b'"a\\ud800b"\n["c", "\\ud801"]\n[]\n[1]\n')
    history = FileHistory(path)
    entries = [history.pastes.whole(entry) for entry in history.load_history_strings()]
    assert entries == ["c\N{REPLACEMENT CHARACTER}", "a\N{REPLACEMENT CHARACTER}b"]


def test_a_folded_paste_is_drawn_in_its_words_and_the_cursor_finds_its_way() -> None:
    pastes = Pastes()
    mark = pastes.pasted("z" * 1_001)
    drawn = FoldedPastes(pastes).apply_transformation(
        TransformationInput(
            BufferControl(),
            Document(),
            0,
            lambda i: i,
            [("class:x", f"a{mark}b")],
            80,
            24,
        )
    )
    words = "[pasted 1 line, 1.0 KB]"
    assert "".join(text for _, text, *_ in drawn.fragments) == f"a{words}b"
    assert drawn.fragments[1][0] == "class:x class:dim"
    assert [drawn.source_to_display(at) for at in range(5)] == [0, 1, 24, 25, 26]
    assert [drawn.display_to_source(at) for at in (0, 1, 23, 24, 25, 26)] == [0, 1, 1, 2, 3, 4]


def test_only_a_long_paste_is_folded() -> None:
    assert not is_long(SHORT) and not is_long("\n".join("abcdefghij") + "\n")
    assert is_long("\n".join("abcdefghijk")) and is_long("x" * 1_001) and not is_long("x" * 1_000)


def test_a_paste_says_how_much_it_is() -> None:
    assert described("a\nb") == "[pasted 2 lines, 3 bytes]"
    assert described("é" * 600 + "\n") == "[pasted 1 line, 1.2 KB]"
    assert described("x\n" * 999_999) == "[pasted 999,999 lines, 2.0 MB]"


@pytest.mark.parametrize("size", [1, 2, 5, 7, 1_024])
def test_a_paste_that_comes_in_pieces_is_one_and_keys_around_it_stay_keys(size: int) -> None:
    keys: list[KeyPress] = []
    parser: Vt100Parser = _Parser(keys.append)
    inner = "b\x1b[20" * 500
    data = f"a\x1b[200~{inner}\x1b[201~c\x1b[200~\x1b[201~\x1b[A"
    for at in range(0, len(data), size):
        parser.feed(data[at : at + size])
    assert [(one.key, one.data) for one in keys] == [
        ("a", "a"),
        (Keys.BracketedPaste, inner),
        ("c", "c"),
        (Keys.BracketedPaste, ""),
        (Keys.Up, "\x1b[A"),
    ]
