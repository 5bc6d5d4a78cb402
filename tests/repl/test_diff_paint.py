from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from glmcode.repl.paint import Painter
from glmcode.tools.diff import diff_texts

COLOUR = re.compile(r"\x1b\[[0-9;]*m")
OLD = 'def add(a, b):\n    """Adds."""\n    return a - b\n' + "x = 1\n" * 40 + "end = 2\n"
NEW = OLD.replace("a - b", "a + b").replace("end = 2", "end = 3")


@pytest.fixture(autouse=True)
def a_terminal_with_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    for name in ("NO_COLOR", "COLORTERM", "COLORFGBG"):
        monkeypatch.delenv(name, raising=False)


def painted(old: str, new: str, name: str = "", *, width: int = 80, **more: object) -> list[str]:
    painter = Painter(width, colour=bool(more.pop("colour", True)))
    painter.unfolds = "Ctrl-O shows all"
    limit = more.get("limit")
    assert limit is None or isinstance(limit, int)
    return painter.diff(diff_texts(old, new).body, name, limit=limit)


def bare(lines: list[str]) -> list[str]:
    return [COLOUR.sub("", line) for line in lines]


def test_words_that_changed_stand_out_and_the_syntax_is_coloured() -> None:
    lines = painted(OLD, NEW, "a.py")
    (added,) = (line for line in lines if "+ " in COLOUR.sub("", line) and "return" in line)
    assert re.search(r"\x1b\[[\d;]*7[\d;]*m\+\x1b\[0m", added), "the new sign in reverse"
    assert "\x1b[35mreturn\x1b[0m" in added and "\x1b[32m b" in added
    (removed,) = (line for line in lines if "return" in line and line is not added)
    assert "\x1b[35m" not in removed and re.search(r"\x1b\[[\d;]*7[\d;]*m-\x1b\[0m", removed)
    assert "\x1b[35m" not in "".join(painted(OLD, NEW, "a.unknown"))


def test_what_is_unchanged_in_between_is_counted() -> None:
    assert bare(painted(OLD, NEW, "a.py"))[6:11] == [
        "   6   x = 1",
        "  ⋮ 34 unchanged lines",
        "  41   x = 1",
        "  42   x = 1",
        "  43   x = 1",
    ]


def test_a_cut_one_says_how_much_is_left_out_and_which_key_shows_it() -> None:
    new = "".join(f"line {number}\n" for number in range(2_000))
    assert "  ⋮ 1,921 more lines (+1,921 -0), Ctrl-O shows all" in bare(painted("", new, limit=80))


@pytest.mark.parametrize("variable", ["NO_COLOR", "plain"])
def test_without_colours_none_is_written_and_nothing_else_differs(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if variable == "NO_COLOR":
        monkeypatch.setenv("NO_COLOR", "1")
    shown = painted(OLD, NEW, "a.py", colour=variable == "NO_COLOR")
    assert [line for line in bare(shown) if "⋮" not in line] == [
        line for line in bare(painted(OLD, NEW, "a.py")) if "⋮" not in line
    ]
    assert not any(re.search(r"\x1b\[[\d;]*[34][0-7]", line) for line in shown)
    assert variable == "NO_COLOR" or "\x1b" not in "".join(shown)


def test_changed_line_ends_are_said_and_tabs_stand_at_columns() -> None:
    shown = bare(painted("a\r\n\tb\tc\n", "a\n\tb\tc\n"))
    assert shown == ["  1 - a (its line end)", "  1 + a (its line end)", "  2       b   c"]


def test_a_very_long_line_is_shown_around_its_change_and_whole_when_all_is_asked_for() -> None:
    old = "x" * 5_000 + " old " + "y" * 5_000
    body = diff_texts(old[4_000:5_900], old.replace("old", "new")[4_000:5_900]).body
    painter = Painter(100, colour=False)
    cut = "".join(line.strip() for line in painter.diff(body, limit=80))
    assert " old y" in cut and " new y" in cut and "…901 characters… " in cut
    assert cut.count("x") == 198 and "more characters" in cut
    assert sum(line.count("x") for line in painter.diff(body)) == 2_000


def test_of_a_line_that_the_diff_cut_the_characters_are_counted_whole() -> None:
    old = "x" * 100_000
    body = diff_texts(f"{old}\n", f"{old[:60_000]}EVIL{old[60_000:]}\n").body
    shown = "".join(line.strip() for line in Painter(100, colour=False).diff(body, limit=80))
    assert shown.count("EVIL") == 1 and "its line end" not in shown
    counts = [int(n.replace(",", "")) for n in re.findall(r"([\d,]+) (?:more )?characters", shown)]
    assert sum(counts) + len(re.findall("x", shown)) + 4 == 200_004


@pytest.mark.parametrize("number", [",", ",,1", "1,,", "9" * 5_000, "٣", "-1", ""])
def test_a_line_that_looks_as_if_it_were_cut_is_shown_as_it_is(number: str) -> None:
    for line in (
        f"[... {number} characters]{'x' * 900}",
        f"{'x' * 900}[... {number} more characters]",
    ):
        painter = Painter(100, colour=False)
        body = diff_texts("", f"{line}\n").body
        assert sum(row.count("x") for row in painter.diff(body)) == 900
        assert painter.diff(body, limit=80)


TEXTS = st.text(st.sampled_from("ab ()='\"#\t漢🙂é\u200d\u0301\r\n"), max_size=120)


@settings(max_examples=60, deadline=None)
@given(TEXTS, TEXTS, st.integers(10, 60), st.sampled_from(["a.py", "b.md", "c.js", ""]))
def test_no_line_is_wider_than_the_screen_and_no_character_is_lost(
    old: str, new: str, width: int, name: str
) -> None:
    body = diff_texts(old, new).body
    painter = Painter(width)
    rows = bare(painter.diff(body, name))
    assert all(cell_len(row) <= max(width, 10) for row in rows if "(its line" not in row)
    shown = "".join(rows)
    for char in "ab#'漢🙂é":
        assert shown.count(char) >= sum(
            line.count(char) for line in body.split("\n") if not line.startswith(("@@", "\\"))
        )


def test_five_thousand_lines_are_drawn_in_a_tenth_of_a_second() -> None:
    signs = [f"-value = {n}  # 漢字 {n}\n+other = {n}  # 漢字 {n}\n" for n in range(2_500)]
    removed = "".join(line for line in "".join(signs).splitlines(True) if line[0] == "-")
    added = "".join(line for line in "".join(signs).splitlines(True) if line[0] == "+")
    painter = Painter(100)
    for body in ("".join(signs), removed + added):
        body = f"@@ -1,2500 +1,2500 @@\n{body}"
        painter.diff(body, "a.py", limit=80)
        started = time.thread_time()
        assert len(painter.diff(body, "a.py")) == 5_000
        assert time.thread_time() - started < 0.25, "0.05 s on an idle machine"
