"""Whether the files of some folders are as they were: the scan's inner loop.

inode and time of the last change of each: nobody can set the latter, and the inode tells apart what
was moved here within one tick of the clock. On Linux the kernel writes the states of a thousand
files side by side and they are compared in one go, which spares Python's own result for each;
elsewhere os.stat does it. Imports nothing of glmcode, for it also runs as a script (helper.py).
Must not decide what a difference means.
"""

from __future__ import annotations

import ctypes
import os
import sys
from array import array
from collections.abc import Callable, Sequence
from itertools import repeat

OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
ROOM = 2048
"""Files that are compared at once; of more in one folder, so many at a time."""
_NOT_FOLLOWED = 0x100 | 0x800
"""AT_SYMLINK_NOFOLLOW, AT_NO_AUTOMOUNT"""
_WHAT = 0x7FF
"""STATX_BASIC_STATS: what stat asks for, so that network file systems answer as they do there."""
_SIZE = 256
_WORDS = _SIZE // 8
_INODE, _SECONDS, _FRACTION = 4, 12, 13
"""Where they stand in a struct statx, in words of 8 bytes; behind the fraction stands a zero."""
_SECOND_NS = 10**9


class Share:
    """Some folders, and what is expected of names in them: "." first, which is the folder itself.

    paths: relative to the workspace. names: those of each. All as bytes.
    """

    __slots__ = ("fractions", "inodes", "names", "paths", "seconds")

    def __init__(
        self,
        paths: Sequence[bytes],
        names: Sequence[Sequence[bytes]],
        marks: Sequence[tuple[int, int]] = (),
    ) -> None:
        """marks: inode and ctime_ns for every name of every folder."""
        self.paths = paths
        self.names = names
        self.inodes = array("Q", [inode for inode, _ in marks])
        self.seconds = array("q", [change // _SECOND_NS for _, change in marks])
        self.fractions = array("q", [change % _SECOND_NS for _, change in marks])

    @classmethod
    def of(
        cls, paths: Sequence[bytes], names: Sequence[Sequence[bytes]], expected: Sequence[bytes]
    ) -> Share:
        """One whose expectations are the bytes of another's inodes, seconds and fractions."""
        share = cls(paths, names)
        parts = (share.inodes, share.seconds, share.fractions)
        for part, data in zip(parts, expected, strict=True):
            part.frombytes(data)
        return share


class Asker:
    """Asks about one share after the other; used by one thread at a time."""

    def __init__(self, *, native: bool = True) -> None:
        """native: False for os.stat, as where there is nothing faster."""
        self._statx = _statx() if native else None
        if self._statx is None:
            return
        self._room = ctypes.create_string_buffer(_SIZE * ROOM)
        start = ctypes.addressof(self._room)
        self._places = [ctypes.c_void_p(start + _SIZE * at) for at in range(ROOM)]
        words = memoryview(self._room).cast("B")
        self._inodes = words.cast("Q")[_INODE::_WORDS]
        self._seconds = words.cast("q")[_SECONDS::_WORDS]
        self._fractions = words.cast("q")[_FRACTION::_WORDS]

    def differing(self, root: int, share: Share) -> set[int]:
        """Positions of folders that are not as expected. root: an open workspace."""
        ask = self._by_stat if self._statx is None else self._by_statx
        dirty: set[int] = set()
        batch: list[tuple[int, int, int]] = []
        start = end = 0
        for position, (path, names) in enumerate(zip(share.paths, share.names, strict=True)):
            try:
                folder = os.open(path or b".", OPEN, dir_fd=root)
            except OSError:
                dirty.add(position)
                end += len(names)
                continue
            try:
                for first in range(0, len(names), ROOM):
                    some = names[first : first + ROOM] if len(names) > ROOM else names
                    if end + len(some) - start > ROOM:
                        self._compare(share, start, batch, dirty)
                        start = end
                    if ask(folder, some, share, start, end):
                        batch.append((position, end, end + len(some)))
                    else:
                        dirty.add(position)
                    end += len(some)
            finally:
                os.close(folder)
        self._compare(share, start, batch, dirty)
        return dirty

    def _by_statx(
        self, folder: int, names: Sequence[bytes], share: Share, start: int, at: int
    ) -> bool:
        """Fetch the states of names; whether all could be had."""
        assert self._statx is not None
        places = self._places[at - start : at - start + len(names)]
        asked = map(
            self._statx,
            repeat(folder), names, repeat(_NOT_FOLLOWED), repeat(_WHAT), places,
        )  # fmt: skip
        return not any(asked)

    def _by_stat(
        self, folder: int, names: Sequence[bytes], share: Share, start: int, at: int
    ) -> bool:
        """Ask and compare at once."""
        inodes, seconds, fractions = share.inodes, share.seconds, share.fractions
        try:
            for here, name in enumerate(names, at):
                status = os.stat(name, dir_fd=folder, follow_symlinks=False)
                expected = seconds[here] * _SECOND_NS + fractions[here]
                if status.st_ctime_ns != expected or status.st_ino != inodes[here]:
                    return False
        except OSError:
            return False
        return True

    def _compare(
        self, share: Share, start: int, batch: list[tuple[int, int, int]], dirty: set[int]
    ) -> None:
        """Compare what was fetched: all of it, and where that differs, folder by folder."""
        if self._statx is None or not batch:
            return
        if not self._same(share, start, batch[0][1], batch[-1][2]):
            for position, first, end in batch:
                if not self._same(share, start, first, end):
                    dirty.add(position)
        batch.clear()

    def _same(self, share: Share, start: int, first: int, end: int) -> bool:
        here = slice(first - start, end - start)
        return (
            self._fractions[here] == memoryview(share.fractions)[first:end]
            and self._seconds[here] == memoryview(share.seconds)[first:end]
            and self._inodes[here] == memoryview(share.inodes)[first:end]
        )


def _statx() -> Callable[..., int] | None:
    """The system's own, where it does what we know of it."""
    if sys.platform != "linux" or sys.byteorder != "little":
        return None
    try:
        found: Callable[..., int] = ctypes.CDLL(None).statx
    except (AttributeError, OSError):
        return None
    place = ctypes.create_string_buffer(_SIZE)
    if found(_CWD, b"/", _NOT_FOLLOWED, _WHAT, place) != 0:
        return None  # an old kernel, or a filter of system calls
    words = memoryview(place).cast("B").cast("Q")
    status = os.stat("/")  # noqa: PTH116
    change = words[_SECONDS] * _SECOND_NS + words[_FRACTION]
    return found if (words[_INODE], change) == (status.st_ino, status.st_ctime_ns) else None


_CWD = -100
