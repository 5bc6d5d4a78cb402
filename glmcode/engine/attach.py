"""The front end's side: find the engine of a profile, or start it and wait until it is up.

Adopting a running engine is one small question over a socket. Waiting tells the phase and
the seconds left, and an engine that cannot come up says why, with its last log lines. Only
the standard library: every launch passes here. Must never stop or replace an engine.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import glmcode
from glmcode.base.paths import state_folder
from glmcode.core.events import EngineProgress, Event, Notice
from glmcode.engine.absent import absent
from glmcode.engine.control import ControlError, ask, follow
from glmcode.engine.paths import EnginePaths, engine_paths, known_engines
from glmcode.engine.profile import Profile, find_tokenizer
from glmcode.engine.state import PROTOCOL, EngineStatus, describe, status_from_json
from glmcode.engine.stopped import stopped_since, stopped_text

_SPAWN_LIMIT_S = 60.0
_SPAWNS = 5
_TRIALS = 20
_MOMENT_S = 0.05
_COMES_BACK_S = 5.0
"""How long somebody's restart may take from the old supervisor's end to the new one's answer."""
_LEAVING = (ConnectionResetError, BrokenPipeError, asyncio.IncompleteReadError)
_NOBODY = (FileNotFoundError, ConnectionRefusedError, NotADirectoryError)


class EngineUnavailable(Exception):
    """No engine can be had now; one sentence, and the engine's last log lines in `log`.

    profile: whose, where it is one of several that were asked for.
    """

    def __init__(self, text: str, log: str = "", profile: str = "") -> None:
        super().__init__(text)
        self.log = log
        self.profile = profile


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineAddress:
    """Where an engine that is up can be asked. window is in tokens.

    socket: the supervisor's; tokenizer: the model's tokenizer.json, None when it is not here.
    """

    socket: Path
    model: str
    window: int
    tokenizer: Path | None
    profile: Profile


async def attach(
    profile: Profile,
    emit: Callable[[Event], None],
    *,
    start: bool = True,
    timeout_s: float | None = None,
) -> EngineAddress:
    """The engine of a profile, started if need be; returns when it is up.

    start: whether an engine that does not run may be started. timeout_s: how long to wait
    in all, None for as long as it takes. Raises EngineUnavailable.
    """
    try:
        async with asyncio.timeout(timeout_s):
            return await _attach(profile, emit, start)
    except TimeoutError as error:
        raise EngineUnavailable(
            f"the engine of profile {profile.name} was not ready after {timeout_s:g} s"
        ) from error


async def _attach(profile: Profile, emit: Callable[[Event], None], start: bool) -> EngineAddress:
    paths = engine_paths(profile.name)
    began = time.time()
    started = stopped = told = False
    spawned = 0
    while True:
        status = await find_status(paths)
        if status is None:
            if not stopped:
                spawned += 1
                await _spawn(profile, emit, start, began, spawned)
                started = True
            elif not await _comes_back(paths):
                raise EngineUnavailable(stopped_text(profile.name))
            stopped = False
            continue
        if status.up:
            return _address(paths, profile, status, emit)
        if status.state in ("absent", "failed") and not started:
            if not start:
                raise _unavailable(status)
            if (now := await _post(paths, "/glmcode/start")) is None:
                continue  # it has just left
            status, started = now, True
        if status.state in ("failed", "sleeping"):
            raise _unavailable(status)
        if profile.nodes > 1 and not told and status.state == "starting":
            told = True
            emit(Notice(text=_others(profile)))
        started = started or status.state == "starting"
        if status.state == "absent":
            await asyncio.sleep(_MOMENT_S)  # it is about to leave and takes no orders any more
        else:
            stopped = await _wait(paths, emit, started)


async def _spawn(
    profile: Profile, emit: Callable[[Event], None], start: bool, asked: float, number: int
) -> None:
    """Start a supervisor for the so manieth time. Raises EngineUnavailable."""
    if not start:
        raise EngineUnavailable(f"no engine of profile {profile.name} is running")
    if number > _SPAWNS:
        raise EngineUnavailable(
            f"the supervisor of profile {profile.name} ends as soon as it is started: "
            f"see {engine_paths(profile.name).supervisor_log}"
        )
    emit(EngineProgress(phase="starting the supervisor"))
    await start_supervisor(profile, asked)


