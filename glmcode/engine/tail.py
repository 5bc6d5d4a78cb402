"""The engine's log file: read while it grows, kept small, its last lines at hand.

vLLM writes to the file by itself, so that its last words are there even when the
supervisor was killed first. Must not interpret a line.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from pathlib import Path

KEPT_LINES = 1000
SIZE_LIMIT = 32 << 20
LOOK_S = 0.5
LINE_LIMIT = 2000
"""Characters of a line that are kept: what prints megabytes without an end of line is no text."""
_READ_LIMIT = 1 << 20
_PART_LIMIT = 4 * LINE_LIMIT


class Tail:
    """Follows one log from its first byte. `last` holds the last lines that were read, `fresh`
    those of them that came after the last `mark`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._part = b""
        self.last: deque[str] = deque(maxlen=KEPT_LINES)
        self.fresh: deque[str] = deque(maxlen=KEPT_LINES)

    def read(self) -> list[str]:
        """The whole lines since the last call; progress bars end lines with \\r."""
        try:
            with self._path.open("rb") as file:
                size = file.seek(0, 2)
                begin = self._offset if self._offset <= size else 0
                # Of a log that grew by megabytes only the end matters.
                begin = max(begin, size - _READ_LIMIT)
                file.seek(begin)
                data = file.read(_READ_LIMIT)
        except OSError:
            return []
        if begin != self._offset:
            self._part = b""
        self._offset = begin + len(data)
        *lines, part = (self._part + data).replace(b"\r", b"\n").split(b"\n")
        self._part = part[:_PART_LIMIT]
        whole = [line[:_PART_LIMIT].decode("utf-8", "replace").rstrip() for line in lines]
        whole = [line[:LINE_LIMIT] for line in whole]
        self.last.extend(whole)
        self.fresh.extend(whole)
        return whole

    def mark(self) -> None:
        """What was read so far is no news any more."""
        self.fresh.clear()


def rotate(path: Path) -> None:
    """Begin a new log; the one before is kept beside it."""
    with contextlib.suppress(OSError):
        path.replace(path.with_name(path.name + ".1"))


def bound(path: Path) -> int:
    """Empty a log that has grown too large, its end kept beside it; returns its size before.

    The engine appends to the same open file, so it is cut and not replaced.
    """
    size = 0
    with contextlib.suppress(OSError):
        size = path.stat().st_size
        if size <= SIZE_LIMIT:
            return size
        with path.open("rb+") as file:
            file.seek(-_READ_LIMIT, 2)
            path.with_name(path.name + ".1").write_bytes(file.read(_READ_LIMIT))
            file.truncate(0)
    return size


async def keep_small(path: Path) -> None:
    """Bound a log for ever; looks more often while it grows fast. Never returns."""
    before, tick_s = 0, LOOK_S
    while True:
        await asyncio.sleep(tick_s)
        size = bound(path)
        tick_s = LOOK_S / 16 if size - before > SIZE_LIMIT / 16 else LOOK_S
        before = size if size <= SIZE_LIMIT else 0
