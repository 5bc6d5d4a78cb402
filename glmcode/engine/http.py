"""HTTP/1.1 to one server, over TCP, TLS or a Unix socket: the transport of `tokens`.

Written on asyncio and h11 (the parser under httpx), because a launch must reach its first
request in 0.4 s (httpx alone takes 0.1 s to import), because a dead idle connection must be
replaced without a trace, and because closing a stream must reach the engine at once.
There is no timeout on an answer, only on connecting; TCP keepalive notices a dead peer.
Must not retry what a server may have seen, follow redirects, or know what a body means.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

import h11

from glmcode.engine.chunks import read_together
from glmcode.engine.endpoint import Address

CONNECT_S = 10.0
DRAIN_S = 2.0
REFUSAL_S = 10.0
REFUSAL_SIZE = 262_144
READ_SIZE = 65_536
MAX_HEAD = 131_072
SMALL_PART = 65_536
"""Parts of a body below this are joined before they are written, larger ones never copied."""

Body: TypeAlias = Sequence[bytes]
"""A request's body as parts that follow each other; none: there is no body."""

Told: TypeAlias = Callable[[Mapping[str, str]], None]
"""Takes the headers of an interim response; must not raise."""


class TransportError(Exception):
    """The network failed. reached: a connection stood; got_bytes: some answer had come."""

    def __init__(self, text: str, *, reached: bool = False, got_bytes: bool = False) -> None:
        super().__init__(text)
        self.reached = reached
        self.got_bytes = got_bytes


class Response(Protocol):
    """An answer whose head has arrived. Exactly one of release and abort must be called."""

    @property
    def status(self) -> int:
        """The HTTP status."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """The answer's headers, names in lower case."""
        ...

    async def read(self) -> bytes:
        """The next piece of the body; b"" at its proper end. Raises TransportError."""
        ...

    def release(self) -> None:
        """The body was read as far as it matters: the connection may serve again."""
        ...

    def abort(self) -> None:
        """Close the connection now: whatever the server does for it must stop."""
        ...


class Transport(Protocol):
    """Requests to one address."""

    async def open(
        self,
        method: str,
        path: str,
        body: Body,
        *,
        connect_s: float = CONNECT_S,
        extra: Mapping[str, str] | None = None,
        told: Told | None = None,
    ) -> Response:
        """Send and wait for the head of the answer. Raises TransportError.

        extra: headers of this request alone, in place of those of the same name. told: gets
        interim responses, where the transport sees them.
        """
        ...

    async def close(self) -> None:
        """Close all connections."""
        ...


class HttpTransport:
    """The transport described above; keeps connections that finished an answer."""

    def __init__(self, address: Address, headers: Mapping[str, str]) -> None:
        read_together()
        self._address = address
        self._headers = [("host", address.authority), ("accept-encoding", "identity")]
        self._headers += list(headers.items())
        self._idle: list[_Connection] = []
        self._drains: set[asyncio.Task[None]] = set()

    async def open(
        self,
        method: str,
        path: str,
        body: Body,
        *,
        connect_s: float = CONNECT_S,
        extra: Mapping[str, str] | None = None,
        told: Told | None = None,
    ) -> Response:
        """See Transport. A kept connection that proves dead is replaced once, silently."""
        own = extra or {}
        headers = [pair for pair in self._headers if pair[0] not in own]
        headers += own.items()
        if body:
            headers += [
                ("content-type", "application/json"),
                ("content-length", str(sum(map(len, body)))),
            ]
        request = h11.Request(method=method, target=path, headers=headers)
        while True:
            connection = self._take_idle()
            kept = connection is not None
            if connection is None:
                connection = await _connect(self._address, connect_s)
            try:
                head = await connection.ask(request, body, told)
            except TransportError as error:
                connection.abort()
                if not kept or error.got_bytes:
                    raise
                self._drop_idle()
            except BaseException:
                connection.abort()
                raise
            else:
                return _Answer(self, connection, head)

    async def close(self) -> None:
        """See Transport."""
        for task in self._drains:
            task.cancel()
        self._drop_idle()

    def keep(self, connection: _Connection) -> None:
        """Take back a connection after an answer: for reuse, or to be closed."""
        if connection.ready_again():
            self._idle.append(connection)
        else:
            connection.abort()

    def drain(self, answer: _Answer) -> None:
        """Read the unneeded rest of an answer beside other work, then keep the connection."""
        task = asyncio.ensure_future(_drain(answer))
        self._drains.add(task)
        task.add_done_callback(self._drains.discard)

    def _take_idle(self) -> _Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.alive():
                return connection
            connection.abort()
        return None

    def _drop_idle(self) -> None:
        while self._idle:
            self._idle.pop().abort()


