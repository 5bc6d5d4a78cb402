"""prompt_toolkit's output and application, as scrollback that never changes needs them.

The live part is found again after a resize: most terminals wrap anew what is too wide for
them, so it takes more rows than were drawn. Which ones don't is read from the environment,
because asking a terminal leaks its answer into the next shell. Must not know what is drawn.
"""

from __future__ import annotations

import os
import signal
import termios
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from prompt_toolkit.application import Application, run_in_terminal
from prompt_toolkit.data_structures import Point
from prompt_toolkit.layout.screen import Screen
from prompt_toolkit.output.vt100 import Vt100_Output
from prompt_toolkit.utils import get_cwidth

Pictures: TypeAlias = deque[tuple[float, tuple[Screen, Point] | None]]
"""When it was drawn, what, with the cursor where; None: something was printed."""
Modes: TypeAlias = list[Any]
"""What termios.tcgetattr gives."""
TELLS_AFTER_S = 0.05
TMUX_TELLS_AFTER_S = 0.3
"""tmux wraps at once and tells the program a quarter of a second later."""


class Output(Vt100_Output):
    """Holds what is written until the next drawing; survives the terminal's end."""

    held = False
    gone: Callable[[], None] | None = None

    def erase_down(self) -> None:
        """From the beginning of a line: tmux moves to its history what is erased from the very
        first cell of a screen, so it begins one cell later; then the line, else it is full."""
        self.write_raw(" \x1b[J\r\x1b[K")

    def flush(self) -> None:
        """Write, unless it is held."""
        if self.held:
            return
        try:
            super().flush()
        except OSError:
            _silence(self.fileno())
            if self.gone is not None:
                self.gone()


class App(Application[None]):
    """Knows how wide it was drawn, and where its first row is now.

    Between the moment a terminal wraps its lines and the moment it says so, more may have been
    drawn, or printed. Then nobody knows which picture was wrapped: the one that took the fewest
    rows counts, and none once something was printed. So a row of the live part may be left
    behind, but what was printed is never erased.
    """

    wraps = True
    tells_after_s = TELLS_AFTER_S
    remembers_width = False
    """A row counts as wide as it ever was until it is erased whole, as in tmux."""
    _columns = 0
    modes: Modes | None = None
    """The terminal's, as they were before it was ours."""

    def erase(self, *, prints: bool) -> None:
        """Erase the live part; prints: something will be printed in its place."""
        self._settle()
        if prints:
            self._pictures().append((time.monotonic(), None))
        self.renderer.erase()

    def suspend_to_background(self, suspend_group: bool = True) -> None:
        """Stop, with all of the terminal's modes as they were before it was ours; the base class
        gives back only those that a line is edited with."""

        def stop() -> None:
            self.let_go()
            ours = self.switch_modes(self.modes)
            os.kill(0, signal.SIGTSTP)
            self.switch_modes(ours)

        run_in_terminal(stop)

    def let_go(self) -> None:
        """Write what is held, before the terminal is another program's."""
        if isinstance(self.output, Output):
            self.output.held = False
        self.output.flush()

    def switch_modes(self, wanted: Modes | None) -> Modes | None:
        """Set them; those that were set until now. None: the terminal is gone."""
        try:
            now = termios.tcgetattr(self.input.fileno())
            if wanted is not None:
                termios.tcsetattr(self.input.fileno(), termios.TCSADRAIN, wanted)
        except (termios.error, OSError):
            return None
        return now

    def _redraw(self, render_as_done: bool = False) -> None:
        self._settle()
        super()._redraw(render_as_done)
        drawn = self.renderer.last_rendered_screen
        if drawn is not None:
            self._pictures().append((time.monotonic(), (drawn, self.renderer._cursor_pos)))

    def _on_resize(self) -> None:
        if self._running_in_terminal:
            return  # the screen is another program's
        self._settle()
        super()._on_resize()

    def _pictures(self) -> Pictures:
        """Those of the last moments, and one from before."""
        if not hasattr(self, "_kept"):
            self._kept: Pictures = deque()
        oldest = time.monotonic() - self.tells_after_s
        while len(self._kept) > 1 and self._kept[1][0] < oldest:
            self._kept.popleft()
        return self._kept

    def _settle(self) -> None:
        """After a change of the width: the cursor is where the terminal put it."""
        columns, renderer = self.output.get_size().columns, self.renderer
        narrower = self.wraps and 0 < columns < self._columns
        self._columns = columns
        if not narrower or renderer.last_rendered_screen is None:
            return
        more = [
            0 if picture is None else wrapped(*picture, columns).y - picture[1].y
            for _, picture in self._pictures()
        ]
        x, y = renderer._cursor_pos.x, renderer._cursor_pos.y
        renderer._cursor_pos = Point(x=x % columns, y=y + min(more, default=0))


def wrapped(screen: Screen, cursor: Point, columns: int) -> Point:
    """Where the cursor is, seen from the first row, when rows are wrapped to `columns`."""
    above = sum(_rows(screen, row, columns) for row in range(cursor.y))
    return Point(x=cursor.x % columns, y=above + cursor.x // columns)


def _rows(screen: Screen, row: int, columns: int) -> int:
    """How many rows a drawn row takes; a wide character is never cut in two."""
    cells = screen.data_buffer[row]
    used = [column for column, cell in cells.items() if cell.char.strip()]
    rows, at = 1, 0
    for column in range(max(used, default=-1) + 1):
        width = get_cwidth(cells[column].char)
        if at + width > columns:
            rows, at = rows + 1, 0
        at += width
    return rows


def rewraps(environment: Mapping[str, str]) -> bool:
    """Whether the terminal wraps its lines anew when it gets narrower."""
    if "TMUX" in environment:
        return True
    old = "XTERM_VERSION" in environment or "STY" in environment
    return not old and environment.get("TERM", "") not in ("linux", "vt100", "vt220", "rxvt")


def _silence(descriptor: int) -> None:
    """Point a dead terminal elsewhere, so that no later flush fails on it."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, descriptor)
    os.close(null)
