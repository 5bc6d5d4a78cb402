"""How long saved output stays: a week, and no more than two gigabytes of it.

What a tool printed and the model did not read whole lies in the cache folder. Once a day, beside
other work, the old goes and then the oldest, until the rest fits. Backups of files that had to be
written in place stay for a month. Must not touch what was written within the last hour.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

OUTPUT_DAYS = 7.0
BACKUP_DAYS = 30.0
MAX_BYTES = 2 * 1000**3
EVERY_S = 86_400.0
_FRESH_S = 3_600.0
_MARK = ".pruned"


@dataclass(frozen=True, slots=True)
class Saved:
    """A file: its size in bytes, and the seconds since it was written."""

    path: Path
    size: int
    age_s: float


def saved_files(folder: Path, now: float) -> Iterator[Saved]:
    """The regular files that lie in a folder itself; nothing where it can't be read, and nothing
    behind a link: that is somebody else's folder."""
    if folder.is_symlink():
        return
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return
    for entry in entries:
        with suppress(OSError):
            status = entry.stat(follow_symlinks=False)
            if stat.S_ISREG(status.st_mode) and entry.name != _MARK:
                yield Saved(Path(entry.path), status.st_size, now - status.st_mtime)


def outdated(folder: Path, now: float, *, days: float, max_bytes: int | None = None) -> list[Saved]:
    """What is older than `days`, and the oldest of the rest as far as it is over max_bytes."""
    files = sorted(saved_files(folder, now), key=lambda one: one.age_s)
    found, kept = [], 0
    for one in files:
        kept += one.size
        over = max_bytes is not None and kept > max_bytes
        if one.age_s > max(_FRESH_S, 0 if over else days * 86_400):
            found.append(one)
    return found


def prune(folder: Path, now: float | None = None) -> int:
    """Remove what is outdated, once a day; how many files went. Raises nothing."""
    moment = time.time() if now is None else now
    mark = folder / _MARK
    try:
        if folder.is_dir() and not _is_due(mark, moment):
            return 0
        mark.touch(mode=0o600)
        os.utime(mark, (moment, moment))
    except OSError:
        return 0
    gone = 0
    found = outdated(folder, moment, days=OUTPUT_DAYS, max_bytes=MAX_BYTES)
    for one in (*found, *outdated(folder / "backups", moment, days=BACKUP_DAYS)):
        with suppress(OSError):
            one.path.unlink()
            gone += 1
    return gone


def _is_due(mark: Path, now: float) -> bool:
    try:
        return not 0 <= now - mark.stat().st_mtime < EVERY_S
    except FileNotFoundError:
        return True
