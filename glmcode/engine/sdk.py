"""HTTP through the `openai` SDK's client: the transport of `chat`.

The SDK brings what strangers' servers need: proxies and certificates of the environment,
its headers. Its stream is read as bytes, because building its objects costs more per step
than all of ours; its retries are off, because ours are shown and know about cuts; refusals
are read in a hook, because the SDK would wait for an error's body without end. Importing it
takes 0.5 s, which begins in a thread as soon as a client is wanted. Must be imported only
where `chat` is used, and nothing of the SDK may leave this module.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any

from glmcode.core.model import ModelError
from glmcode.engine.chunks import read_together
from glmcode.engine.endpoint import Address
from glmcode.engine.http import (
    CONNECT_S,
    DRAIN_S,
    Body,
    Response,
    Told,
    TransportError,
    keep_watch,
    os_words,
    read_refusal,
)

_OURS = frozenset({"authorization", "content-type", "accept", "host", "content-length"})


class _Refused(Exception):
    """An answer whose status is no success, with what could be read of its body."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        super().__init__(f"status {status}")
        self.status = status
        self.headers = headers
        self.body = body


class SdkTransport:
    """http.Transport over openai.AsyncOpenAI."""

    def __init__(self, address: Address, api_key: str | None, headers: Mapping[str, str]) -> None:
        self._address = address
        self._api_key = api_key
        self._headers = {"Content-Type": "application/json", **headers}
        self._unwanted = ["OpenAI-Organization", "OpenAI-Project"]
        self._unwanted += [] if api_key else ["Authorization"]
        self._unwanted += [name for name in _foreign_headers() if name.lower() not in _OURS]
        self._loading = asyncio.ensure_future(asyncio.to_thread(self._load))
        self._tasks: set[asyncio.Task[None]] = set()
        self._kept = False

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
        """See http.Transport. A kept connection that proves dead is replaced once, silently.

        The SDK shows no interim responses: `told` is never called.
        """
        try:
            sdk, client, library = await asyncio.shield(self._loading)
        except ImportError as error:
            text = f"the openai package, which `chat` goes through, cannot be loaded: {error}"
            raise ModelError(f"{text}. Install glmcode again") from error
        options: Any = {
            "timeout": sdk.Timeout(None, connect=connect_s),
            "follow_redirects": False,
            "headers": {
                **self._headers,
                **(extra or {}),
                **{name: sdk.Omit() for name in self._unwanted},
            },
        }
        ask = client.post if method == "POST" else client.get
        content = {"content": b"".join(body)} if body else {}
        while True:
            try:
                stream = await ask(
                    path,
                    cast_to=object,
                    stream=True,
                    stream_cls=sdk.AsyncStream[object],
                    options=options,
                    **content,
                )
            except (_Refused, sdk.APIConnectionError, library.HTTPError) as error:
                causes = _causes(error)  # older SDKs wrap what a hook raises
                refused = next((one for one in causes if isinstance(one, _Refused)), None)
                if refused is not None:
                    return _Refusal(refused)
                if not (self._kept and _is_stale(causes)):
                    raise TransportError(_words(error, connect_s)) from error
                self._kept = False
            else:
                return _Answer(self, stream.response, library)

    async def close(self) -> None:
        """See http.Transport."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if not self._loading.done():
            self._loading.cancel()
        elif not self._loading.cancelled() and self._loading.exception() is None:
            await self._loading.result()[1].close()

    def later(self, work: Any) -> None:
        """Run a coroutine beside other work, until `close`."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def kept(self) -> None:
        """An answer was read to its end, so its connection may be used again."""
        self._kept = True

    def _load(self) -> tuple[Any, Any, Any]:
        """The SDK, a client, and the HTTP library under it (httpx, or httpx2 from 3.0 on)."""
        with _light_import():
            import openai
        read_together()
        _silence()
        hooks: Any = {"response": [_on_response]}
        options: Any = {"verify": self._trust(), "trust_env": not self._is_here()}
        kind = openai.DefaultAsyncHttpxClient
        name = next(c.__module__ for c in kind.__mro__ if c.__name__ == "AsyncClient")
        library = import_module(name.partition(".")[0])
        try:
            http = kind(event_hooks=hooks, **options)
        except (ValueError, ImportError, library.InvalidURL) as error:
            text = f"the proxy that the environment names cannot be used: {error}"
            raise ModelError(f"{text}. Check http_proxy, https_proxy and all_proxy") from error
        client = openai.AsyncOpenAI(
            api_key=self._api_key or "none",
            base_url=f"{self._address.origin}/",
            max_retries=0,
            http_client=http,
        )
        return openai, client, library

    def _trust(self) -> ssl.SSLContext | bool:
        """Certificates to load: for plain http none at all, which saves 0.1 s of the launch."""
        from urllib.request import getproxies

        if self._is_here() and self._address.tls:
            return ssl.create_default_context()  # as SSL_CERT_FILE says
        plain = not self._address.tls and (self._is_here() or not getproxies())
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if plain else True

    def _is_here(self) -> bool:
        """Whether the server is this machine, which no proxy can reach for us."""
        host = self._address.host.lower().strip("[]")
        return (
            host in ("localhost", "::1") or host.startswith("127.") or host.endswith(".localhost")
        )


