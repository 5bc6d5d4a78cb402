"""The private folder of a session: made when the first command comes, removed at the end.

A session that is killed can't remove anything, so the next one does: a folder whose lock
nobody holds is nobody's. Must not touch anything else in the temporary folder.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import tempfile
import time
import weakref
from pathlib import Path

PREFIX = "glmcode-tmp-"
YOUNG_S = 60.0
"""Younger folders are left alone: their owner may not have locked them yet."""


def planned_folder() -> Path:
    """A name that no other has, in the folder for temporary files; nothing is made."""
    place = Path(os.path.realpath(tempfile.gettempdir()))
    return place / f"{PREFIX}{secrets.token_hex(6)}"


def private_folder(owner: object, folder: Path) -> Path:
    """Make a folder that only this user can enter, gone when `owner` is.

    Raises OSError, also where anything stands there already: it may be somebody else's.
    """
    folder.mkdir(mode=0o700)
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    fcntl.flock(lock, fcntl.LOCK_SH)
    weakref.finalize(owner, _end, folder, lock)
    sweep(folder.parent)
    return folder


def sweep(place: Path) -> None:
    """Remove what killed sessions of this user left behind; never raises."""
    try:
        found = [entry for entry in os.scandir(place) if entry.name.startswith(PREFIX)]
    except OSError:
        return
    for entry in found:
        try:
            seen = entry.stat(follow_symlinks=False)
            if seen.st_uid == os.geteuid() and time.time() - seen.st_mtime > YOUNG_S:
                _remove_unless_locked(Path(entry.path))
        except OSError:
            continue


def _remove_unless_locked(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(descriptor)


def _end(folder: Path, lock: int) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    os.close(lock)
