"""One small process per user, machine and profile that owns an engine and stands before it.

Front ends come and go, a model of 140 GB must not: the supervisor is detached from every
terminal, holds a lock so that there is one of it, and is the only way to the engine, so it
can say what the engine is doing, stop it to the last process, and free it at once when a
front end leaves. It must stay small: no vLLM, no torch, no HTTP library, no work of its own.

    python -m glmcode.engine.supervisor --profile NAME [--python PATH] [--asked TIME]

returns as soon as a supervisor answers on its socket: this one, detached, or another.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from typing import cast

from glmcode.engine.becoming import become, is_same, unusable
from glmcode.engine.crowd import Crowd, listen, raise_limit
from glmcode.engine.desk import Desk, queues
from glmcode.engine.door import Door, Gate
from glmcode.engine.family import adopt_orphans
from glmcode.engine.guests import Guests, peer_pid, stranger
from glmcode.engine.hatch import ROUTE as HATCH
from glmcode.engine.hatch import Hatches, Inside
from glmcode.engine.idle import IdleStop
from glmcode.engine.lane import RUN, read_lane
from glmcode.engine.mark import GENERATES, EngineMark
from glmcode.engine.paths import EnginePaths, PathsError, engine_paths
from glmcode.engine.proxy import discard, is_public, relay
from glmcode.engine.refusal import refused, why_not
from glmcode.engine.runner import Runner
from glmcode.engine.state import PROTOCOL, EngineStatus
from glmcode.engine.tail import keep_small
from glmcode.engine.wire import (
    CONTINUE,
    Head,
    Incoming,
    WireError,
    answer,
    expects,
    request_body,
    small_body,
)

_IDLE_LIMIT_S = 600.0
_HEARTBEAT_S = 5.0
_TICK_S = 2.0
_RUNS = 16
"""Runs that one connection may stand for; of one that names more, the first are over."""
_PUSHED = 2_000_000
"""Bytes a second of states that one who watches is told."""
_FACTS = ("protocol", "profile", "state", "phase", "percent", "eta_s", "reason", "model", "window")
"""Of the status: what a sandboxed command is told."""


class Supervisor:
    """Serves the socket of one engine. `run` returns when it is asked to leave."""

    def __init__(self, paths: EnginePaths, python: str, lock: int) -> None:
        self._paths = paths
        self._lock = lock
        self._changed = asyncio.Event()
        self._leave = asyncio.Event()
        self._connections: set[asyncio.Task[None]] = set()
        self._crowd = Crowd()
        self._served = 0
        self._stopping = False
        self._unused = IdleStop()
        self._guests = Guests()
        self._door = Door(self._accept, paths.door)
        self._runner = Runner(paths, paths.name, python, self._engine_changed)
        self._desk = Desk(
            paths.engine_socket,
            lambda: self.status.up,
            self._excuse,
            self._begin,
            self._runner.end_request,
            self._notify,
        )

        self._hatches = Hatches(paths.socket_folder, self._inside())

    @property
    def status(self) -> EngineStatus:
        """What the engine is doing now."""
        return self._runner.status

    async def run(self, up: int) -> None:
        """Serve until told to stop; `up` is a descriptor that is written to once it answers."""
        adopt_orphans()
        raise_limit()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._leave.set)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        self._hatches.sweep()
        server = await listen(self._accept, str(self._paths.socket))
        self._paths.socket.chmod(0o600)
        await self._door.reopen()
        self._runner.start(asked=False)
        self._write_info()
        os.write(up, b"up\n")
        os.close(up)
        watches = [asyncio.create_task(self._watch())]
        watches += [asyncio.create_task(keep_small(self._paths.log))]
        try:
            await self._leave.wait()
        finally:
            self._stopping = True
            for watch in watches:
                watch.cancel()
            await self._runner.stop()
            server.close()
            await self._door.close()
            await self._hatches.close()
            if is_same(self._lock, self._paths.lock):  # else a later one's files lie there
                for path in (self._paths.socket, self._paths.engine_socket, self._paths.info):
                    path.unlink(missing_ok=True)
            for task in self._connections:
                task.cancel()
            if self._connections:
                await asyncio.wait(self._connections, timeout=2.0)

    def _engine_changed(self) -> None:
        self._desk.queue.seats = self.status.seats
        self._desk.queue.pool = self.status.pool
        self._desk.wake()
        self._notify()

    def _to_json(self) -> dict[str, object]:
        return {
            **self.status.to_json(),
            **self._desk.to_json(),
            "attached": self._guests.to_json(),
            "listening": self._door.address,
            "door": self._door.note,
        }

    def _notify(self) -> None:
        event, self._changed = self._changed, asyncio.Event()
        event.set()

    def _write_info(self) -> None:
        info = {
            "pid": os.getpid(),
            "protocol": PROTOCOL,
            "profile": self._paths.name,
            "socket": str(self._paths.socket),
        }
        self._paths.info.write_text(json.dumps(info) + "\n", encoding="utf-8")

    async def _watch(self) -> None:
        """Leave when the folder is gone, or when there has been nothing to do for long."""
        idle_since = time.monotonic()
        while True:
            await asyncio.sleep(_TICK_S)
            now = time.monotonic()
            if await self._door.again():
                self._notify()
            resting = self.status.state in ("absent", "failed")
            if self._door.wanted or self._connections or not resting or self.status.final:
                idle_since = now  # what would repeat itself is remembered as long as we live
            idle = self.status.state == "ready" and not self._desk.queue.waiting
            unused = self._unused.due(now, idle=idle, served=self._served)
            if unused and self._door.wanted:
                await self._runner.stop()  # who asks by the door next starts it again
            elif (
                unused
                or now - idle_since > _IDLE_LIMIT_S
                or not is_same(self._lock, self._paths.lock)
            ):
                self._leave.set()

    async def _accept(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        gate: Gate | None = None,
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        if not self._crowd.enters(writer):
            text = "too many connections are open: close some, or try again later"
            writer.write(answer(503, refused("too_many", text), close=True))
            writer.close()
            return
        self._connections.add(task)
        runs: dict[str, None] = {}
        try:
            await self._serve(Incoming(reader), writer, runs, gate)
        except WireError as error:
            writer.write(answer(400, refused("bad_request", str(error)), close=True))
        except ConnectionError:
            pass
        finally:
            self._connections.discard(task)
            self._crowd.leaves(writer)
            for run in runs:
                self._leaves(run)
            writer.close()

    async def _serve(
        self,
        client: Incoming,
        writer: asyncio.StreamWriter,
        runs: dict[str, None],
        gate: Gate | None,
    ) -> None:
        """gate: what a connection passes that came in by the door."""
        while True:
            self._crowd.silent(writer)
            head = await (gate.head(client) if gate else client.head())
            self._crowd.busy(writer)
            if head is None:
                return
            if head.path == "/glmcode/listen":
                go_on = await self._listen(client, writer, head)
            elif (head.method, head.path) == ("POST", HATCH):
                await self._lend(client, writer, head)
                return
            elif head.path.startswith("/glmcode/"):
                await _skip(client, writer, head)
                go_on = await self._own_route(head, writer, gate)
            elif not is_public(head.path):
                await _skip(client, writer, head)
                writer.write(answer(404, refused("not_found", f"no route {head.path}")))
                go_on = True
            elif not self.status.up:
                await _skip(client, writer, head)
                if gate and queues(head) and not self._stopping:
                    self._runner.start(asked=False)  # nobody else may be there to do so
                writer.write(answer(503, self._why_not()))
                go_on = True
            else:
                self._note(writer, head, runs)
                passing = self._desk.serve if queues(head) else self._relay
                go_on = await passing(client, writer, head)
            await writer.drain()
            if not go_on or head.closes:
                return

    def _note(self, writer: asyncio.StreamWriter, head: Head, runs: dict[str, None]) -> None:
        """Know who asks. runs: those that asked on this connection."""
        lane = read_lane(head.headers, stranger(writer))
        if lane.ours or queues(head):
            self._guests.asks(lane, peer_pid(writer), first=lane.run not in runs)
            runs[lane.run] = None
            if len(runs) > _RUNS:
                oldest = next(iter(runs))
                del runs[oldest]
                self._guests.leaves(oldest)

    async def _listen(self, client: Incoming, writer: asyncio.StreamWriter, head: Head) -> bool:
        """POST: serve elsewhere too, or no more. GET: where, for one that takes over."""
        text = await small_body(client, head)
        if head.method == "GET":
            writer.write(answer(200, self._door.to_json()))
            return True
        error = await self._door.told(text)
        writer.write(answer(400, error) if error else answer(200, self._to_json()))
        self._notify()
        return True

    async def _lend(self, client: Incoming, writer: asyncio.StreamWriter, head: Head) -> None:
        """A hatch for the commands of a run; who only keeps one open has nothing to do here."""
        self._connections.discard(cast("asyncio.Task[None]", asyncio.current_task()))
        await self._hatches.lend(client, writer, head)

    def _inside(self) -> Inside:
        return Inside(
            up=lambda: self.status.up,
            why_not=self._why_not,
            state=lambda: {name: getattr(self.status, name) for name in _FACTS},
            answer=self._desk.answer,
            relay=self._relay,
            asks=lambda lane, pid, first: self._guests.asks(lane, pid, first=first),
            leaves=self._leaves,
        )

    def _leaves(self, run: str) -> None:
        self._guests.leaves(run)
        self._desk.gone(run)

    async def _relay(self, client: Incoming, writer: asyncio.StreamWriter, head: Head) -> bool:
        """What takes none of the engine's time: lists of models, metrics, encoding of text."""
        mark = self._mark(0.0)
        return await relay(client, writer, head, self._paths.engine_socket, self._excuse, mark)

    def _begin(self, head: Head, waited: float) -> bytes:
        """A request is handed to the engine; returns its answer's mark."""
        self._runner.begin_request()
        self._served += head.path in GENERATES
        return self._mark(waited)

    def _mark(self, waited: float) -> bytes:
        engine = f"{self.status.engine_pid}-{self.status.since:.0f}"
        return EngineMark(engine, self._served, self.status.block, round(waited, 3)).line()

    async def _excuse(self) -> dict[str, object]:
        """Why vLLM did not answer: it has usually just died, and that is noticed in a moment."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2.0):
                while self.status.up or self.status.state == "stopping":
                    await self._changed.wait()
        return self._why_not()

    def _why_not(self) -> dict[str, object]:
        return why_not(self.status)

    async def _own_route(self, head: Head, writer: asyncio.StreamWriter, gate: Gate | None) -> bool:
        match head.method, head.path:
            case "GET", "/glmcode/status":
                pass
            case "POST", "/glmcode/turn-over":
                self._desk.over(head.headers.get(RUN, ""))
                writer.write(answer(200, {}))
                return True
            case "GET", "/glmcode/events":
                await self._push(writer, gate)
                return False
            case "POST", "/glmcode/start":
                if not self._stopping:
                    self._runner.start(asked="asked=1" in head.start[1])
            case "POST", "/glmcode/stop":
                self._stopping = True
                await self._runner.stop()
                self._leave.set()
            case "POST", "/glmcode/sleep" | "/glmcode/wake":
                sleep, waiting = head.path.endswith("sleep"), len(self._desk.queue.waiting)
                if fault := await self._runner.rest(sleep=sleep, waiting=waiting):
                    writer.write(answer(409, refused("rest", fault)))
                    return True
            case "POST", "/glmcode/restart" if not self._stopping:
                await self._runner.stop()
                if not self._stopping:
                    self._runner.start(asked=True)
            case _:
                writer.write(answer(404, refused("not_found", f"no route {head.path}")))
                return True
        writer.write(answer(200, self._to_json()))
        return True

    async def _push(self, writer: asyncio.StreamWriter, gate: Gate | None) -> None:
        """One line per change of state, and one every few seconds to show that we live."""
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nConnection: close\r\n\r\n"
        )
        while gate is None or not gate.closed:
            changed = self._changed
            line = json.dumps(self._to_json()).encode() + b"\n"
            writer.write(line)
            await writer.drain()
            await asyncio.sleep(len(line) / _PUSHED)  # a long one not at every change
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_HEARTBEAT_S):
                    await changed.wait()


async def _skip(client: Incoming, writer: asyncio.StreamWriter, head: Head) -> None:
    """Read the body of a request that is answered without it."""
    if expects(head):
        writer.write(CONTINUE)
    await discard(client, request_body(head))


async def _serve(paths: EnginePaths, python: str, lock: int, up: int) -> None:
    await Supervisor(paths, python, lock).run(up)


def main(argv: list[str]) -> int:
    """See the module's text. TIME: since when the engine is wanted (Unix time)."""
    words = dict(zip(argv[::2], argv[1::2], strict=False))
    paths = engine_paths(words["--profile"])
    try:
        python, asked = words.get("--python", ""), float(words.get("--asked", time.time()))
        return become(paths, asked, lambda lock, up: asyncio.run(_serve(paths, python, lock, up)))
    except PathsError as error:
        print(error, file=sys.stderr)
    except OSError as error:
        print(unusable(paths, error), file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
