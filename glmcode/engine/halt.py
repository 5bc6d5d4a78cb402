"""Ends an engine and its supervisor, whatever state they are in; returns when both are gone.

Asked politely first; a supervisor that does not answer is terminated, then killed, and what
it leaves behind is ended too. Only for a person's command: nothing else may stop an engine.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import time

from glmcode.engine.child import TERM_GRACE_S, end_leftover
from glmcode.engine.control import ControlError, ask
from glmcode.engine.door_key import forget
from glmcode.engine.holder import holder, locker
from glmcode.engine.paths import EnginePaths
from glmcode.engine.stopped import mark_stopped

_STOP_LIMIT_S = TERM_GRACE_S + 20.0
_TERM_LIMIT_S = TERM_GRACE_S + 15.0
_KILL_LIMIT_S = 10.0
_NUMBER_LIMIT_S = 3.0


class HaltError(Exception):
    """Something does not end; the text names the process."""


async def halt(paths: EnginePaths, *, again: bool = False) -> bool:
    """End the engine of a profile, its door too; returns whether anything was running.

    again: it is started again at once, so those who wait for it go on waiting. Raises HaltError.
    """
    if not again:
        mark_stopped(paths)
    running = holder(paths)
    if running is not None:
        try:
            await ask(paths.socket, "POST", "/glmcode/stop", {}, timeout_s=_STOP_LIMIT_S)
            limit_s = _TERM_LIMIT_S
        except ControlError:
            limit_s = 0.0
        await _gone(paths, running or await _number(paths), limit_s)
    left = await _end_leftover(paths)
    return running is not None or left


async def _number(paths: EnginePaths) -> int:
    """The process that holds the lock, once it can be told. Raises HaltError."""
    deadline = time.monotonic() + _NUMBER_LIMIT_S
    while time.monotonic() < deadline:
        if (now := holder(paths)) != 0:
            return now or 0
        await asyncio.sleep(0.02)
    who = locker(paths.lock)
    raise HaltError(
        f"{who} holds {paths.lock} and is no supervisor of glmcode's: end that program, then try "
        "again"
    )


async def _end_leftover(paths: EnginePaths) -> bool:
    """End what a killed supervisor left behind; never the engine of one that has come since."""
    try:
        lock = paths.lock.open("rb")
    except (FileNotFoundError, NotADirectoryError):
        return await _clear(paths)
    with lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return await _clear(paths)
            except BlockingIOError:
                if holder(paths) is not None:  # else somebody was only looking
                    return False
                await asyncio.sleep(0.02)


async def _clear(paths: EnginePaths) -> bool:
    forget(paths.door)
    return await end_leftover(paths.child)


async def _gone(paths: EnginePaths, pid: int, limit_s: float) -> None:
    """Wait until the lock is free, or another's; with ever less patience."""
    for number, patience_s in (
        (None, limit_s),
        (signal.SIGTERM, _TERM_LIMIT_S),
        (signal.SIGKILL, _KILL_LIMIT_S),
    ):
        if number is not None and pid and holder(paths) == pid:
            with contextlib.suppress(ProcessLookupError):
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
