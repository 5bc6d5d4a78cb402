"""What glmcode has left on the disk and nobody needs any more, found for `glmcode clean`.

Saved output and backups by age, checkpoints of folders in which nothing was undone or changed for
a month, logs of engines that don't run, and sessions only if asked for. What a living process uses
is never among it. Must not print.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from glmcode.base.paths import cache_folder, state_folder
from glmcode.checkpoints.store import checkpoints_root
from glmcode.sessions import Journal, SessionError, list_sessions
from glmcode.tools.spills import BACKUP_DAYS, Saved, outdated

CHECKPOINT_DAYS = 30.0
DAY_S = 86_400.0


@contextmanager
def alone() -> Iterator[None]:
    """One that removes at a time: a second waits, and then finds less."""
    try:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(state_folder() / "clean.lock", flags, 0o600)
    except OSError:  # there is no such folder, so there is nothing in it
        yield
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@dataclass(frozen=True, slots=True, kw_only=True)
class Waste:
    """Something that can go. kind: in words; size: bytes; age_s: since it was last used."""

    kind: str
    path: Path
    size: int
    age_s: float
    label: str = ""


def waste(days: float, session_days: float | None, now: float | None = None) -> list[Waste]:
    """Everything that can go. days: of saved output and logs; session_days: None for none."""
    moment = time.time() if now is None else now
    output = cache_folder() / "output"
    found = [_file("saved output", one) for one in outdated(output, moment, days=days)]
    old = outdated(output / "backups", moment, days=max(days, BACKUP_DAYS))
    found += [_file("backups of files", one) for one in old]
    found += _aside(moment, max(days, CHECKPOINT_DAYS))
    found += _stores(moment, CHECKPOINT_DAYS)
    found += _logs(moment, days)
    if session_days is not None:
        found += _sessions(moment, session_days)
    return found


def remove(one: Waste) -> bool:
    """Remove it; False when it is in use by now. Raises FileNotFoundError when somebody else
    has removed it, OSError."""
    if one.kind == "sessions":
        return _remove_session(one.path)
    if not stat.S_ISDIR(one.path.lstat().st_mode):
        one.path.unlink()
        return True
    if _in_use(one.path):
        return False
    aside = one.path.with_name(f".removed-{one.path.name}")
    one.path.rename(aside)
    if _in_use(aside):  # somebody came in between
        aside.rename(one.path)
        return False
    shutil.rmtree(aside)
    return True


def _file(kind: str, one: Saved) -> Waste:
    return Waste(kind=kind, path=one.path, size=one.size, age_s=one.age_s)


def _aside(now: float, days: float) -> Iterator[Waste]:
    """What commands had put where the sandbox lets nothing be, and was taken away from there."""
    with suppress(OSError):
        root = state_folder() / "aside"
        for entry in sorted(root.iterdir()) if not root.is_symlink() else ():
            age = now - entry.lstat().st_mtime
            if age > days * DAY_S:
                parts = [entry, *entry.rglob("*")] if not entry.is_symlink() else [entry]
                size = sum(part.lstat().st_size for part in parts if not part.is_dir())
                yield Waste(kind="put aside", path=entry, size=size, age_s=age)


def _stores(now: float, days: float) -> Iterator[Waste]:
    """The checkpoints of folders in which no session changed anything for so long."""
    for folder in _folders(checkpoints_root()):
        used, size = 0.0, 0
        with suppress(OSError):
            for entry in os.scandir(folder):
                status = entry.stat(follow_symlinks=False)
                used = max(used, status.st_mtime)
                size += status.st_size if entry.is_file(follow_symlinks=False) else 0
        with suppress(OSError):  # one that is being made is empty
            used = used or folder.stat().st_mtime
        gone = folder.name.startswith(".removed-")
        if gone or (now - used > days * DAY_S and not _in_use(folder)):
            label = folder.name.rpartition("-")[0]
            yield Waste(kind="checkpoints", path=folder, size=size, age_s=now - used, label=label)


def _in_use(folder: Path) -> bool:
    """Whether a living process holds a file in the store's folder `live`."""
    try:
        names = list((folder / "live").iterdir())
    except OSError:
        return False
    return any(_is_held(name) for name in names)


def _is_held(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def _logs(now: float, days: float) -> Iterator[Waste]:
    for machine in _folders(state_folder() / "run"):
        for engine in _folders(machine):
            if _is_held(engine / "lock"):
                continue
            for path in (*engine.glob("*.log"), *engine.glob("*.log.1")):
                with suppress(OSError):
                    status = path.lstat()
                    age = now - status.st_mtime
                    if age > days * DAY_S:
                        yield Waste(
                            kind="logs of engines",
                            path=path,
                            size=status.st_size,
                            age_s=age,
                            label=engine.name,
                        )


def _sessions(now: float, days: float) -> Iterator[Waste]:
    for one in list_sessions(None):
        if now - one.used > days * DAY_S:
            yield Waste(
                kind="sessions",
                path=one.path,
                size=one.size,
                age_s=now - one.used,
                label=one.title,
            )


def _remove_session(path: Path) -> bool:
    path.lstat()
    try:
        journal = Journal.open(path)  # nobody else may hold it, and nobody can from now on
    except SessionError:
        return False
    try:
        path.unlink()
    finally:
        journal.close()
    return True


def _folders(root: Path) -> list[Path]:
    """Folders in one of ours; what lies behind a link is not ours."""
    if root.is_symlink():
        return []
    try:
        return sorted(one for one in root.iterdir() if one.is_dir() and not one.is_symlink())
    except OSError:
        return []
