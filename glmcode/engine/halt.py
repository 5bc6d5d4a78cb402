"""Ends an engine and its supervisor, whatever state they are in; returns when both are gone.

Asked politely first; a supervisor that does not answer is terminated, then killed, and what
it leaves behind is ended too. Only for a person's command: nothing else may stop an engine.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import time
from pathlib import Path

from glmcode.engine.child import TERM_GRACE_S, end_leftover
from glmcode.engine.control import ControlError, ask
from glmcode.engine.door_key import forget
from glmcode.engine.paths import EnginePaths

_STOP_LIMIT_S = TERM_GRACE_S + 20.0
_TERM_LIMIT_S = TERM_GRACE_S + 15.0
_KILL_LIMIT_S = 10.0


class HaltError(Exception):
    """Something does not end; the text names the process."""


async def halt(paths: EnginePaths) -> bool:
    """End the engine of a profile, its door too; returns whether anything was running.

    Raises HaltError.
    """
    running = holder(paths)
    if running is not None:
        try:
            await ask(paths.socket, "POST", "/glmcode/stop", {}, timeout_s=_STOP_LIMIT_S)
            limit_s = _TERM_LIMIT_S
        except ControlError:
            limit_s = 0.0
        await _gone(paths, running, limit_s)
    forget(paths.door)
    left = await end_leftover(paths.child)
    return running is not None or left


async def _gone(paths: EnginePaths, pid: int, limit_s: float) -> None:
    """Wait until the lock is free; with ever less patience."""
    for number, patience_s in (
        (None, limit_s),
        (signal.SIGTERM, _TERM_LIMIT_S),
        (signal.SIGKILL, _KILL_LIMIT_S),
    ):
        if number is not None and pid and holder(paths) == pid:
            os.kill(pid, signal.SIGCONT)
            os.kill(pid, number)
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            now = holder(paths)
            # 0: a process that ends has no command line any more, but its lock still.
            if now is None or (now and now != pid):
                return
            await asyncio.sleep(0.02)
    raise HaltError(f"the supervisor of profile {paths.name} (process {pid}) does not end")


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
