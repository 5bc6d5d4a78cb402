"""The life of one engine: prepared, started, watched, ended; its state at every moment.

The supervisor owns one Runner and tells it to start or stop; whoever wants to know is
called at each change. A crash is not repaired here but told: the next front end's request
for a start brings the engine back, three crashes in ten minutes or a fault that would
repeat itself do not. Must not speak HTTP to front ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import time
import traceback
from collections.abc import Callable
from dataclasses import replace

from glmcode import __version__
from glmcode.engine.child import Child, end_leftover, spawn
from glmcode.engine.claims import ClaimError, Place
from glmcode.engine.control import ControlError, ask, fetch
from glmcode.engine.explain import explain, last_lines, refused_flags
from glmcode.engine.family import Family
from glmcode.engine.mark import block_size, cache_tokens
from glmcode.engine.paths import EnginePaths
from glmcode.engine.phases import IMPORTING, PHASES, StartTracker
from glmcode.engine.prepare import Ready, SetupError, prepare
from glmcode.engine.profile import ProfileError, load_profile
from glmcode.engine.rest import (
    RestError,
    available_memory,
    check_memory,
    is_asleep,
    put_to_sleep,
    wake_up,
)
from glmcode.engine.starts import keep_start, last_start
from glmcode.engine.state import EngineStatus, FailureKind, State
from glmcode.engine.tail import Tail, rotate

CRASHES = 3
CRASH_WINDOW_S = 600.0
BACK_OFF_S = 5.0
_POLL_S = 0.1
_PROBE_GRACE_S = 1.0
_NOTICED_S = 1.0
_MOVING = "moving the weights"


class Runner:
    """One engine. `changed` is called after every change of `status`; it must not block."""

    def __init__(
        self, paths: EnginePaths, name: str, python: str, changed: Callable[[], None]
    ) -> None:
        self._paths = paths
        self._python = python
        self._changed = changed
        self._task: asyncio.Task[None] | None = None
        self._stopping: asyncio.Future[None] | None = None
        self._move: asyncio.Task[str] | None = None
        self._child: Child | None = None
        self._crashes: list[float] = []
        self._tail = Tail(paths.log)
        self._place = Place(paths)
        self._requests = 0
        self._was_up = False
        self.status = EngineStatus(
            state="absent", profile=name, version=__version__, supervisor_pid=os.getpid()
        )

    def start(self, *, asked: bool) -> None:
        """Start the engine unless it runs. asked: a person wants it, whatever failed before."""
        if self.status.state not in ("absent", "failed") or self._stopping is not None:
            return
        if asked:
            self._crashes.clear()
        elif self.status.final and self.status.digest == self._digest():
            return
        self._set(
            replace(
                self.status,
                state="starting",
                phase=PHASES[0],
                percent=None,
                eta_s=None,
                reason="",
                kind="",
                final=False,
                log=(),
                engine_pid=0,
                window=0,
            )
        )
        self._task = asyncio.create_task(self._live())
        self._task.add_done_callback(self._over)

    async def stop(self) -> None:
        """End the engine; returns when it is gone, however many ask for it at once."""
        if self._stopping is None:
            self._stopping = asyncio.ensure_future(self._stop())
        await asyncio.shield(self._stopping)

    async def _stop(self) -> None:
        task, self._task = self._task, None
        try:
            if task is not None and not task.done():
                self._set(replace(self.status, state="stopping", phase="", log=(), reason=""))
                task.cancel()
                await asyncio.wait({task})
            # An interpreter that was asked for its vLLM and hangs must not hold the exit up.
            await Family(group=0, mark="", adopted=True).end(_PROBE_GRACE_S)
            self._set(
                replace(self.status, state="absent", engine_pid=0, reason="", log=(), kind="")
            )
        finally:
            self._stopping = None

    def _over(self, task: asyncio.Task[None]) -> None:
        """A life that ended in a way nobody thought of must not look like a start for ever."""
        if task.cancelled() or (error := task.exception()) is None:
            return
        traceback.print_exception(error)
        why = f"{type(error).__name__}: {error}" if not isinstance(error, OSError) else str(error)
        self._fail(f"the engine of profile {self.status.profile} cannot be started: {why}", "setup")

    async def rest(self, *, sleep: bool, waiting: int) -> str:
        """Lend the GPUs, if nobody waits for them, or take them again; why not, or ""."""
        now, phase = self.status.state, f"{_MOVING} {'out' if sleep else 'back'}"
        if now == "sleeping" if sleep else self.status.up:
            return ""
        if self._move is not None and self.status.phase == phase:
            return await asyncio.shield(self._move)  # two asked for the same
        if sleep and waiting:
            return f"{waiting} request(s) wait for it"
        if now != ("ready" if sleep else "sleeping"):
            return f"an engine that is {self._doing()} can't {'sleep' if sleep else 'wake'}"
        try:
            if sleep:
                check_memory(load_profile(self.status.profile), available_memory())
        except (RestError, ProfileError) as error:
            return str(error)
        state: State = "stopping" if sleep else "starting"
        moving = replace(self.status, state=state, phase=phase)
        self._set(moving)
        self._move = asyncio.create_task(self._moved(moving, sleep=sleep))
        return await asyncio.shield(self._move)

    async def _moved(self, moving: EngineStatus, *, sleep: bool) -> str:
        fault, asleep = "", sleep
        try:
            if not sleep:
                self._place.again()
            await (put_to_sleep if sleep else wake_up)(self._paths.engine_socket)
        except (RestError, ClaimError) as error:
            fault = str(error)
            found = await is_asleep(self._paths.engine_socket)
            asleep = not sleep if found is None else found
            if found is None:  # it may have died, which is noticed in a moment
                await self._noticed(moving)
        if self.status == moving:  # else it ended, or is being ended, over it
            if asleep:
                self._place.lend()
            self._set(replace(moving, state="sleeping" if asleep else "ready", phase=""))
        elif not fault:
            fault = f"the engine was {self.status.state} before it was done"
        return fault

    async def _noticed(self, before: EngineStatus) -> None:
        deadline = time.monotonic() + _NOTICED_S
        while self.status == before and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.02)

    def _doing(self) -> str:
        running = self.status.requests
        if self.status.phase.startswith(_MOVING):
            return self.status.phase
        return f"busy with {running} request(s)" if running else self.status.state

    def begin_request(self) -> None:
        """A request is being served."""
        self._count(1)

    def end_request(self) -> None:
        """A request has been served."""
        self._count(-1)

    def _count(self, change: int) -> None:
        self._requests += change
        if self.status.up:
            state: State = "busy" if self._requests else "ready"
            self._set(replace(self.status, state=state, requests=self._requests))

    def _set(self, status: EngineStatus) -> None:
        status = replace(status, gpus=self._place.gpus, gpu_share=self._place.share)
        if status != self.status:
            self.status = status
            self._changed()

    def _digest(self) -> str:
        """What the profile's files say now, "" when they cannot be read."""
        try:
            profile = load_profile(self.status.profile)
        except ProfileError:
            return ""
        return replace(profile, python=self._python or profile.python).digest()

    async def _live(self) -> None:
        """From start to end of one engine; ends with the state failed, or cancelled."""
        await self._back_off()
        tracker = StartTracker(last_start(self._paths.last_start), time.monotonic())
        refused: frozenset[str] = frozenset()
        try:
            while True:
                ready = await self._prepare(refused)
                code = await self._run(ready, tracker)
                again = frozenset(refused_flags(self._tail.last)) if code == 2 else frozenset()
                if not again or refused:
                    self._ended(code)
                    return
                refused = again
        except (SetupError, ClaimError) as error:
            self._fail(str(error), "setup")
        finally:
            await self._end_child()  # only what was stopped while it was ended has one still

    async def _back_off(self) -> None:
        """What ended twice in a row is not started again at once: memory of the GPUs that it held,
        or what made it end, may take a moment to go."""
        if len(self._crashes) > 1:
            after = self._crashes[-1] + BACK_OFF_S - time.monotonic()
            if after > 0:
                self._set(replace(self.status, phase=f"waiting {after:.0f} s: it ended just now"))
                await asyncio.sleep(after)

    async def _end_child(self) -> None:
        if self._child is not None:
            await asyncio.shield(self._child.end())
            self._child = None
        self._place.drop()

    async def _prepare(self, refused: frozenset[str]) -> Ready:
        """What can be known before a process is started. Raises SetupError and ClaimError."""
        ready = await asyncio.to_thread(
            prepare, self._paths, self.status.profile, self._python, refused
        )
        self._set(
            replace(
                self.status,
                digest=ready.digest,
                vllm=ready.vllm,
                python=ready.python,
                dropped=ready.dropped,
                model=ready.model,
                card_window=ready.card_window,
                seats=ready.seats,
            )
        )
        await end_leftover(self._paths.child)
        await self._free_socket()
        await self._place.take(ready.claim)
        return ready

    async def _free_socket(self) -> None:
        """Remove a stale socket of vLLM; only after nobody answers on it."""
        path = self._paths.engine_socket
        if not path.exists():
            return
        with contextlib.suppress(ControlError):
            await ask(path, "GET", "/health", timeout_s=2.0)
            raise SetupError(f"somebody else serves on {path}: stop it first")
        path.unlink(missing_ok=True)

    async def _run(self, ready: Ready, tracker: StartTracker) -> int:
        """Start the process and stay with it until it has ended; its exit code.

        Raises SetupError.
        """
        self._was_up = False
        rotate(self._paths.log)
        self._tail = Tail(self._paths.log)
        try:
            keep = self._place.descriptors
            self._child = spawn(ready.command, ready.env, self._paths.log, self._paths.child, keep)
        except OSError as error:
            full = ": free some (`glmcode clean`)" if error.errno == errno.ENOSPC else ""
            raise SetupError(f"the engine cannot be started: {error}{full}") from error
        tracker.enter(IMPORTING, time.monotonic())
        self._set(replace(self.status, engine_pid=self._child.pid))
        ended = asyncio.create_task(self._child.wait())
        try:
            while not ended.done():
                if self._was_up:  # and not "is up": it may be on its way to sleep already
                    await asyncio.wait({ended})
                else:
                    await self._step(ready, tracker)
                    await asyncio.wait({ended}, timeout=_POLL_S)
            code = ended.result()
            # Requests are refused from now on, before the rest of the engine is gone.
            self._set(replace(self.status, state="stopping", phase=""))
        finally:
            await self._end_child()
        self._tail.read()
        return code

    async def _step(self, ready: Ready, tracker: StartTracker) -> None:
        """One look at an engine that is starting."""
        now = time.monotonic()
        for line in self._tail.read():
            tracker.feed(line, now)
        percent, eta = tracker.progress(now)
        percent = None if percent is None else float(round(percent))
        eta = None if eta is None else float(round(eta))
        self._set(replace(self.status, phase=tracker.words(), percent=percent, eta_s=eta))
        window = await self._window()
        if window is None:
            return
        block, pool = await self._cache()
        if self._child is not None:
            await asyncio.to_thread(self._child.remember)
        now = time.monotonic()
        keep_start(self._paths.last_start, tracker.durations(now))
        self._was_up = True
        self._tail.mark()  # what was said until now explains no later end
        self._set(
            replace(
                self.status,
                state="ready",
                phase="",
                percent=None,
                eta_s=None,
                window=min(window or ready.window, ready.card_window or 1 << 60),
                block=block,
                pool=pool,
                since=time.time(),
                start_s=round(now - tracker.began, 1),
            )
        )

    async def _window(self) -> int | None:
        """The window that vLLM really has (0: it does not say); None while it is not up."""
        socket = self._paths.engine_socket
        try:
            code, _ = await ask(socket, "GET", "/health", timeout_s=5.0)
            if code != 200:
                return None
            _, models = await ask(socket, "GET", "/v1/models", timeout_s=5.0)
        except ControlError:
            return None
        with contextlib.suppress(KeyError, IndexError, TypeError, ValueError):
            return int(models["data"][0]["max_model_len"])
        return 0

    async def _cache(self) -> tuple[int, int]:
        """Tokens of a block of the prefix cache, and of all of it; 0: vLLM does not say."""
        with contextlib.suppress(ControlError):
            code, data = await fetch(self._paths.engine_socket, "GET", "/metrics", timeout_s=5.0)
            if code == 200:
                text = data.decode("utf-8", "replace")
                return block_size(text), cache_tokens(text)
        return 0, 0

    def _ended(self, code: int) -> None:
        """The process ended without being asked to."""
        was_up = self._was_up
        failure = explain(self._tail.fresh, code)
        now = time.monotonic()
        self._crashes = [t for t in self._crashes if now - t < CRASH_WINDOW_S] + [now]
        what = "died" if was_up else "did not start"
        reason = f"the engine of profile {self.status.profile} {what}: {failure.reason}"
        final = failure.final and (failure.memory or not was_up)
        if len(self._crashes) >= CRASHES:
            final = True
            reason += (
                f"; that was the {CRASHES}rd time in ten minutes, so it is not started again by "
                f"itself: glmcode engine start --profile {self.status.profile}"
            )
        self._fail(reason, "crash" if was_up else "start", final=final)

    def _fail(self, reason: str, kind: FailureKind, *, final: bool = False) -> None:
        self._place.drop()
        log = () if kind == "setup" else last_lines(self._tail.last)
        self._set(
            replace(
                self.status,
                state="failed",
                reason=reason,
                kind=kind,
                final=final,
                log=log,
                phase="",
                percent=None,
                eta_s=None,
                engine_pid=0,
                requests=0,
            )
        )