async def _comes_back(paths: EnginePaths) -> bool:
    """Whether an engine that was stopped is started again at once, as a restart does it."""
    deadline = time.monotonic() + _COMES_BACK_S
    while time.monotonic() < deadline:
        if await find_status(paths) is not None:
            return True
        await asyncio.sleep(_MOMENT_S)
    return False


def _others(profile: Profile) -> str:
    return (
        f"profile {profile.name} spans {profile.nodes} machines: it is ready when the others run "
        f"what `glmcode engine plan --profile {profile.name}` tells for them"
    )


async def wake(profile: Profile) -> EngineStatus:
    """Start an engine because a person asks, whatever failed before; does not wait for it.

    One that is being stopped is waited for. Raises EngineUnavailable.
    """
    paths = engine_paths(profile.name)
    began, deadline = time.time(), time.monotonic() + _SPAWN_LIMIT_S
    while time.monotonic() < deadline:
        if await find_status(paths) is None:
            await start_supervisor(profile, began)
        status = await _post(paths, "/glmcode/start?asked=1")
        if status is not None and (status.state not in ("absent", "stopping") or status.phase):
            return status
        await asyncio.sleep(_MOMENT_S)
    raise EngineUnavailable(
        f"the engine of profile {profile.name} is still being stopped: see glmcode engine status"
    )


async def rest(name: str, *, sleep: bool) -> EngineStatus:
    """Let an engine sleep, or wake it; returns when it does. Raises EngineUnavailable."""
    paths = engine_paths(name)
    if await find_status(paths) is None:
        raise EngineUnavailable(f"no engine of profile {name} is running")
    what = "sleep" if sleep else "wake"
    try:
        code, value = await ask(paths.socket, "POST", f"/glmcode/{what}", {}, timeout_s=None)
    except ControlError as error:
        raise EngineUnavailable(f"the supervisor of profile {name}: {error}") from error
    if code == 409 and isinstance(value, dict):
        raise EngineUnavailable(f"no {what}: {value.get('error', {}).get('message')}")
    return _read(paths, code, value)


async def find_status(paths: EnginePaths) -> EngineStatus | None:
    """What a supervisor says, None when there is none.

    Raises EngineUnavailable when one is there but does not answer or speaks otherwise.
    """
    for trial in range(1, _TRIALS + 1):
        try:
            code, value = await ask(paths.socket, "GET", "/glmcode/status")
            return _read(paths, code, value)
        except ControlError as error:
            if isinstance(error.__cause__, _NOBODY):
                return None
            if not isinstance(error.__cause__, _LEAVING) or trial == _TRIALS:
                text = f"the supervisor of profile {paths.name}: {error}{_what_to_do(paths, error)}"
                raise EngineUnavailable(text) from error
            await asyncio.sleep(0.05)
    return None


def _what_to_do(paths: EnginePaths, error: ControlError) -> str:
    """About one that does not answer: it may be stopped, or no supervisor at all."""
    if not isinstance(error.__cause__, TimeoutError):
        return ""
    from glmcode.engine.holder import holder

    if holder(paths) is None:
        return ": no supervisor is there; end the program that listens on it, or remove the file"
    return f": glmcode engine stop --profile {paths.name} ends it"


def _read(paths: EnginePaths, code: int, value: Any) -> EngineStatus:
    theirs = value.get("protocol") if isinstance(value, dict) else None
    if code != 200 or theirs != PROTOCOL:
        raise EngineUnavailable(
            f"the supervisor of profile {paths.name} was started by another version of glmcode "
            f"(its protocol is {theirs}, ours {PROTOCOL}): restart needed, "
            f"glmcode engine restart --profile {paths.name}"
        )
    try:
        return status_from_json(value)
    except (KeyError, TypeError) as error:
        raise EngineUnavailable(
            f"what the supervisor of profile {paths.name} says can't be read ({error!r}): "
            f"glmcode engine restart --profile {paths.name}"
        ) from error


async def _post(paths: EnginePaths, route: str) -> EngineStatus | None:
    """Tell a supervisor to do something; None where it has just left."""
    try:
        code, value = await ask(paths.socket, "POST", route, {})
    except ControlError as error:
        if isinstance(error.__cause__, _NOBODY + _LEAVING):
            return None
        raise EngineUnavailable(f"the supervisor of profile {paths.name}: {error}") from error
    return _read(paths, code, value)


