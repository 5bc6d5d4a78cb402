"""pyte's terminal with the face of PtyScreen: an emulator that was not written for these tests."""

from __future__ import annotations

import pyte

from tests.repl.pty_screen import Committed

HISTORY = 100_000


class _Screen(pyte.HistoryScreen):
    """Tells who listens when the part below the cursor is erased."""

    def __init__(self, columns: int, rows: int) -> None:
        self.committed = Committed()
        super().__init__(columns, rows, history=HISTORY)

    def erase_in_display(self, how: int = 0, *args: object, **options: object) -> None:
        if how == 0:
            above = [_text(self.buffer[row], self.columns) for row in range(self.cursor.y)]
            gone = [_text(line, self.columns) for line in self.history.top]
            self.committed.now([*gone, *above])
        elif how == 2:
            self.committed.forget()  # Ctrl-L: a person wanted it gone
        super().erase_in_display(how, *args, **options)

    def make_room(self, rows: int) -> None:
        """As terminals do it where pyte drops rows: those above go to the history, with the
        cursor where it was in the text."""
        above = max(0, self.cursor.y - rows + 1)
        for row in range(above):
            self.history.top.append(self.buffer[row])
        kept = {row - above: line for row, line in self.buffer.items() if row >= above}
        self.buffer.clear()
        self.buffer.update({row: line for row, line in kept.items() if row < rows})
        self.cursor.y -= above
        self.lines = min(self.lines, rows)


class PyteScreen:
    """What a person would see, and what scrolled away above it."""

    def __init__(self, columns: int, rows: int) -> None:
        self._screen = _Screen(columns, rows)
        self._stream = pyte.Stream(self._screen)
        self.foreign: list[str] = []

    @property
    def committed(self) -> Committed:
        return self._screen.committed

    @property
    def modes(self) -> dict[str, bool]:
        on = self._screen.mode
        return {"25": not self._screen.cursor.hidden, "2004": 2004 << 5 in on}

    def feed(self, data: str) -> None:
        self._stream.feed(data)

    def resize(self, columns: int, rows: int) -> None:
        self.committed.forget()
        self._screen.make_room(rows)
        self._screen.resize(rows, columns)

    @property
    def visible(self) -> str:
        rows = range(self._screen.lines)
        shown = (_text(self._screen.buffer[row], self._screen.columns) for row in rows)
        return "\n".join(shown).rstrip("\n")

    @property
    def text(self) -> str:
        gone = [_text(line, self._screen.columns) for line in self._screen.history.top]
        return "\n".join([*gone, self.visible]).rstrip()


def _text(line: dict[int, pyte.screens.Char], columns: int) -> str:
    return "".join(line[column].data for column in range(columns)).rstrip()
