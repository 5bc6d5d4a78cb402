"""Reading a file whole, safely, and saying in plain words why that is not possible.

A path is looked at before it is opened (opening a FIFO waits for ever) and only regular files
are touched. What a file holds is known by its sha256, never by its time of change. Every fault
is a clause for a person or a model ("src/a.py" + " is a directory"). Changing files is
replace.py. This module must not know sessions, permissions or tools.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

MAX_BYTES = 32 * 1024 * 1024
"""Larger files are neither loaded whole nor edited."""


class FileFault(Exception):
    """A file cannot be read or written; the text is a clause without the file's name."""


class FileMissing(FileFault):
    """There is no such file."""


class FileTooLarge(FileFault):
    """The file has more bytes than may be loaded; `size` says how many."""

    def __init__(self, size: int, most: int = MAX_BYTES) -> None:
        super().__init__(f"is too large ({size:,} bytes; at most {most:,})")
        self.size = size


class FileChanged(FileFault):
    """The file is not what the caller expected to find; nothing was written."""


class Stopped(Exception):
    """The caller asked to stop, and nothing was changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A regular file as it was at one moment: its bytes and what the system says of it."""

    data: bytes
    digest: str
    status: os.stat_result


def digest_of(data: bytes) -> str:
    """The sha256 of bytes, in hex: how glmcode knows whether a file is still the same."""
    return hashlib.sha256(data).hexdigest()


def open_regular(path: Path) -> tuple[int, os.stat_result]:
    """A descriptor for reading a regular file. Raises FileFault; never waits for a writer."""
    try:
        _refuse_special(path.stat())
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise fault(error) from error
    status = os.fstat(fd)
    try:
        _refuse_special(status)
    except FileFault:
        os.close(fd)
        raise
    return fd, status


def load(path: Path, limit: int = MAX_BYTES) -> Snapshot:
    """A regular file's bytes, at most `limit`. Raises FileFault (FileMissing, FileTooLarge)."""
    fd, status = open_regular(path)
    try:
        if status.st_size > limit:
            raise FileTooLarge(status.st_size, limit)
        pieces, total = [], 0
        while piece := os.read(fd, min(max(status.st_size - total, 0) + 65_536, 1 << 20)):
            pieces.append(piece)
            total += len(piece)
            if total > limit:
                raise FileTooLarge(total, limit)
    except OSError as error:
        raise fault(error) from error
    finally:
        os.close(fd)
    data = b"".join(pieces)
    return Snapshot(data=data, digest=digest_of(data), status=status)


def expect(path: Path, digest: str) -> Snapshot:
    """The file, if it holds what it is expected to hold. Raises FileChanged, FileFault."""
    try:
        now = load(path)
    except FileMissing as error:
        raise FileChanged("was deleted meanwhile") from error
    except FileTooLarge as error:
        raise FileChanged("changed meanwhile") from error
    if now.digest != digest:
        raise FileChanged("changed meanwhile")
    return now


def write_all(fd: int, data: bytes) -> None:
    """Write all bytes to a descriptor. Raises OSError."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def kind_of(mode: int) -> str:
    """A word for what stands at a path: "a directory", "a FIFO (named pipe)", ..."""
    kinds = (
        (stat.S_ISREG, "a file"),
        (stat.S_ISDIR, "a directory"),
        (stat.S_ISFIFO, "a FIFO (named pipe)"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISCHR, "a character device"),
        (stat.S_ISBLK, "a block device"),
    )
    return next((name for test, name in kinds if test(mode)), "not a regular file")


def _refuse_special(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise FileFault(f"is {kind_of(status.st_mode)}")


_SENTENCES = {
    errno.EACCES: "may not be accessed: permission denied",
    errno.EPERM: "may not be changed: the system does not permit it (is it immutable?)",
    errno.EROFS: "lies on a read-only file system",
    errno.ENOSPC: "was not written: no space is left on the device",
    errno.EDQUOT: "was not written: the disk quota is used up",
    errno.EFBIG: "was not written: it would be larger than a file may be",
    errno.EIO: "gave an input/output error",
    errno.ELOOP: "cannot be reached: its symbolic links lead round in a circle",
    errno.ENAMETOOLONG: "has a name that is too long for the file system",
    errno.EISDIR: "is a directory",
    errno.ETXTBSY: "is a program that is running",
    errno.EAGAIN: "has nothing to read now",
    errno.EMFILE: "was not opened: this process has too many open files",
}


def fault(error: OSError | ValueError | UnicodeError) -> FileFault:
    """A system's error as a FileFault with a plain clause."""
    if not isinstance(error, OSError):
        return FileFault("has a name that no file can have (a NUL or a broken character)")
    if error.errno == errno.ENOENT:
        return FileMissing("does not exist")
    if error.errno == errno.ENOTDIR:
        return FileMissing("cannot exist: a part of its path is a file, not a folder")
    known = _SENTENCES.get(error.errno or 0)
    return FileFault(known or f"gave an error: {error.strerror or error}")
