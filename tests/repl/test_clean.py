from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glmcode.repl.clean import one_line, plain_output, visible

ACTING = set(range(0x20)) - {0x09, 0x0A} | set(range(0x7F, 0xA0))


def test_an_escape_is_shown_as_a_sign_and_not_obeyed() -> None:
    assert visible("a\x1b]52;c;aGk=\x07b") == "a␛]52;c;aGk=␇b"
    assert visible("\x9b2J") == "<U+009B>2J"
    assert visible("a\rb\r\nc") == "a␍b\nc"


def test_characters_that_reorder_or_hide_text_are_shown_by_their_number() -> None:
    assert visible("if \u202e x \u2066 y \u200b z \ufeff") == (
        "if <U+202E> x <U+2066> y <U+200B> z <U+FEFF>"
    )
    assert visible("a\U000e0041b") == "a<U+E0041>b"
    assert visible("half \ud800") == "half \N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize("text", ["naïve 日本語 😀\n\ttab", "👩‍👩‍👧 family", "कि"])
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert visible(text) == plain_output(text) == text


def test_colours_of_a_command_are_taken_out_and_a_progress_bar_shows_its_last_state() -> None:
    assert plain_output("\x1b[1;32mok\x1b[0m done") == "ok done"
    assert plain_output("\x1b]8;;http://x\x1b\\link\x1b]8;;\x07") == "link"
    assert plain_output(" 10%\r 50%\r100%\nend\r\n") == "100%\nend\n"
    assert plain_output("\x1b]0;never ended\nnext line") == "\nnext line"


def test_one_line_is_one_line_and_short() -> None:
    assert one_line("a\nb\tc") == "a ⏎ b c"
    assert one_line("x" * 50, 10) == "x" * 9 + "…"


@given(st.text())
def test_nothing_that_a_terminal_obeys_is_left_whatever_comes(text: str) -> None:
    for cleaned in (visible(text), plain_output(text), one_line(text)):
        assert not ACTING & set(map(ord, cleaned))
        cleaned.encode("utf-8")
