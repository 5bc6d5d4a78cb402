"""The one way in which glmcode changes a file: compare, swap, look again.

`replace_file` holds the folder (pinned.py) and its lock, compares what is there with what the
caller expects, puts the new bytes into a temporary file beside it and exchanges the two names in
one step. What came out of the exchange is compared once more: if another program saved in
between, the exchange is taken back. A kill at any moment leaves the old file or the new one. Hard
links, mounts and foreign owners are written in place, after a backup (in_place.py). Must not
decide whether a change is allowed.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

from glmcode.base.exchange import exchange
from glmcode.base.files import (
    FileChanged,
    FileFault,
    Snapshot,
    Stopped,
    digest_of,
    expect,
    fault,
    load,
    write_all,
)
from glmcode.base.in_place import write_in_place
from glmcode.base.locks import LockBusy, folder_lock
from glmcode.base.pinned import pinned

_NO_TEMPORARY = (errno.EACCES, errno.EPERM, errno.EROFS)
_NO_RENAME = (errno.EBUSY, errno.EXDEV, errno.EPERM, errno.EACCES)
_SYNC = ThreadPoolExecutor(1, "to-disk")
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


class _Once:
    """Work for the first who calls; what it raised is raised for all who come later."""

    def __init__(self, work: Callable[[], object] | None) -> None:
        self.work = work
        self._failure: BaseException | None = None

    def __call__(self) -> None:
        if self._failure is not None:
            raise self._failure
        work, self.work = self.work, None
        if work is not None:
            try:
                work()
            except BaseException as error:
                self._failure = error
                raise


def replace_file(
    path: Path,
    data: bytes,
    *,
    expected: str | None,
    backups: Path,
    stopped: Callable[[], bool] = lambda: False,
    meanwhile: Callable[[], object] | None = None,
) -> str:
    """Make the regular file at a real path hold `data`; returns its sha256 in hex.

    expected: the digest of what is there now, None when there must be nothing. backups: a
    folder for the copy that is made before a file is written in place. stopped is asked once
    more just before the change. meanwhile: what must be done before the change, done while the
    new bytes go to the disk; what it raises ends it (an OSError as FileFault). Raises FileChanged
    (nothing was written), FileFault (the old content still stands), Stopped.
    """
    first = _Once(meanwhile)
    try:
        with folder_lock(path.parent), pinned(path.parent) as folder:
            held = folder / path.name
            old = _found(held, expected)
            if old is None:
                _create(held, data, stopped, first)
            elif old.data == data:
                first()
            elif old.status.st_nlink > 1 or not _swap(held, data, old, stopped, first):
                first()
                write_in_place(held, data, old, backups, stopped)
            return _verified(held, data)
    except LockBusy as error:
        raise FileFault(f"was not written: {error}; try again") from error
    except OSError as error:
        raise fault(error) from error


def unwritable(status: os.stat_result, path: Path) -> str | None:
    """Why a file must not be written, or None. Mode bits count for root as well."""
    if not status.st_mode & stat.S_IWUSR:
        mode = stat.S_IMODE(status.st_mode)
        return f"is read-only (mode {mode:04o}); nothing was changed"
    if not os.access(path, os.W_OK):
        return "may not be written: permission denied"
    return None


def _found(path: Path, expected: str | None) -> Snapshot | None:
    """What stands at the path, if it is what was expected. Raises FileChanged, FileFault."""
    if path.is_symlink():
        raise FileChanged("has become a symbolic link meanwhile")
    if expected is None:
        if os.path.lexists(path):
            raise FileChanged("was created by something else meanwhile")
        return None
    now = expect(path, expected)
    why = unwritable(now.status, path)
    if why is not None:
        raise FileFault(why)
    return now


def _verified(path: Path, data: bytes) -> str:
    """The digest of the file, read back. Raises FileFault when it is not what was written."""
    try:
        digest = load(path).digest
    except FileFault as error:
        raise FileFault(f"was written but cannot be read back: it {error}") from error
    if digest != digest_of(data):
        raise FileFault("was written, but something else changed it at once: read it again")
    return digest


def _write_temporary(path: Path, data: bytes, mode: int, first: _Once) -> Path:
    """The new content beside the file, on disk; leaves nothing when it raises OSError or else.

    Its name is fixed for a file, so that the leftover of a killed process is found again.
    """
    mark = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]
    temporary = path.parent / f".glmcode-{mark}.tmp"
    temporary.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(temporary, flags, mode)
    try:
        write_all(fd, data)
        _to_disk(fd, first)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        os.close(fd)
    return temporary


def _to_disk(fd: int, first: _Once) -> None:
    if first.work is None:
        os.fsync(fd)
        return
    written = _SYNC.submit(os.fsync, fd)
    try:
        first()
    finally:
        error = written.exception()
    if error is not None:
        raise error


def _create(path: Path, data: bytes, stopped: Callable[[], bool], first: _Once) -> None:
    """A new file, complete from the moment it has its name; never over one that appeared."""
    temporary = _write_temporary(path, data, 0o666, first)
    try:
        if stopped():
            raise Stopped
        try:
            path.hardlink_to(temporary)
        except FileExistsError as error:
            raise FileChanged("was created by something else meanwhile") from error
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            temporary.rename(path)
    finally:
        temporary.unlink(missing_ok=True)


def _swap(
    path: Path, data: bytes, old: Snapshot, stopped: Callable[[], bool], first: _Once
) -> bool:
    """Put a new file in the old one's place. False: impossible here, nothing was changed."""
    try:
        temporary = _write_temporary(path, data, 0o600, first)
    except OSError as error:
        if error.errno in _NO_TEMPORARY:
            return False
        raise
    lost = False
    try:
        if not _take_over(temporary, path, old.status):
            return False
        if stopped():
            raise Stopped
        match _exchange_or_rename(temporary, path, old.digest):
            case "impossible":
                return False
            case "exchanged":
                lost = not _is_known(temporary, path, old.digest)
            case "renamed":
                pass
    finally:
        if not lost:
            temporary.unlink(missing_ok=True)
    if lost:
        where = path.parent.resolve() / temporary.name
        what = f"another program saved it meanwhile; what it saved is in {where}"
        raise FileFault(f"could not be put back: {what}")
    return True


