"""Lines of a session file: what one looks like, how it is written and read back.

A line is {"v":1,"t":KIND,"at":seconds,...}, UTF-8, ended by a newline. A last line without
its newline was torn by a crash before anyone was shown what it says, and does not count.
Damage anywhere else is said, with the line's number, and nothing is repaired by guessing.
Must not know what the kinds mean.
"""

from __future__ import annotations

import json
import stat
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

VERSION = 1


class SessionError(Exception):
    """A stored session cannot be opened or read; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line that was read: its number from 1, its entry, and the offset after it in bytes."""

    number: int
    entry: dict[str, Any]
    end: int


def encode_line(kind: str, fields: Mapping[str, Any]) -> bytes:
    """One JSON line in UTF-8; lone surrogates are escaped, so that the file stays valid."""
    entry = {"v": VERSION, "t": kind, "at": round(time.time(), 3), **fields}
    try:
        return (json.dumps(entry, ensure_ascii=False, separators=(",", ":")) + "\n").encode()
    except UnicodeEncodeError:
        return (json.dumps(entry, separators=(",", ":")) + "\n").encode()


def read_lines(path: Path) -> Iterator[Line]:
    """The whole lines of a session file, one in memory at a time; a torn last line is dropped.

    Raises SessionError for an unreadable file, damage in the middle, or a newer version.
    """
    end = 0
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a FIFO would be waited for, a device never ends
            raise SessionError(f"the session {path} is no regular file: it cannot be read")
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    return
                end += len(line)
                yield Line(number, _entry(path, number, line), end)
    except OSError as error:
        raise SessionError(f"the session {path} cannot be read: {error.strerror}") from error


def read_entries(path: Path) -> Iterator[dict[str, Any]]:
    """The entries of a session file. Raises SessionError, as read_lines does."""
    return (line.entry for line in read_lines(path))


def _entry(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        entry: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise damaged(path, number, str(error)) from error
    if not isinstance(entry, dict) or not isinstance(entry.get("v"), int):
        raise damaged(path, number, "no entry of a session")
    if entry["v"] > VERSION:
        raise SessionError(f"{path}: line {number} was written by a newer glmcode: update this one")
    return entry


def damaged(path: Path, number: int, why: str) -> SessionError:
    """The error for a line that cannot be what it should be."""
    return SessionError(
        f"{path}: line {number} is damaged ({why}). Nothing was changed; "
        f"`glmcode sessions show {path.stem}` prints what stands before it"
    )
