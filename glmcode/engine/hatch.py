"""A socket for what one run's sandboxed commands may ask of its engine: answers, nothing else.

The agent's own `git commit` runs a hook that asks the engine, from inside a sandbox that hides the
supervisor's socket, because whoever reaches that one can start programs. So a front end asks for a
hatch: a socket that only its sandbox shows. Which hatch a request comes through says whose command
asks; there is no name or key in it that another could claim. It closes with the connection of the
front end that asked for it, and takes what goes through it along. What is on the other side may be
hostile: few connections and requests at once, little memory and time for each, no new names without
end, and never before the run itself (queue.py). Must not serve anything that rules the engine or
tells of others.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import secrets
import socket
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glmcode.engine.door import drop
from glmcode.engine.guests import peer_pid, stranger
from glmcode.engine.lane import TOKENS, Lane, inside, read_lane, read_tokens
from glmcode.engine.mark import GENERATES
from glmcode.engine.plain import NotPlain, plain_body
from glmcode.engine.refusal import refused
from glmcode.engine.wire import (
    CONTINUE,
    Head,
    Incoming,
    Sized,
    WireError,
    answer,
    expects,
    parse_head,
    request_body,
    small_body,
)

ROUTE = "/glmcode/hatch"
MOST = 64
"""Hatches of one supervisor."""
VISITS, AT_ONCE = 32, 8
"""Connections of a hatch, and requests whose body is taken or that are in the queue."""
LARGEST = 4 << 20
"""Bytes of a body; ids of 200,000 tokens take 1.4 million."""
HEAD_S, IDLE_S, BODY_S, UNREAD_S = 10.0, 60.0, 30.0, 10.0
"""Seconds for the first head, the next one, a body, and for reading the end of an answer."""
ACCEPT_S, PAUSE_S, READ_RATE = 0.005, 0.05, 8 << 20
"""What one hatch may cost this process: seconds between two connections, seconds after an answer
that took none of the engine's time, bytes of bodies read in a second."""
NAMES = 16
_READS = ("/v1/models", "/metrics")
_FILE = re.compile("h[0-9a-f]{14}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Inside:
    """What a hatch leads to.

    up: whether the engine answers; why_not: why it does not; state: what a client needs to know of
    it. answer: one whole request in the queue; relay: one that takes none of the engine's time;
    both return whether the connection goes on. asks: who asks (their lane, process, whether first
    on this connection); leaves: their connection has closed.
    """

    up: Callable[[], bool]
    why_not: Callable[[], Mapping[str, Any]]
    state: Callable[[], Mapping[str, Any]]
    answer: Callable[[Incoming, asyncio.StreamWriter, Head, bytes, Lane], Awaitable[bool]]
    relay: Callable[[Incoming, asyncio.StreamWriter, Head], Awaitable[bool]]
    asks: Callable[[Lane, int, bool], None]
    leaves: Callable[[str], None]


class Hatches:
    """All hatches of a supervisor. folder: where their sockets lie."""

    def __init__(self, folder: Path, within: Inside) -> None:
        self._folder = folder
        self._within = within
        self._leases: set[asyncio.Task[Any]] = set()

    def sweep(self) -> None:
        """Remove the sockets of a supervisor that was killed."""
        with contextlib.suppress(OSError):
            for path in self._folder.iterdir():
                if _FILE.fullmatch(path.name):
                    path.unlink(missing_ok=True)

    async def lend(self, client: Incoming, writer: asyncio.StreamWriter, head: Head) -> None:
        """Open a hatch for the run that asks, and keep it open while its connection lasts."""
        parent = read_lane(head.headers, stranger(writer))
        facts = await _facts(client, head)
        if facts is None or not parent.ours:
            writer.write(
                answer(400, refused("bad_request", "no run, or no JSON object"), close=True)
            )
            return
        if len(self._leases) >= MOST:
            text = f"{MOST} runs let their commands ask already"
            writer.write(answer(429, refused("busy", text), close=True))
            return
        task = asyncio.current_task()
        assert task is not None
        self._leases.add(task)
        hatch = _Hatch(self._folder / f"h{secrets.token_hex(7)}", parent, facts, self._within)
        try:
            hatch.open()
            head_line = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n"
            line = json.dumps({"socket": str(hatch.path)}).encode()
            writer.write(head_line + b"Connection: close\r\n\r\n" + line + b"\n")
            while await client.some():
                pass
        except OSError as error:
            text = f"{hatch.path}: {error.strerror or error}"
            writer.write(answer(503, refused("hatch", text), close=True))
        finally:
            hatch.close()
            self._leases.discard(task)

    async def close(self) -> None:
        """End all of them."""
        for task in self._leases:
            task.cancel()
        if self._leases:
            await asyncio.wait(self._leases, timeout=2.0)


class _Hatch:
    """One socket, and who is there. parent: the run whose commands ask."""

    def __init__(self, path: Path, parent: Lane, facts: object, within: Inside) -> None:
        self.path = path
        self.within = within
        self.places = asyncio.Semaphore(AT_ONCE)
        self._parent = parent
        self._facts = facts
        self._reading = asyncio.Lock()
        self._names: OrderedDict[str, str] = OrderedDict()
        self._visits: dict[asyncio.Task[None], _Visit] = {}
        self._socket = socket.socket(socket.AF_UNIX)

    def open(self) -> None:
        """Serve from now on. Raises OSError."""
        self._socket.bind(str(self.path))
        self.path.chmod(0o600)
        self._socket.listen(16)
        self._socket.setblocking(False)
        self._accepting = asyncio.ensure_future(self._accept())

    def close(self) -> None:
        """End whatever goes through it."""
        self._socket.close()
        self.path.unlink(missing_ok=True)
        if hasattr(self, "_accepting"):
            self._accepting.cancel()
        for task in self._visits:
            task.cancel()

    async def _accept(self) -> None:
        """One after the other, with a pause: who only knocks must not keep this process busy."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(self._socket)
            except OSError:
                await asyncio.sleep(PAUSE_S)
                continue
            self._admit(connection)
            await asyncio.sleep(ACCEPT_S)

    def _admit(self, connection: socket.socket) -> None:
        """Those who ask for nothing make room."""
        if len(self._visits) >= VISITS:
            idle = next((task for task, visit in self._visits.items() if not visit.busy), None)
            if idle is None:
                connection.close()
                return
            idle.cancel()
            del self._visits[idle]
        visit = _Visit(self)
        task = asyncio.ensure_future(visit.run(connection))
        self._visits[task] = visit
        task.add_done_callback(lambda done: self._visits.pop(done, None))

    def told(self) -> dict[str, Any]:
        """What a nested run must know to ask."""
        return {**self.within.state(), "facts": self._facts}

    def lane(self, head: Head, writer: asyncio.StreamWriter) -> Lane:
        """Who asks. Its names are ours, and few: a new one would be a new place in the queue."""
        given = read_lane(head.headers, stranger(writer))
        above = [self._names[name] for name in given.parents if name in self._names]
        return inside(given, self._parent, self._name(given.run), above)

    def _name(self, given: str) -> str:
        known = self._names.pop(given, None)
        if known is None and len(self._names) >= NAMES:
            _, known = self._names.popitem(last=False)
        self._names[given] = known or f"{self._parent.run[:64]}.{len(self._names)}"
        return self._names[given]

    async def plain(self, path: str, body: bytes) -> bytes:
        """See plain_body; not more of it in a second than READ_RATE."""
        await self._reading.acquire()
        after = len(body) / READ_RATE
        asyncio.get_running_loop().call_later(after, self._reading.release)
        return plain_body(path, body)


class _Visit:
    """One connection. busy: what it asked is being taken or answered."""

    def __init__(self, hatch: _Hatch) -> None:
        self.busy = False
        self._hatch = hatch
        self._within = hatch.within
        self._runs: set[str] = set()

    async def run(self, connection: socket.socket) -> None:
        reader, self._writer = await asyncio.open_connection(sock=connection)
        self._client = Incoming(reader)
        try:
            wait_s = HEAD_S
            while await self._one(wait_s):
                wait_s = IDLE_S
        except WireError as error:
            self._writer.write(answer(400, refused("bad_request", str(error)), close=True))
        except (ConnectionError, TimeoutError):
            pass
        except asyncio.CancelledError:
            self._writer.transport.abort()
            raise
        finally:
            for run in self._runs:
                self._within.leaves(run)
            self._writer.close()

    async def _one(self, wait_s: float) -> bool:
        """One request and its answer; whether the connection goes on. Raises TimeoutError."""
        async with asyncio.timeout(wait_s):
            head = await self._client.head()
        if head is None:
            return False
        self.busy = True
        try:
            go_on = await self._answer(head)
            self._writer.transport.set_write_buffer_limits(high=1 << 16)
            async with asyncio.timeout(UNREAD_S):
                await self._writer.drain()
            return go_on and not head.closes
        finally:
            self.busy = False

    async def _answer(self, head: Head) -> bool:
        if head.method == "POST" and head.path in GENERATES and head.path == head.start[1]:
            return await self._generate(head)
        nothing = request_body(head).done
        try:
            if head.method == "GET" and nothing and head.start[1] == ROUTE:
                self._writer.write(answer(200, self._hatch.told()))
                return True
            if head.method == "GET" and nothing and head.start[1] in _READS:
                if not self._within.up():
                    return self._say(503, self._within.why_not())
                text = f"GET {head.path} HTTP/1.1\r\nHost: engine\r\n\r\n"
                return await self._within.relay(
                    self._client, self._writer, parse_head(text.encode())
                )
            text = "from inside a sandbox the model is asked, and nothing else"
            return await self._refuse(head, 403, "forbidden", text)
        finally:
            await asyncio.sleep(PAUSE_S)

    async def _generate(self, head: Head) -> bool:
        lane = self._hatch.lane(head, self._writer)
        try:
            async with asyncio.timeout(lane.wait_s):
                await self._hatch.places.acquire()
        except TimeoutError:
            text = f"{AT_ONCE} requests of commands of this run wait already"
            return await self._refuse(head, 503, "queue_busy", text)
        try:
            async with asyncio.timeout(BODY_S):
                body = await self._body(head)
            if body is None:
                return False
            plain = await self._hatch.plain(head.path, body)
            if not self._within.up():
                await asyncio.sleep(PAUSE_S)
                return self._say(503, self._within.why_not())
            self._within.asks(lane, peer_pid(self._writer), lane.run not in self._runs)
            self._runs.add(lane.run)
            fresh = _fresh(head, len(plain))
            whole = fresh.raw + plain
            return await self._within.answer(self._client, self._writer, fresh, whole, lane)
        except NotPlain as error:
            await asyncio.sleep(PAUSE_S)
            return self._say(400, refused("bad_request", str(error)))
        finally:
            self._hatch.places.release()

    async def _body(self, head: Head) -> bytes | None:
        """All of it; None: the client left, or was refused."""
        body = request_body(head)
        if not isinstance(body, Sized) or body.left > LARGEST:
            text = f"a body must say its length, at most {LARGEST >> 20} MiB"
            await self._refuse(head, 413, "too_large", text)
            return None
        if expects(head):
            self._writer.write(CONTINUE)
        pieces = []
        while not body.done:
            data = await self._client.some()
            if not data:
                return None
            taken = body.feed(data)
            self._client.put_back(data[taken:])
            pieces.append(data[:taken])
        return b"".join(pieces)

    async def _refuse(self, head: Head, code: int, kind: str, text: str) -> bool:
        """An answer that can be read although the body was not: a little of it is."""
        self._writer.write(answer(code, refused(kind, text), close=True))
        await drop(self._client, self._writer, head)
        return False

    def _say(self, code: int, value: Mapping[str, Any]) -> bool:
        self._writer.write(answer(code, value))
        return True


async def _facts(client: Incoming, head: Head) -> dict[str, Any] | None:
    try:
        value = json.loads(await small_body(client, head))
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _fresh(head: Head, length: int) -> Head:
    """A head that says what ours would say, and nothing of the client's."""
    lines = [
        f"POST {head.path} HTTP/1.1",
        "host: engine",
        "content-type: application/json",
        f"content-length: {length}",
        f"{TOKENS}: {read_tokens(head.headers)}",
    ]
    return parse_head("\r\n".join([*lines, "", ""]).encode())
