"""A TCP address at which the supervisor serves besides its socket: the rig in the basement.

Only by an explicit command; until that is taken back it is opened again by each supervisor that
follows, also after a kill (door_key.py keeps what that needs, and not the key). Beyond this machine
a key is asked for, compared in constant time; whoever has it may use the engine (queue included)
and see what it does, but not stop or open anything. The key travels as it is: on a network that
is not yours put ssh or TLS in front. Must not serve by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import json
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

from glmcode.engine.crowd import quietly
from glmcode.engine.door_key import DoorKey, Remembered, WeakKey, forget, recall, remember
from glmcode.engine.lane import TURN_OVER
from glmcode.engine.wire import Head, Incoming, answer, request_body

_READABLE = ("/glmcode/status", "/glmcode/events")

KNOCKING = 64
"""Connections that have not shown a key yet; one more, and the oldest of them is closed."""
KNOCK_S = 10.0
"""Seconds for the first request's head, by one that may come in."""
REFUSED, REFUSED_S = 1 << 20, 2.0
"""Bytes and seconds of a refused request's body that are read, so that the answer is."""
_BROWSER = {"origin", "sec-fetch-site", "sec-fetch-mode"}


Accept = Callable[[asyncio.StreamReader, asyncio.StreamWriter, "Gate"], Awaitable[None]]


class DoorError(Exception):
    """It cannot be opened; one sentence with what to do."""


