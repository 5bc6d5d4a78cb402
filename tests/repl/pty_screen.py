"""A small terminal for tests: what a person would see, and what scrolled away above it.

It knows the few sequences that the REPL may use; every other escape, and every control
character that is not a line's end, is kept in `foreign`, so that a test can prove that text
from files and models cannot reach the terminal as a command.
"""

from __future__ import annotations

import re

from prompt_toolkit.utils import get_cwidth

_TOKEN = re.compile(
    r"\x1b\](?P<osc>[^\x07\x1b]*)(?:\x07|\x1b\\)"
    r"|\x1b\[(?P<private>\??)(?P<numbers>[0-9;]*)(?P<final>[A-Za-z])"
    r"|(?P<control>[\x00-\x1f\x7f-\x9f])"
    r"|(?P<text>[^\x00-\x1f\x7f-\x9f]+)"
)
MODES = {"1", "7", "12", "25", "2004"}


class Committed:
    """What stands above the live part, each time that this is erased: it may only grow.

    The live part is erased whole, from its first line, before anything is printed; so what is
    above the cursor then is all that was printed for good.
    """

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.changed = ""

    def now(self, lines: list[str]) -> None:
        """The lines above the cursor at an erasing."""
        before = self.lines
        if lines[: len(before)] != before and not self.changed:
            at = next(
                (i for i, (a, b) in enumerate(zip(before, lines, strict=False)) if a != b), -1
            )
            self.changed = f"line {at} was {before[at : at + 3]!r}, is {lines[at : at + 3]!r}"
        self.lines = lines

    def forget(self) -> None:
        """The terminal was resized: it may have cut or wrapped what it holds."""
        self.lines = []


class PtyScreen:
    """Columns by rows of cells with a cursor; lines that leave at the top are kept."""

    def __init__(self, columns: int, rows: int) -> None:
        self.columns, self.rows = columns, rows
        self.x = self.y = 0
        self.grid = [self._blank() for _ in range(rows)]
        self.scrollback: list[str] = []
        self.foreign: list[str] = []
        self.styled: set[str] = set()
        self.modes: dict[str, bool] = {}
        self.titles: list[str] = []
        self.kept_titles: list[str] = [""]
        self.notified: list[str] = []
        self.links: list[str] = []
        self.committed = Committed()
        self._held = ""
        self._pending_wrap = False

    def feed(self, data: str) -> None:
        """Take what the program wrote; an unfinished sequence waits for its rest."""
        data = self._held + data
        cut = re.search(r"\x1b(\[[?0-9;]*|\][^\x07\x1b]*\x1b?)?$", data)
        self._held = data[cut.start() :] if cut else ""
        for token in _TOKEN.finditer(data[: cut.start()] if cut else data):
            if token["osc"] is not None:
                self._command(token["osc"])
            elif token["final"]:
                self._sequence(token["private"], token["numbers"], token["final"])
            elif token["control"]:
                self._control(token["control"])
            else:
                for char in token["text"]:
                    self._put(char)

    def resize(self, columns: int, rows: int) -> None:
        """As a terminal without reflow does it: lines are cut or padded at the right."""
        self.committed.forget()
        while len(self.grid) > rows:
            if self.y < rows and not "".join(self.grid[-1]).strip():
                self.grid.pop()
            else:
                self.scrollback.append(self._text(self.grid.pop(0)))
                self.y -= 1
        self.columns, self.rows = columns, rows
        self.grid = [(line + [" "] * columns)[:columns] for line in self.grid]
        self.grid += [self._blank() for _ in range(rows - len(self.grid))]
        self.x = min(self.x, columns - 1)

    @property
    def visible(self) -> str:
        """The rows that are on the screen."""
        return "\n".join(self._text(line) for line in self.grid).rstrip("\n")

    @property
    def text(self) -> str:
        """Everything: what scrolled away and what is on the screen."""
        return "\n".join([*self.scrollback, *(self._text(line) for line in self.grid)]).rstrip()

    def _command(self, text: str) -> None:
        kind, _, rest = text.partition(";")
        if kind == "2":
            self.titles.append(rest)
        elif kind == "8":
            self.links.append(rest.partition(";")[2])
        elif kind in ("9", "777"):
            self.notified.append(text)
        else:
            self.foreign.append(f"]{text}")

    def _sequence(self, private: str, numbers: str, final: str) -> None:
        count = int(numbers.split(";")[0] or 0)
        self._pending_wrap = self._pending_wrap and final == "m"
        match private, final:
            case "?", "h" | "l" if numbers in MODES:
                self.modes[numbers] = final == "h"
            case "", "m":
                self.styled.add(numbers)
            case "", "A":
                self.y = max(0, self.y - max(1, count))
            case "", "B":
                self.y = min(self.rows - 1, self.y + max(1, count))
            case "", "C":
                self.x = min(self.columns - 1, self.x + max(1, count))
            case "", "D":
                self.x = max(0, self.x - max(1, count))
            case "", "t" if numbers == "22;2":
                self.kept_titles.append(self.titles[-1] if self.titles else "")
            case "", "t" if numbers == "23;2":
                self.titles.append(self.kept_titles.pop())
            case "", "H" if not numbers:
                self.x = self.y = 0
            case "", "J" if count in (0, 2):
                if count == 0:
                    above = [self._text(line) for line in self.grid[: self.y]]
                    self.committed.now([*self.scrollback, *above])
                self._erase_down(self.x if count == 0 else 0, self.y if count == 0 else 0)
            case "", "K" if count == 0:
                self.grid[self.y][self.x :] = [" "] * (self.columns - self.x)
            case _:
                self.foreign.append(f"{private}{numbers}{final}")

    def _erase_down(self, x: int, y: int) -> None:
        self.grid[y][x:] = [" "] * (self.columns - x)
        for row in range(y + 1, self.rows):
            self.grid[row] = self._blank()

    def _control(self, char: str) -> None:
        self._pending_wrap = False
        match char:
            case "\r":
                self.x = 0
            case "\n":
                self._line_feed()
            case "\b":
                self.x = max(0, self.x - 1)
            case "\a":
                self.notified.append("bell")
            case _:
                self.foreign.append(char)

    def _line_feed(self) -> None:
        if self.y < self.rows - 1:
            self.y += 1
            return
        self.scrollback.append(self._text(self.grid.pop(0)))
        self.grid.append(self._blank())

    def _put(self, char: str) -> None:
        width = get_cwidth(char)
        if width <= 0:
            return
        if self._pending_wrap or self.x + width > self.columns:
            if self.modes.get("7", True):
                self.x = 0
                self._line_feed()
            else:
                self.x = self.columns - width
        self._pending_wrap = False
        self.grid[self.y][self.x : self.x + width] = [char] + [""] * (width - 1)
        self.x += width
        if self.x >= self.columns:
            self.x = self.columns - 1
            self._pending_wrap = True

    def _blank(self) -> list[str]:
        return [" "] * self.columns

    @staticmethod
    def _text(line: list[str]) -> str:
        return "".join(line).rstrip()
