"""Writing a file in place, where a new file under its name would break something.

Another hard link, a mounted file, an owner or access list that cannot be given to a new file:
there the bytes of the old file itself are overwritten. A crash in the middle can tear the file,
so its old content is copied to a private folder first, and removed when all is well; a write
that fails (a full disk) puts the old bytes back. Must not decide when this is necessary.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

from glmcode.base.files import (
    FileChanged,
    FileFault,
    Snapshot,
    Stopped,
    expect,
    kind_of,
    write_all,
)
from glmcode.base.paths import private_folder


def write_in_place(
    path: Path, data: bytes, old: Snapshot, backups: Path, stopped: Callable[[], bool]
) -> None:
    """Overwrite the file, which must still hold old.data. Raises OSError, FileFault, Stopped."""
    backup = private_folder(backups) / f"{old.digest[:16]}-{path.name[-60:]}"
    backup.write_bytes(old.data)
    fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        mode = os.fstat(fd).st_mode
        if not stat.S_ISREG(mode):
            raise FileChanged(f"has become {kind_of(mode)} meanwhile")
        expect(path, old.digest)
        if stopped():
            raise Stopped
        _overwrite_or_restore(fd, data, old.data, backup)
    finally:
        os.close(fd)
    backup.unlink(missing_ok=True)


def _overwrite_or_restore(fd: int, data: bytes, old: bytes, backup: Path) -> None:
    try:
        _overwrite(fd, data, len(old))
    except OSError as error:
        try:
            _overwrite(fd, old, len(old))
        except OSError as worse:
            what = f"{error.strerror}; its old content is in {backup}"
            raise FileFault(f"was damaged by a write that failed: {what}") from worse
        backup.unlink(missing_ok=True)
        raise


def _overwrite(fd: int, data: bytes, size_before: int) -> None:
    """Grow first (a full disk shows before anything is overwritten), then write, then cut."""
    if len(data) > size_before:
        os.lseek(fd, size_before, os.SEEK_SET)
        write_all(fd, data[size_before:])
    os.lseek(fd, 0, os.SEEK_SET)
    write_all(fd, data[:size_before])
    os.ftruncate(fd, len(data))
    os.fsync(fd)