def _exchange_or_rename(
    temporary: Path, path: Path, expected: str
) -> Literal["exchanged", "renamed", "impossible"]:
    try:
        if exchange(temporary, path):
            return "exchanged"
        expect(path, expected)
        temporary.rename(path)
    except FileNotFoundError as error:
        raise FileChanged("was deleted meanwhile") from error
    except OSError as error:
        if error.errno in _NO_RENAME:
            return "impossible"
        raise
    return "renamed"


def _is_known(temporary: Path, path: Path, expected: str) -> bool:
    """After an exchange `temporary` is what stood at the path; is it what we knew?

    If not it is put back and FileChanged raised; False when even that was impossible.
    """
    try:
        expect(temporary, expected)
    except FileFault as error:
        try:
            exchange(temporary, path)
        except OSError:
            return False
        raise FileChanged("changed meanwhile") from error
    return True


def _take_over(temporary: Path, path: Path, status: os.stat_result) -> bool:
    """Give the new file the owner, mode and attributes of the old. False: not possible."""
    try:
        mine = temporary.stat()
        if (mine.st_uid, mine.st_gid) != (status.st_uid, status.st_gid):
            os.chown(temporary, status.st_uid, status.st_gid)
        temporary.chmod(stat.S_IMODE(status.st_mode))
        for name in _attributes(path):
            os.setxattr(temporary, name, os.getxattr(path, name))
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise
        return False
    return True


def _attributes(path: Path) -> list[str]:
    """Names of the extended attributes that must move with a file (access lists among them)."""
    if not hasattr(os, "listxattr"):
        return []
    try:
        return [name for name in os.listxattr(path) if name != "security.selinux"]
    except OSError:
        return []
