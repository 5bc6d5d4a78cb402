from __future__ import annotations

import io

import pytest
from prompt_toolkit.data_structures import Point, Size
from prompt_toolkit.layout.screen import Char, Screen

from glmcode.repl.drawing import App, Output, rewraps, wrapped


def drawn(*rows: str) -> Screen:
    screen = Screen()
    for y, row in enumerate(rows):
        x = 0
        for char in row:
            screen.data_buffer[y][x] = Char(char)
            for rest in range(1, Char(char).width):
                screen.data_buffer[y][x + rest] = Char("")
            x += Char(char).width
    screen.height = len(rows)
    return screen


def test_rows_that_are_too_wide_take_more_rows_after_a_resize() -> None:
    screen = drawn("x" * 80, "", "y" * 30, "> input")
    assert wrapped(screen, Point(x=2, y=3), 80) == Point(x=2, y=3)
    assert wrapped(screen, Point(x=2, y=3), 50) == Point(x=2, y=4)
    assert wrapped(screen, Point(x=2, y=3), 20) == Point(x=2, y=7)


def test_blanks_at_the_end_of_a_row_take_no_room_and_wide_characters_are_not_cut() -> None:
    screen = drawn("word" + " " * 76, "漢" * 10, "> ")
    assert wrapped(screen, Point(x=2, y=1), 40) == Point(x=2, y=1)
    assert wrapped(screen, Point(x=2, y=2), 15) == Point(x=2, y=3)
    assert wrapped(screen, Point(x=2, y=2), 9) == Point(x=2, y=4)


def test_a_cursor_far_to_the_right_is_wrapped_with_its_row() -> None:
    assert wrapped(drawn("> " + "x" * 60), Point(x=62, y=0), 50) == Point(x=12, y=1)


@pytest.mark.parametrize(
    ("environment", "known"),
    [
        ({"TERM": "xterm-256color"}, True),
        ({"TERM": "tmux-256color", "TMUX": "/tmp/tmux-0/default,1,0", "XTERM_VERSION": "X"}, True),
        ({"TERM": "xterm", "XTERM_VERSION": "XTerm(390)"}, False),
        ({"TERM": "screen", "STY": "1.pts-0.host"}, False),
        ({"TERM": "linux"}, False),
    ],
)
def test_which_terminals_wrap_their_lines_anew(environment: dict[str, str], known: bool) -> None:
    assert rewraps(environment) is known


def resized(app: App, screen: Screen, cursor: Point, columns: int) -> int:
    """Where its first row is looked for: rows above the cursor."""
    app._columns = 80
    app.renderer._last_screen, app.renderer._cursor_pos = screen, cursor
    app.output.get_size = lambda: Size(rows=24, columns=columns)  # type: ignore[method-assign]
    app._settle()
    return app.renderer._cursor_pos.y


def app() -> App:
    output = Output(io.StringIO(), lambda: Size(rows=24, columns=80))
    return App(output=output)


def test_the_picture_that_took_the_fewest_rows_counts_and_none_after_something_was_printed() -> (
    None
):
    cursor = Point(x=2, y=2)
    wide, narrow = drawn("x" * 80, "y" * 80, "> "), drawn("x" * 80, "y", "> ")
    one = app()
    one._pictures().append((1e12, (wide, cursor)))
    assert resized(one, wide, cursor, 50) == 4
    two = app()
    two._pictures().extend([(1e12, (narrow, cursor)), (1e12, (wide, cursor))])
    assert resized(two, wide, cursor, 50) == 3
    three = app()
    three._pictures().extend([(1e12, None), (1e12, (wide, cursor))])
    assert resized(three, wide, cursor, 50) == 2, "what was printed is never erased"
    four = app()
    four.wraps = False
    four._pictures().append((1e12, (wide, cursor)))
    assert resized(four, wide, cursor, 50) == 2


def test_what_is_erased_never_begins_in_the_very_first_cell() -> None:
    written = io.StringIO()
    output = Output(written, lambda: Size(rows=24, columns=80))
    output.erase_down()
    output.flush()
    assert written.getvalue() == " \x1b[J\r\x1b[K"
