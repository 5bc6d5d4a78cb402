from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glmcode.repl.paint import Painter
from glmcode.repl.prose import items, prose
from glmcode.repl.theme import theme_of

ANSI = theme_of("ansi", {"TERM": "xterm"})
CODES = {"c": "\x1b[36m", "b": "\x1b[1m"}


def by_rich(block: str, width: int, *, colour: bool) -> list[str]:
    painter = Painter(width, colour=colour, theme=ANSI)
    return painter.laid_out(block, width)


WORDS = st.sampled_from(
    ["a", "word", "`code`", "`more code`", "**bold**", "**two words**", "end.", "(so)", "it's",
     "`x`,", "**y**:", "1.", "-", "+", "*", "**", "`", "``", "_it_", "a*b*c", "x`y`z", "!", "=",
     "---", "antidisestablishmentarianism", '"said"',
     "<b>", "&amp;", "http://a.b",
     "[a](b)", "#", "3)", "日本"]
)  # fmt: skip
BLOCKS = st.lists(st.tuples(WORDS, st.sampled_from([" ", "\n", "  "])), min_size=1, max_size=40)


@settings(max_examples=300, deadline=None)
@given(BLOCKS, st.integers(10, 60), st.booleans())
def test_what_is_laid_out_here_looks_as_rich_lays_it_out(
    parts: list[tuple[str, str]], width: int, colour: bool
) -> None:
    block = "".join(word + space for word, space in parts).strip()
    lines = prose(block, width, codes=CODES if colour else {})
    if lines is not None:
        assert lines == by_rich(block, width, colour=colour)


@pytest.mark.parametrize(
    "block", ["Some plain words, and more of them.", "It `is` **so**.\nAnd on.", "Use `a b c` here"]
)
@pytest.mark.parametrize("width", [10, 14, 80])
def test_plain_paragraphs_are_laid_out_here(block: str, width: int) -> None:
    assert prose(block, width, codes=CODES) == by_rich(block, width, colour=True)


@pytest.mark.parametrize(
    "block",
    ["- a list", "1. a list", "# heading", "a\n---", "a\n===", "    code", "a  \nb", "a\\\nb",
     "> quote",
     "*a*", "a * b", "see <b>", "&amp;", "[a](b)", "| a |", "日本", "`a", "~~a~~", "```\na"],
)  # fmt: skip
def test_whatever_else_is_left_to_rich(block: str) -> None:
    assert prose(block, 40, codes=CODES) is None


def test_a_paragraph_costs_much_less_than_by_rich() -> None:
    block = "Some words with `code` and **bold** in them, as a model writes them. " * 10
    block = block.strip()

    def spent(work: object) -> float:
        began = time.process_time()
        for _ in range(40):
            work()  # type: ignore[operator]
        return time.process_time() - began

    painter = Painter(80, theme=ANSI)
    painter.laid_out(block, 80)
    assert spent(lambda: prose(block, 80, codes=CODES)) * 3 < spent(
        lambda: painter.laid_out(block, 80)
    )


MARKS = st.sampled_from(
    ["- ", "- ", "* ", "+ ", "1. ", "7. ", "98. ", "2) ", "-  ", "  - ", "", "0. "]
)
ITEMS = st.lists(st.tuples(MARKS, st.lists(WORDS, max_size=12)), min_size=1, max_size=12)
PAINTERS = {colour: Painter(80, colour=colour, theme=ANSI) for colour in (False, True)}


def seen(line: str) -> list[tuple[str, str]]:
    """Each character with its colour; a blank has none that could be seen."""
    found, style = [], ""
    for code, char in re.findall(r"\x1b\[([0-9;]*)m|(.)", line):
        if char:
            found.append((char, "" if char == " " else style))
        else:
            style = "" if code in ("", "0") else code
    return found


def as_rich(block: str, width: int, *, colour: bool) -> bool:
    """Whether a list is laid out here; then it must look as rich lays it out."""
    painter = PAINTERS[colour]
    painter._make_console()
    lines = items(block, width, codes=painter._codes)
    if lines is not None:
        rich = painter.laid_out(block, width)
        assert [seen(line) for line in lines] == [seen(line) for line in rich]
    return lines is not None


@settings(max_examples=400, deadline=None)
@given(ITEMS, st.integers(10, 60), st.booleans())
def test_a_list_that_is_laid_out_here_looks_as_rich_lays_it_out(
    rows: list[tuple[str, list[str]]], width: int, colour: bool
) -> None:
    block = "\n".join(mark + " ".join(words) for mark, words in rows).strip()
    as_rich(block, width, colour=colour)


@pytest.mark.parametrize(
    "block",
    ["- one", "- one `x`\n- **two** and more words than fit", "* a\n* b", "9. a\n9. b\n1. c"],
)
@pytest.mark.parametrize("width", [20, 80])
@pytest.mark.parametrize("colour", [False, True])
def test_plain_lists_are_laid_out_here(block: str, width: int, colour: bool) -> None:
    assert as_rich(block, width, colour=colour)


@pytest.mark.parametrize(
    "block", ["- a\n* b", "- a\n  - b", "- a\nb", "- a\n\n- b", "- [ ] a", "- *a*", "1. a\n2) b",
              "- - a", "* * *", "- a\n1. b", ". a", "-", "- # a", "-  a"]
)  # fmt: skip
def test_whatever_other_list_is_left_to_rich(block: str) -> None:
    assert items(block, 40, codes=CODES) is None
