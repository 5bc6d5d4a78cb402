"""One glmcode at a time commits in a folder: an flock on the folder itself.

The folder is locked rather than the file, because a file that is replaced by a rename takes
its lock away with it, and rather than a lock file, because two processes may not share a state
folder and nothing may be left lying beside the user's files. The lock dies with its process.
Waiting is bounded. Where a file system knows no locks the caller goes on without one and relies
on its comparison of contents.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

WAIT_S = 10.0
_NO_LOCKS = (errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL, errno.EBADF, errno.ENOSYS)


class LockBusy(Exception):
    """Another process has held the lock for the whole time that was waited."""


@contextmanager
def folder_lock(folder: Path, wait_s: float = WAIT_S) -> Iterator[bool]:
    """Hold the folder's lock; yields False where there can be none. Raises LockBusy."""
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        yield False
        return
    try:
        yield _take(fd, folder, wait_s)
    finally:
        os.close(fd)


def _take(fd: int, folder: Path, wait_s: float) -> bool:
    deadline = time.monotonic() + wait_s
    pause = 0.001
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except OSError as error:
            if error.errno in _NO_LOCKS:
                return False
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES, errno.EINTR):
                raise LockBusy(f"{folder} cannot be locked: {error.strerror}") from error
        if time.monotonic() >= deadline:
            raise LockBusy(f"another process has been writing in {folder} for {wait_s:g} s")
        time.sleep(pause)
        pause = min(pause * 2, 0.05)
