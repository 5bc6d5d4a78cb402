"""A TCP address at which the supervisor serves besides its socket: the rig in the basement.

Only by an explicit command, never on its own. Beyond this machine a key is asked for, compared in
constant time and kept in memory only; whoever has it may use the engine (queue included) and see
what it does, but not start, stop or open anything. The key travels as it is: on a network that is
not yours put ssh or TLS in front. Must not serve by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import ipaddress
import json
import socket
from collections.abc import Awaitable, Callable

from glmcode.engine.wire import Head, Incoming, answer, request_body

SHORTEST_KEY = 16
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
    """Closed until `open`. accept: serves a connection, with the gate that each request passes."""

    def __init__(self, accept: Accept) -> None:
        self._accept = accept
        self._server: asyncio.Server | None = None
        self._key = b""
        self._knocking: list[Gate] = []
        self.opened = 0
        self.address = ""

    async def told(self, text: bytes) -> dict[str, object] | None:
        """Do what a JSON object says: {"address", "key"} or what `to_json` gave; without an
        address it is closed.

        Returns an error, or None.
        """
        try:
            value = json.loads(text)
            if value.get("address"):
                host, port = parse_address(str(value["address"]))
                digest = bytes.fromhex(str(value.get("digest", "")))
                await self.open(host, port, str(value.get("key", "")), digest)
            else:
                await self.close()
        except DoorError as error:
            return _error("door", str(error))
        except (ValueError, AttributeError):
            return _error("bad_request", "not a JSON object")
        return None

    def to_json(self) -> dict[str, str]:
        """Where it is open and what the key is compared with, so that another can take over."""
        return {"address": self.address, "digest": self._key.hex() if self.address else ""}

    async def open(self, host: str, port: int, key: str, digest: bytes = b"") -> None:
        """Serve there from now on, and nowhere else any more. Raises DoorError.

        digest: of the key, where the key itself is not known.
        """
        if not (key or digest) and not is_loopback(host):
            raise DoorError(
                f"without a key only this machine can be served (127.0.0.1), not {host}: name the "
                "variable that holds one with --api-key-env"
            )
        if key and (len(key) < SHORTEST_KEY or not key.isascii() or not key.isprintable()):
            raise DoorError(f"the key is too weak: {SHORTEST_KEY} ASCII characters at least")
        key_digest = _digest(key) if key else digest
        if self._server is not None and self.address == _shown(host, port):
            self._key = key_digest  # who is connected is asked for it from now on
            return
        try:
            server = await asyncio.start_server(self._knock, host, port)
        except OSError as error:
            raise DoorError(f"{host}:{port} can't be served: {error.strerror or error}") from error
        except (ValueError, OverflowError, UnicodeError) as error:
            raise DoorError(f"{host}:{port} is no address: {error}") from error
        await self.close()
        self._server, self._key = server, key_digest
        self.opened += 1
        self.address = _shown(host, server.sockets[0].getsockname()[1])

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

    def refusal(self, head: Head) -> bytes | None:
        """The answer to a request that may not pass, or None."""
        if self._key:
            kind, _, said = head.headers.get("authorization", "").partition(" ")
            right = hmac.compare_digest(_digest(said.strip()), self._key)
            if kind.lower() != "bearer" or not right:
                text = "this engine wants its key (Authorization: Bearer ..., --api-key-env)"
                return answer(401, _error("unauthorized", text), close=True)
        elif _BROWSER & head.headers.keys():
            text = "a page in a browser is served with a key only (--api-key-env)"
            return answer(403, _error("forbidden", text), close=True)
        own = head.path.startswith("/glmcode/")
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
        if head is None or self._opened != self._door.opened:  # closed meanwhile, or elsewhere
            return None
        refusal = self._door.refusal(head)
        if refusal is None:
            self._known = True
            self._door.passed(self)
            return head
        self._writer.write(refusal)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(REFUSED_S):  # one who still sends would not read it
                await self._writer.drain()
                await _drop(client, head)
        return None


async def _drop(client: Incoming, head: Head) -> None:
    body, left = request_body(head), REFUSED
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


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def _shown(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _error(kind: str, message: str) -> dict[str, object]:
    return {"error": {"type": kind, "message": message, "log": []}}
