"""Who holds an engine's lock: its supervisor, nobody, or a program that is none of ours.

The lock is the truth about whether a supervisor lives; the number in its file only says which
process it is. Must not end anything.
"""

from __future__ import annotations

import fcntl
from pathlib import Path

from glmcode.engine.paths import EnginePaths


def holder(paths: EnginePaths) -> int | None:
    """The supervisor that holds the lock, None when nobody does, 0 when it cannot be told.

    The number in the lock file is believed only if that process is a supervisor: it may be
    that of a dead one, and its number may have been given to somebody else.
    """
    try:
        with paths.lock.open("rb") as file:
            try:
                # Shared, so that two who look do not take each other for a supervisor.
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                text = file.read().strip()
                return int(text) if text.isdigit() and _is_supervisor(int(text)) else 0
    except (FileNotFoundError, NotADirectoryError):
        return None
    return None


def _is_supervisor(pid: int) -> bool:
    try:
        return b"glmcode.engine.supervisor" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def locker(lock: Path) -> str:
    """Who holds a lock, as the kernel tells it."""
    try:
        inode = lock.stat().st_ino
        for line in Path("/proc/locks").read_text(encoding="ascii", errors="replace").splitlines():
            words = line.split()
            if words[1] == "FLOCK" and words[5].rpartition(":")[2] == str(inode):
                name = Path(f"/proc/{words[4]}/comm").read_text(errors="replace").strip()
                return f"process {words[4]} ({name})"
    except (OSError, IndexError):
        pass
    return "another program"
