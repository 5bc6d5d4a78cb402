"""What stands at a path now, and its bytes: read so that nothing waits and nothing is half.

A path is opened without following a link and without waiting (FIFO), and a file that changes while
it is read is read again. What can't be kept is told by an entry that says why. Must not write.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass

from glmcode.base.files import kind_of
from glmcode.checkpoints.entries import Entry, unkept
from glmcode.checkpoints.stats import Row, row_of

MAX_FILE_BYTES = 10 * 1000 * 1000
TOO_LARGE = "larger than 10 MB"
UNSTABLE = "changed while it was read"
UNREADABLE = "may not be read"
LATE = "not read within the time of a checkpoint"
FULL = "the checkpoints of this workspace take up all the room that they may"

_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Found:
    """An entry, the state that it was read in, and whether that is final."""

    entry: Entry
    row: Row
    settled: bool = True


def read_entry(
    name: str, folder: int | None, put: Callable[[bytes], bytes], *, refused: str = ""
) -> Found | None:
    """What stands at a name in an open folder (None: at a path); None when nothing does.

    put keeps a file's bytes and gives their sha256. refused: why files are not read. Folders
    come as "d" without their listing. Raises what put raises; OSError only where the path can't
    be asked.
    """
    for _ in range(2):
        try:
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
            found = _read(name, folder, status, put, refused)
        except (FileNotFoundError, NotADirectoryError):
            return None
        if found is not None:
            return found
    return Found(_unkept(UNSTABLE, status), row_of(status), settled=False)


def _read(
    name: str,
    folder: int | None,
    status: os.stat_result,
    put: Callable[[bytes], bytes],
    refused: str,
) -> Found | None:
    """None: it changed meanwhile."""
    mode, row = status.st_mode, row_of(status)
    if stat.S_ISDIR(mode):
        return Found(Entry("d", stat.S_IMODE(mode), b""), row)
    if stat.S_ISLNK(mode):
        target = os.fsencode(os.readlink(name, dir_fd=folder))
        return Found(Entry("l", 0, target), row)
    if not stat.S_ISREG(mode):
        return Found(unkept(kind_of(mode), stat.S_IMODE(mode), 0, 0), row)
    if status.st_size > MAX_FILE_BYTES:
        return Found(_unkept(TOO_LARGE, status), row)
    if refused:
        return Found(_unkept(refused, status), row, settled=refused != LATE)
    try:
        descriptor = os.open(name, _FLAGS, dir_fd=folder)
    except FileNotFoundError:
        raise
    except OSError:
        return Found(_unkept(UNREADABLE, status), row)
    try:
        data = _bytes(descriptor, status.st_size)
        after = os.fstat(descriptor)
    except OSError:
        return Found(_unkept(UNREADABLE, status), row)
    finally:
        os.close(descriptor)
    if row_of(after) != row or len(data) != status.st_size:
        return None
    return Found(Entry("f", stat.S_IMODE(mode), put(data)), row)


def _bytes(descriptor: int, size: int) -> bytes:
    pieces: list[bytes] = []
    left = size + 1
    while left > 0 and (piece := os.read(descriptor, left)):
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)


def _unkept(why: str, status: os.stat_result) -> Entry:
    return unkept(why, stat.S_IMODE(status.st_mode), status.st_size, status.st_mtime_ns)
