"""The engine's log file: read while it grows, kept small, its last lines at hand.

vLLM writes to the file by itself, so that its last words are there even when the
supervisor was killed first. Must not interpret a line.
"""

from __future__ import annotations

import contextlib
from collections import deque
from pathlib import Path

KEPT_LINES = 1000
SIZE_LIMIT = 32 << 20


class Tail:
    """Follows one log from its first byte. `last` holds the last lines that were read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._part = b""
        self.last: deque[str] = deque(maxlen=KEPT_LINES)

    def read(self) -> list[str]:
        """The whole lines since the last call; progress bars end lines with \\r."""
        try:
            with self._path.open("rb") as file:
                if self._offset > file.seek(0, 2):
                    self._offset = 0
                # Of a log that grew by megabytes only the end matters.
                self._offset = max(self._offset, file.tell() - (1 << 20))
                file.seek(self._offset)
                data = file.read()
        except OSError:
            return []
        self._offset += len(data)
        *lines, self._part = (self._part + data).replace(b"\r", b"\n").split(b"\n")
        whole = [line.decode("utf-8", "replace").rstrip() for line in lines]
        self.last.extend(whole)
        return whole


def rotate(path: Path) -> None:
    """Begin a new log; the one before is kept beside it."""
    with contextlib.suppress(OSError):
        path.replace(path.with_name(path.name + ".1"))


def bound(path: Path) -> None:
    """Empty a log that has grown too large, its end kept beside it.

    The engine appends to the same open file, so it is cut and not replaced.
    """
    with contextlib.suppress(OSError):
        if path.stat().st_size <= SIZE_LIMIT:
            return
        with path.open("rb+") as file:
            file.seek(-(1 << 20), 2)
            path.with_name(path.name + ".1").write_bytes(file.read())
            file.truncate(0)
