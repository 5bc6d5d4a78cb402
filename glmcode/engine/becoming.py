"""How a process becomes the one supervisor of an engine: the lock, the old socket, the detaching.

A lock file is held with flock and never unlinked; a socket is removed only where nobody answers on
it; the process that asked gets its answer when somebody serves, this one or another. Must not know
what is served.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from glmcode.engine.control import ControlError, ask
from glmcode.engine.holder import holder, locker
from glmcode.engine.paths import EnginePaths, make_folders
from glmcode.engine.stopped import stopped_since, stopped_text

LOCK_WAIT_S = 40.0
"""How long a new supervisor waits for one that is on its way out."""
STRANGE_WAIT_S = 5.0
"""How long, where what holds the lock is no supervisor: it may be the last moment of one."""


def take_lock(paths: EnginePaths) -> int | None:
    """The lock's descriptor, or None when another supervisor holds it."""
    descriptor = os.open(paths.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    _mark(descriptor)
    return descriptor


def answers(paths: EnginePaths) -> bool:
    """Whether a supervisor answers on the socket."""
    if not paths.socket.exists():
        return False
    try:
        asyncio.run(ask(paths.socket, "GET", "/glmcode/status", timeout_s=5.0))
    except ControlError:
        return False
    return True


def become(paths: EnginePaths, asked: float, serve: Callable[[int, int], None]) -> int:
    """Take the lock, detach, serve; in the caller return once somebody answers.

    asked: since when the engine is wanted (Unix time): a stop that is later counts. serve: is given
    the lock's descriptor, and one to write to once it answers.

    Returns an exit code: 0 when a supervisor answers, 1 when none could be had.
    """
    make_folders(paths)
    deadline = time.monotonic() + LOCK_WAIT_S
    strange = time.monotonic() + STRANGE_WAIT_S
    while (lock := take_lock(paths)) is None:
        if answers(paths):
            return 0
        if holder(paths) != 0:
            strange = time.monotonic() + STRANGE_WAIT_S
        if time.monotonic() > min(deadline, strange):
            print(f"{locker(paths.lock)} holds {paths.lock} and does not answer", file=sys.stderr)
            return 1
        time.sleep(0.05)
    if stopped_since(paths, asked):
        print(stopped_text(paths.name), file=sys.stderr)
        return 1
    while answers(paths):  # one whose folder was removed is about to leave
        if time.monotonic() > deadline:
            print(f"a supervisor without a lock answers on {paths.socket}", file=sys.stderr)
            return 1
        time.sleep(0.05)
    paths.socket.unlink(missing_ok=True)
    told, up = os.pipe()
    if os.fork() == 0:
        _mark(lock)  # first: who ends the process that asked has not ended this one
        os.close(told)
        _detach(paths)
        serve(lock, up)
        os._exit(0)
    os.close(up)
    os.close(lock)
    if os.read(told, 16):
        return 0
    lines = paths.supervisor_log.read_text(encoding="utf-8", errors="replace").splitlines()
    why = lines[-1] if lines else "it said nothing"
    print(f"the supervisor ended at once: {why}", file=sys.stderr)
    return 1


def unusable(paths: EnginePaths, error: OSError) -> str:
    """What is said where the engine's files can't be had."""
    more = ": free some and start it again" if error.errno == errno.ENOSPC else ""
    where = error.filename or paths.folder
    what = "the engine's folder" if str(where) == str(paths.folder) else "the engine's file"
    return f"{what} {where} can't be used: {error.strerror or error}{more}"


def is_same(descriptor: int, path: Path) -> bool:
    """Whether an open file is still the one that the path names."""
    try:
        ours, there = os.fstat(descriptor), path.stat()
    except OSError:
        return False
    return (ours.st_dev, ours.st_ino) == (there.st_dev, there.st_ino)


def _mark(lock: int) -> None:
    """Write our number into the lock file, for a person who looks."""
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)


def _detach(paths: EnginePaths) -> None:
    """Leave the terminal, its session, its folder and its output behind."""
    os.setsid()
    os.chdir("/")
    os.umask(0o077)
    null = os.open(os.devnull, os.O_RDONLY)
    log = os.open(paths.supervisor_log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
    for target, source in ((0, null), (1, log), (2, log)):
        os.dup2(source, target)