class Door:
    """Closed until `open`. accept: serves a connection, with the gate that each request passes.

    path: where it is remembered. opened: changes when those inside have to leave. address:
    HOST:PORT, "" while it is closed. note: a sentence about what is not as it was asked for.
    """

    def __init__(self, accept: Accept, path: Path) -> None:
        self._accept = accept
        self._path = path
        self._server: asyncio.Server | None = None
        self._key = DoorKey()
        self._knocking: list[Gate] = []
        self._missing: Remembered | None = None
        self.opened = 0
        self.address = ""
        self.note = ""

    @property
    def wanted(self) -> bool:
        """Whether it is open, or would be if it could."""
        return bool(self.address) or self._missing is not None

    async def told(self, text: bytes) -> dict[str, object] | None:
        """Do what a JSON object says: {"address", "key"} or what `to_json` gave; without an
        address it is closed, and not opened again.

        Returns an error, or None.
        """
        try:
            value = json.loads(text)
            if value.get("address"):
                host, port = parse_address(str(value["address"]))
                said = str(value.get("key", ""))
                key = DoorKey.of(said) if said else DoorKey.read(str(value.get("digest", "")))
                await self.open(host, port, key)
            else:
                self._missing, self.note = None, ""
                forget(self._path)
                await self.close()
        except (DoorError, WeakKey) as error:
            return _error("door", str(error))
        except (ValueError, AttributeError):
            return _error("bad_request", "not a JSON object")
        return None

    def to_json(self) -> dict[str, str]:
        """Where it is open (or should be) and what the key is compared with, so that another can
        take over."""
        if self._missing is not None:
            return {"address": self._missing.address, "digest": self._missing.key.told()}
        return {"address": self.address, "digest": self._key.told() if self.address else ""}

    async def reopen(self) -> None:
        """Open it where it was open when the supervisor before this one ended; `note` tells what
        is in the way, and `again` tries once more."""
        try:
            self._missing = recall(self._path)
        except (OSError, ValueError) as error:
            self.note = (
                f"it listened elsewhere as well, and where can't be read ({self._path}: {error}): "
                "glmcode engine start --listen HOST:PORT opens it again"
            )
        await self.again()

    async def again(self) -> bool:
        """Try to open what could not be opened before; whether something has changed."""
        if (missing := self._missing) is None:
            return False
        before = self.note
        try:
            await self.open(*parse_address(missing.address), missing.key)
        except DoorError as error:
            self.note = (
                f"NOT listening on {missing.address}, as it did before: {error}. It is tried "
                "again and again; glmcode engine start --listen off ends that"
            )
        return self.note != before or self._missing is None

    async def open(self, host: str, port: int, key: DoorKey) -> None:
        """Serve there from now on, and nowhere else any more. Raises DoorError."""
        if not key and not is_loopback(host):
            raise DoorError(
                f"without a key only this machine can be served (127.0.0.1), not {host}: name the "
                "variable that holds one with --api-key-env"
            )
        if self._server is None or self.address != shown(host, port):
            server = await self._bind(host, port)
            await self.close()
            self._server = server
            self.opened += 1
            self.address = shown(host, server.sockets[0].getsockname()[1])
        self._key = key  # who is connected is asked for it from now on
        self._missing, self.note = None, ""
        try:
            remember(self._path, self.address, await key.keep())
        except OSError as error:
            self.note = (
                f"it listens on {self.address}, and can't remember that after a crash: "
                f"{self._path}: {error.strerror or error}"
            )

    async def _bind(self, host: str, port: int) -> asyncio.Server:
        """Raises DoorError."""
        for trial in (1, 2):
            try:
                return await asyncio.start_server(quietly(self._knock), host, port)
            except OSError as error:
                ours = port and self.address.endswith(f":{port}")
                if trial == 1 and ours and error.errno == errno.EADDRINUSE:
                    await self.close()  # 0.0.0.0 and 127.0.0.1 can't have one port both
                    continue
                raise DoorError(f"{shown(host, port)} can't be served: {_why(error)}") from error
            except (ValueError, OverflowError, UnicodeError) as error:
                raise DoorError(f"{shown(host, port)} is no address: {error}") from error
        raise AssertionError

    async def close(self) -> None:
        """Serve there no more; what is being answered is answered to the end."""
        server, self._server, self.address = self._server, None, ""
        self.opened += 1
        if server is not None:
            server.close()

    async def _knock(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        gate = Gate(self, writer)
        _notice_dead(writer)
        self._knocking.append(gate)
        if len(self._knocking) > KNOCKING:
            self._knocking.pop(0).abort()
        try:
            await self._accept(reader, writer, gate)
        finally:
            self.passed(gate)

    def passed(self, gate: Gate) -> None:
        """A connection has shown that it may come in, or has gone."""
        if gate in self._knocking:
            self._knocking.remove(gate)

    async def refusal(self, head: Head, asks: Callable[[], bool]) -> bytes | None:
        """The answer to a request that may not pass, or None. asks: who sent it is still there."""
        if self._key:
            kind, _, said = head.headers.get("authorization", "").partition(" ")
            right = await self._key.fits(said.strip(), asks)
            if kind.lower() != "bearer" or not right:
                text = "this engine wants its key (Authorization: Bearer ..., --api-key-env)"
                return answer(401, _error("unauthorized", text), close=True)
        elif _BROWSER & head.headers.keys() or not _named_as_a_machine(head):
            text = "a page in a browser is served with a key only (--api-key-env)"
            return answer(403, _error("forbidden", text), close=True)
        own = head.path.startswith("/glmcode/") and head.path != TURN_OVER
        if own and not (head.method == "GET" and head.path in _READABLE):
            text = "from another machine an engine is used, not started, stopped or opened"
            return answer(403, _error("forbidden", text), close=True)
        return None


class Gate:
    """What one connection from afar passes. Who shows no key has little time and no memory."""

    def __init__(self, door: Door, writer: asyncio.StreamWriter) -> None:
        self._door = door
        self._writer = writer
        self._opened = door.opened
        self._known = False

    @property
    def closed(self) -> bool:
        """Whether the door is, or is elsewhere."""
        return self._opened != self._door.opened

    def abort(self) -> None:
        """Make room for another."""
        self._writer.transport.abort()

    async def head(self, client: Incoming) -> Head | None:
        """The next request that may pass; None: the connection ends, an answer is given.

        Raises WireError.
        """
        try:
            async with asyncio.timeout(None if self._known else KNOCK_S):
                head = await client.head()
        except TimeoutError:
            return None
        if head is None or self.closed:
            return None
        leaving = self._writer.transport.is_closing
        refusal = await self._door.refusal(head, lambda: not leaving())
        if refusal is None:
            self._known = True
            self._door.passed(self)
            return head
        self._writer.write(refusal)
        await drop(client, self._writer, head)
        return None


async def drop(client: Incoming, writer: asyncio.StreamWriter, head: Head) -> None:
    """Read a little of a refused request's body: one who still sends would not read the answer."""
    body, left = request_body(head), REFUSED
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(REFUSED_S):
            await writer.drain()
            while not body.done and left > 0 and (data := await client.some()):
                left -= len(data)
                body.feed(data)


def _notice_dead(writer: asyncio.StreamWriter) -> None:
    """A machine that was switched off does not keep its connection for ever."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4)):
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _why(error: OSError) -> str:
    number = error.errno or 0  # below 0: of names
    return os.strerror(number).lower() if number > 0 else str(error.strerror or error)


def _named_as_a_machine(head: Head) -> bool:
    """Whether the address that was asked for is one of a machine, not a name that somebody may have
    pointed at this one: a browser tells the page's own name."""
    host = head.headers.get("host", "")
    name = host.partition("]")[0].removeprefix("[") if host[:1] == "[" else host.partition(":")[0]
    if name.lower() in ("", "localhost"):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def parse_address(text: str) -> tuple[str, int]:
    """`HOST:PORT`, `[HOST]:PORT` or `:PORT` of this machine. Raises DoorError."""
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") or "127.0.0.1"
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65_535:
        raise DoorError(f"{text!r} is no address: HOST:PORT, such as 127.0.0.1:8001")
    return host, int(port)


def shown(host: str, port: int) -> str:
    """HOST:PORT."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _error(kind: str, message: str) -> dict[str, object]:
    return {"error": {"type": kind, "message": message, "log": []}}