async def _wait(paths: EnginePaths, emit: Callable[[Event], None], started: bool) -> bool:
    """Tell the progress until the engine is neither starting nor stopping.

    started: it was seen to start. Returns whether it was stopped since.
    """
    last: EngineProgress | None = None
    stopped = False

    def each(value: Any) -> bool:
        nonlocal last, started, stopped
        status = _read(paths, 200, value)
        started = started or status.state == "starting"
        stopped = started and status.state in ("stopping", "absent")
        if status.state not in ("starting", "stopping"):
            return True
        phase = status.phase or "stopping the engine"
        progress = EngineProgress(phase=phase, percent=status.percent, eta_s=status.eta_s)
        if progress != last:
            emit(progress)
        last = progress
        return False

    try:
        await follow(paths.socket, "/glmcode/events", each)
    except ControlError:
        await asyncio.sleep(_MOMENT_S)  # it left; the next look tells what is there now
    return stopped


def _address(
    paths: EnginePaths, profile: Profile, status: EngineStatus, emit: Callable[[Event], None]
) -> EngineAddress:
    if status.digest != profile.digest():
        emit(
            Notice(
                text=f"the running engine was started with other settings of profile "
                f"{profile.name}: glmcode engine restart --profile {profile.name} applies them"
            )
        )
    if status.door:
        emit(Notice(text=f"profile {profile.name}: {status.door}"))
    return EngineAddress(
        socket=paths.socket,
        model=status.model,
        window=status.window,
        tokenizer=find_tokenizer(profile),
        profile=profile,
    )


def _unavailable(status: EngineStatus) -> EngineUnavailable:
    if status.state == "failed":
        return EngineUnavailable(status.reason, "\n".join(status.log))
    if status.state == "sleeping":
        return EngineUnavailable(f"the engine of profile {status.profile} is {describe(status)}")
    return EngineUnavailable(f"the engine of profile {status.profile} is not running")


async def start_supervisor(profile: Profile, asked: float) -> None:
    """Start a detached supervisor; returns when one answers. Raises EngineUnavailable.

    asked: since when it is wanted (Unix time): none is started after a later `engine stop`. It
    does not matter who wins when several are started at once.
    """
    command = [sys.executable, "-m", "glmcode.engine.supervisor", "--profile", profile.name]
    command += ["--asked", f"{asked:.6f}"]
    if profile.python:
        command += ["--python", profile.python]
    try:
        done = await asyncio.to_thread(
            subprocess.run,
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=_environment(),
            cwd=Path(glmcode.__file__).resolve().parent.parent,
            timeout=_SPAWN_LIMIT_S,
        )
    except subprocess.TimeoutExpired as error:
        raise EngineUnavailable(
            f"the supervisor of profile {profile.name} did not answer within {_SPAWN_LIMIT_S:.0f} s"
        ) from error
    except OSError as error:
        raise EngineUnavailable(f"the supervisor did not start: {error}") from error
    if done.returncode != 0 and stopped_since(engine_paths(profile.name), asked):
        raise EngineUnavailable(stopped_text(profile.name))
    if done.returncode != 0:
        ended = f"it was ended by signal {-done.returncode}"
        silent = ended if done.returncode < 0 else "it said nothing"
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines() or [silent]
        more = "\n".join(lines) if len(lines) > 1 else ""
        raise EngineUnavailable(f"the supervisor did not start: {lines[-1]}", more)


def _environment() -> dict[str, str]:
    """Ours; a relative GLMCODE_HOME would mean another folder in the supervisor."""
    env = dict(os.environ)
    if env.get("GLMCODE_HOME"):
        env["GLMCODE_HOME"] = str(state_folder().parent.absolute())
    return env


def engine_status(profile: Profile | str) -> EngineStatus:
    """The state of one engine, "absent" when nothing runs. For commands; blocks.

    Raises EngineUnavailable when a supervisor is there but cannot be understood.
    """
    name = profile if isinstance(profile, str) else profile.name
    paths = engine_paths(name)
    return asyncio.run(find_status(paths)) or absent(paths)


def all_statuses() -> list[EngineStatus | EngineUnavailable]:
    """The states of all engines of this user on this machine. For commands; blocks."""
    found: list[EngineStatus | EngineUnavailable] = []
    for paths in known_engines():
        try:
            found.append(engine_status(paths.name))
        except EngineUnavailable as error:
            error.profile = paths.name
            found.append(error)
    return found
