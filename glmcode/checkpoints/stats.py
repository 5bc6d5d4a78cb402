"""The state of a file by which a change is noticed without reading it: the scan's inner loop.

inode, size and the times of content and status; nobody can set the last. Times of access are left
out. Plain os.stat on names in an open folder is as fast as anything that Python can call (measured
against statx and fstatat through ctypes: the system call dominates). Must not decide what a
difference means.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import TypeAlias

Row: TypeAlias = tuple[int, int, int, int]
"""inode, size, mtime_ns, ctime_ns"""

NOTHING: Row = (0, 0, 0, 0)
"""What is expected of a file that must be looked at again: no file is like that."""

row_of: Callable[[os.stat_result], Row] = attrgetter(
    "st_ino", "st_size", "st_mtime_ns", "st_ctime_ns"
)


Mark: TypeAlias = tuple[int, int]
"""inode, ctime_ns: enough for the question whether anything changed. Nobody can set the time of
the last change; the inode tells apart what was moved here within one tick of the clock."""

_mark_of: Callable[[os.stat_result], Mark] = attrgetter("st_ino", "st_ctime_ns")


def mark_of(row: Row) -> Mark:
    """The mark in a state."""
    return (row[0], row[3])


def marks_of(descriptor: int, names: Sequence[str]) -> list[Mark]:
    """The marks of names in an open folder, links not followed. Raises OSError."""
    ask, mark = os.stat, _mark_of
    return [mark(ask(name, dir_fd=descriptor, follow_symlinks=False)) for name in names]