class _Connection:
    """One socket and the HTTP state on it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._transport: Any = writer.transport
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD)
        self._got_bytes = False

    async def ask(self, request: h11.Request, body: Body, told: Told | None) -> h11.Response:
        self._got_bytes = False
        data = self._http.send(request) or b""
        for part in body:
            self._http.send_with_data_passthrough(h11.Data(data=part))
            if len(part) < SMALL_PART:
                data += part
                continue
            self._writer.write(data)
            self._writer.write(part)
            data = b""
        self._http.send(h11.EndOfMessage())
        self._writer.write(data)
        while True:
            event = await self.next_event()
            if isinstance(event, h11.Response):
                return event
            if not isinstance(event, h11.InformationalResponse):
                raise self._error("closed the connection without an answer")
            if told is not None:
                told(_words(event))

    async def next_event(self) -> Any:
        """The next h11 event; reads as needed."""
        while (event := self.event_at_hand()) is h11.NEED_DATA:
            self._transport.resume_reading()
            try:
                data = await self._reader.read(READ_SIZE)
            except OSError as error:
                raise self._error(f"broke the connection ({os_words(error)})") from error
            self._transport.pause_reading()  # what comes meanwhile wakes nobody
            self._got_bytes = self._got_bytes or bool(data)
            self._http.receive_data(data)
        return event

    def event_at_hand(self) -> Any:
        """The next h11 event of what has come; NEED_DATA where there is none."""
        try:
            return self._http.next_event()
        except h11.RemoteProtocolError as error:
            what = "sent something that is not HTTP" if self._odd(error) else "ended too early"
            raise self._error(what if self._got_bytes else "closed the connection") from error

    def _odd(self, error: h11.RemoteProtocolError) -> bool:
        """Whether bytes were wrong; the other errors are an end that came too early."""
        return not re.search("closed connection|ConnectionClosed", str(error))

    def _error(self, what: str) -> TransportError:
        return TransportError(f"the server {what}", reached=True, got_bytes=self._got_bytes)

    def alive(self) -> bool:
        return not (self._reader.at_eof() or self._writer.transport.is_closing())

    def ready_again(self) -> bool:
        if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
            return False
        self._http.start_next_cycle()
        self._transport.resume_reading()  # so that its end is noticed
        return self.alive()

    def abort(self) -> None:
        self._writer.transport.abort()


class _Answer:
    """Response over a _Connection."""

    def __init__(
        self, transport: HttpTransport, connection: _Connection, head: h11.Response
    ) -> None:
        self._transport = transport
        self._connection = connection
        self._ended = False
        self._broken: TransportError | None = None
        self.status = head.status_code
        self.headers = _words(head)

    async def read(self) -> bytes:
        if self._ended:
            return b""
        if self._broken is not None:
            raise self._broken
        event = await self._connection.next_event()
        pieces: list[bytes] = []
        try:
            while isinstance(event, h11.Data):
                pieces.append(bytes(event.data))
                event = self._connection.event_at_hand()
        except TransportError as error:  # what came before it counts
            self._broken = error
            return b"".join(pieces)
        self._ended = event is not h11.NEED_DATA
        return b"".join(pieces)

    def release(self) -> None:
        if self._ended:
            self._transport.keep(self._connection)
        else:
            self._transport.drain(self)

    def abort(self) -> None:
        self._connection.abort()


def _words(head: h11.Response | h11.InformationalResponse) -> dict[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers}


async def _drain(answer: _Answer) -> None:
    try:
        async with asyncio.timeout(DRAIN_S):
            while await answer.read():
                pass
    except (TransportError, TimeoutError):
        answer.abort()
    except asyncio.CancelledError:
        answer.abort()
        raise
    else:
        answer.release()


async def _connect(address: Address, connect_s: float) -> _Connection:
    try:
        async with asyncio.timeout(connect_s):
            if address.socket is not None:
                reader, writer = await asyncio.open_unix_connection(str(address.socket))
            else:
                reader, writer = await asyncio.open_connection(
                    address.host,
                    address.port,
                    ssl=ssl.create_default_context() if address.tls else None,
                    happy_eyeballs_delay=0.25,
                )
                keep_watch(writer.get_extra_info("socket"))
    except TimeoutError as error:
        raise TransportError(f"no connection within {connect_s:.0f} s") from error
    except OSError as error:
        raise TransportError(os_words(error)) from error
    except ValueError as error:
        raise TransportError(f"the address cannot be used: {error}") from error
    return _Connection(reader, writer)


def keep_watch(sock: socket.socket) -> None:
    """Let the kernel ask a silent TCP peer for signs of life: dead after about two minutes."""
    options = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 4}
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in options.items():
            if hasattr(socket, name):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


async def read_refusal(read: Callable[[], Awaitable[bytes]]) -> bytes:
    """What can be had of an error's body, without waiting long or taking all of it."""
    data = b""
    try:
        async with asyncio.timeout(REFUSAL_S):
            while len(data) < REFUSAL_SIZE and (piece := await read()):
                data += piece
    except (TransportError, TimeoutError):
        return data
    return data


def os_words(error: OSError) -> str:
    """A network error in words that name no internals."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its TLS certificate is not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {error.reason or error}"
    if isinstance(error, socket.gaierror):
        return f"the host name cannot be resolved: {error.strerror}"
    if f"[Errno {errno.ECONNREFUSED}]" in str(error):
        return "connection refused"
    return os.strerror(error.errno) if error.errno else str(error) or type(error).__name__
