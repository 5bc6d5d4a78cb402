"""A line that is drawn again and again, on a terminal that can do that; and whether anybody reads.

It is cut to the terminal's width as that is now: a line that wraps can't be taken back. Nothing
is coloured, so NO_COLOR has nothing to say here. Must never raise: the terminal may be gone.
"""

from __future__ import annotations

import os
import select
import sys
import unicodedata
from contextlib import suppress

from glmcode.repl.clean import one_line


def moves(descriptor: int) -> bool:
    """Whether what is drawn there can be taken back."""
    with suppress(OSError):
        return os.isatty(descriptor) and os.environ.get("TERM") not in (None, "", "dumb", "unknown")
    return False


def size(descriptor: int) -> tuple[int, int]:
    """Columns and rows now; 80 and 24 where nobody knows."""
    try:
        found = os.get_terminal_size(descriptor)
    except OSError:
        return 80, 24
    return found.columns or 80, found.lines or 24


def cut(text: str, columns: int) -> str:
    """As much of a text as fits into so many columns, with an ellipsis where that isn't all."""
    used, fits = 0, 0
    for character in text:
        used += _width(character)
        if used > columns:
            return text[:fits] + "…" if columns > 0 else ""
        fits += used < columns  # the ellipsis needs a column, too
    return text


def unread(descriptor: int = 1) -> bool:
    """Whether nobody can read any more what is written there: a pipe without an end, a terminal
    that is gone."""
    poll = select.poll()
    poll.register(descriptor, 0)
    with suppress(OSError):
        return bool(poll.poll(0))
    return False


class MovingLine:
    """On standard error. `moves` tells whether it can be used at all."""

    def __init__(self) -> None:
        self.moves = moves(2)
        self._shown = False

    def show(self, text: str) -> None:
        """Draw it in place of what it was."""
        self._write("\r\x1b[K" + cut(one_line(text, 1_000), size(2)[0] - 1))
        self._shown = True

    def clear(self) -> None:
        """Leave the line empty for what comes next."""
        if self._shown:
            self._shown = False
            self._write("\r\x1b[K")

    def keep(self) -> None:
        """Leave what it says and go to the next line."""
        if self._shown:
            self._shown = False
            self._write("\n")

    def _write(self, text: str) -> None:
        encoding = getattr(sys.stderr, "encoding", None) or "utf-8"
        with suppress(OSError):
            os.write(2, text.encode(encoding, "replace"))


def _width(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
