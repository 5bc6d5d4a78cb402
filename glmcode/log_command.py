"""`glmcode engine logs [-f]`: the end of an engine's log, and what is added to it.

A start begins a new file and keeps the one before beside it; one that has grown too large is cut
by its supervisor. Both are followed, to the last byte of the old one. Ends when nobody reads.
Must not change the log.
"""

from __future__ import annotations

import codecs
import os
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from glmcode.moving import unread
from glmcode.repl.clean import for_terminal

FOLLOW_S = 0.1
BLOCK = 1 << 20


def print_log(log: Path, lines: int, *, follow: bool) -> None:
    """Print the last lines, and go on for ever if it is followed. Raises OSError."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    with log.open("rb") as file:
        last = b"".join(deque(file, maxlen=max(0, lines)))
        _show(decoder.decode(last))
        if not follow:
            _show(decoder.decode(b"", final=True))
            return
        for data in _added(log, file):
            _show(decoder.decode(data))


def _added(log: Path, file: BinaryIO) -> Iterator[bytes]:
    """What is appended, as it comes."""
    while True:
        while data := file.read(BLOCK):
            yield data
        if unread():
            raise BrokenPipeError
        sys.stdout.flush()
        time.sleep(FOLLOW_S)
        here = os.fstat(file.fileno())
        if here.st_size < file.tell():  # it was cut
            file.seek(0)
        with suppress(FileNotFoundError):
            now = log.stat()
            if (now.st_ino, now.st_dev) != (here.st_ino, here.st_dev):
                fresh = log.open("rb")
                yield file.read()  # the last words of the old one
                file.close()
                file = fresh


def _show(text: str) -> None:
    """Logs may hold anything, and a terminal must not obey it."""
    if text:
        print(for_terminal(text), end="")