def _foreign_headers() -> list[str]:
    """Headers that the SDK would take from the environment, where they are meant for OpenAI."""
    given = os.environ.get("OPENAI_CUSTOM_HEADERS", "").splitlines()
    return [line.partition(":")[0].strip() for line in given if ":" in line]


def _silence() -> None:
    """The SDK and its HTTP library log requests to stderr where OPENAI_LOG asks for it."""
    for name in ("openai", "httpx", "httpx2", "httpcore", "httpcore2"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


@contextlib.contextmanager
def _light_import() -> Iterator[None]:
    """Spare a fifth of the SDK's import: no garbage collection while a thousand modules are
    made, and no aiohttp, which the SDK would load (0.1 s) wherever it happens to lie."""
    collecting = gc.isenabled()
    hidden = sys.modules.setdefault("aiohttp", None)  # type: ignore[arg-type]
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()
        if hidden is None:
            sys.modules.pop("aiohttp", None)


async def _on_response(response: Any) -> None:
    """The HTTP client's hook: runs when the head of an answer is there."""
    stream = response.extensions.get("network_stream")
    sock = stream.get_extra_info("socket") if stream is not None else None
    if isinstance(sock, socket.socket) and sock.family != socket.AF_UNIX:
        keep_watch(sock)
    if not response.is_success:
        body = await read_refusal(_Pieces(response.aiter_bytes()).read)
        raise _Refused(response.status_code, response.headers, body)


class _Pieces:
    def __init__(self, pieces: AsyncIterator[bytes]) -> None:
        self._pieces = pieces

    async def read(self) -> bytes:
        async for piece in self._pieces:
            if piece:
                return piece
        return b""


class _Answer:
    """http.Response over an open answer of the SDK's HTTP client."""

    def __init__(self, transport: SdkTransport, response: Any, library: Any) -> None:
        self.status: int = response.status_code
        self.headers: Mapping[str, str] = response.headers
        self._transport = transport
        self._response = response
        self._library = library
        self._pieces = _Pieces(response.aiter_bytes())
        self._ended = False

    async def read(self) -> bytes:
        if self._ended:
            return b""
        try:
            piece = await self._pieces.read()
        except (self._library.HTTPError, self._library.StreamError) as error:
            raise TransportError(_words(error, 0), reached=True, got_bytes=True) from error
        self._ended = not piece
        return piece

    def release(self) -> None:
        if self._ended:
            self._transport.kept()
        else:
            self._transport.later(self._drain())

    def abort(self) -> None:
        self._transport.later(self._response.aclose())

    async def _drain(self) -> None:
        try:
            async with asyncio.timeout(DRAIN_S):
                while await self.read():
                    pass
        except (TransportError, TimeoutError):
            await self._response.aclose()
        else:
            self._transport.kept()


class _Refusal:
    """http.Response of an answer that was read whole by the hook."""

    def __init__(self, refused: _Refused) -> None:
        self.status = refused.status
        self.headers = refused.headers
        self._body = refused.body

    async def read(self) -> bytes:
        body, self._body = self._body, b""
        return body

    def release(self) -> None: ...

    def abort(self) -> None: ...


def _causes(error: BaseException) -> list[BaseException]:
    """The error, what it came from, and the members of groups, nearest first."""
    found: list[BaseException] = []
    queue: list[BaseException | None] = [error]
    while queue:
        one = queue.pop(0)
        if one is not None and one not in found:
            found.append(one)
            queue += [one.__cause__, one.__context__]
            queue += list(one.exceptions) if isinstance(one, BaseExceptionGroup) else []
    return found


def _is_stale(causes: Sequence[BaseException]) -> bool:
    names = {type(one).__name__ for one in causes}
    return bool(names & {"RemoteProtocolError", "ReadError", "WriteError"})


def _words(error: BaseException, connect_s: float) -> str:
    causes = _causes(error)
    if any(type(one).__name__ == "ConnectTimeout" for one in causes):
        return f"no connection within {connect_s:.0f} s"
    known = [one for one in causes if isinstance(one, OSError)]
    named = (ConnectionRefusedError, socket.gaierror, ssl.SSLError)
    for one in sorted(known, key=lambda one: not isinstance(one, named)):
        return os_words(one)
    library = next((one for one in causes if type(one).__module__.startswith("httpx")), error)
    return str(library) or type(library).__name__
