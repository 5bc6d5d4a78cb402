from __future__ import annotations

import re
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from glmcode.repl.fence import fence
from glmcode.repl.paint import Painter
from glmcode.repl.theme import theme_of

DARK = theme_of("dark", {"TERM": "xterm-256color", "COLORTERM": "truecolor"})


def cells(line: str) -> list[tuple[str, str]]:
    """Each character with its colour; a blank has none that could be seen."""
    found, style = [], ""
    for code, char in re.findall(r"\x1b\[([0-9;]*)m|(.)", line):
        if char:
            found.append((char, "" if char == " " else style))
        else:
            style = "" if code in ("", "0") else code
    while found and found[-1][0] == " ":
        found.pop()
    return found


def painter(width: int, *, colour: bool) -> Painter:
    return Painter(width, colour=colour, theme=DARK)


def same(block: str, width: int, *, colour: bool) -> bool:
    """Whether it is painted here; then it must look as rich paints it."""
    made = painter(width, colour=colour)
    lines = fence(block, width, made._around_code)
    if lines is not None:
        rich = made.laid_out(block, width)
        assert [cells(line) for line in lines] == [cells(line) for line in rich]
    return lines is not None


LINES = st.sampled_from(
    ["def f(a, b=1):", "    return 'x' + str(a)  # why", "", "   ", "class A:", "@decorated",
     '"""doc', 'string"""', "x = [1, 2.5, None, True]", "import os", "for (let i = 0;;) {", "}",
     "echo $HOME | grep -v 'x' > /tmp/y", '{"a": [1, null]}', "<b>tag</b>", "- not a list", "# x",
     "~~~", "``` ", "  ```", "`", "日本", "\tx", "a" * 70, "trailing   ", "\\", "$(cat <<E", "E"]
)  # fmt: skip
NAMES = st.sampled_from(
    ["", "python", "Python", "js", "bash", "json", "html", "nonsense", "text", "c++", "diff", "a b"]
)


@settings(max_examples=300, deadline=None)
@given(
    NAMES,
    st.lists(LINES, max_size=12),
    st.sampled_from(["```", "~~~", "````"]),
    st.booleans(),
    st.integers(10, 80),
    st.booleans(),
)
@example("python", ["", "x = 1", "", ""], "```", True, 80, True)
@example("python", ['"""doc', "more", 'string"""'], "```", False, 80, True)
def test_code_that_is_painted_here_looks_as_rich_paints_it(
    name: str, lines: list[str], mark: str, closed: bool, width: int, colour: bool
) -> None:
    block = "\n".join([f"{mark}{name}", *lines, *([mark] if closed else [])])
    same(block, width, colour=colour)


@pytest.mark.parametrize(
    "block",
    [
        "```python\ndef f():\n    return 1\n```",
        "```\nplain\n```",
        "~~~sh\nls | wc\n",
        "```zz\nx\n```",
    ],
)
@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("width", [30, 80])
def test_plain_code_is_painted_here(block: str, colour: bool, width: int) -> None:
    assert same(block, width, colour=colour)


@pytest.mark.parametrize(
    "block",
    ["text", "```python", "```\n日本\n```", "```\na\tb\n```", "```\n" + "x" * 90 + "\n```",
     "```\na\n```\nmore", "````\n```\n````", "```\na\n ```"],
)  # fmt: skip
def test_whatever_else_is_left_to_rich(block: str) -> None:
    made = painter(80, colour=True)
    assert fence(block, 80, made._around_code) is None


def test_code_costs_a_fraction_of_what_rich_takes() -> None:
    made = painter(100, colour=True)
    block = "```python\n" + "    value = [1, 'x']  # why\n" * 60 + "```"

    def best(paint: object) -> float:
        assert callable(paint)
        paint(block)
        times = []
        for _ in range(5):
            began = time.process_time()
            paint(block)
            times.append(time.process_time() - began)
        return min(times)

    assert best(made.markdown) < 0.75 * best(lambda text: made.laid_out(text, 100))
