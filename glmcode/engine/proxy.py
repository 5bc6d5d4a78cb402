"""The relay between a front end and vLLM: bodies pass as they came, both ways at once.

Why a relay at all: it knows when a front end is gone, and then closes vLLM's side at once,
which makes vLLM stop computing; and it can say why there is no answer. It holds at most a
few blocks per connection: a slow reader slows the writer down. An answer's head gets one
header more (mark.py). Must not change a message otherwise, keep one, or know what it is about.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

from glmcode.engine.wire import (
    BLOCK,
    Body,
    Endless,
    Head,
    Incoming,
    WireError,
    answer,
    request_body,
    response_body,
)

Outcome: TypeAlias = Literal["done", "closed", "cut", "silent"]
"""How the response went: complete; complete and the connection ends; broken off in the
middle; nothing at all came."""

Excuse: TypeAlias = Callable[[], Awaitable[Mapping[str, Any]]]
"""Says as a JSON object why vLLM gave no answer."""

_INFERENCE = ("/v1/", "/inference/v1/")
_EXACT = ("/tokenize", "/detokenize", "/metrics", "/health", "/version", "/ping", "/load")


def is_public(path: str) -> bool:
    """Whether a route of vLLM is open to front ends; its development routes are not."""
    plain = not any(trick in path for trick in ("..", "//", "%", "\\"))
    return plain and (path in _EXACT or path.startswith(_INFERENCE))


async def relay(
    client: Incoming,
    writer: asyncio.StreamWriter,
    head: Head,
    upstream: Path,
    excuse: Excuse,
    mark: bytes = b"",
) -> bool:
    """Pass one request on and its response back; returns whether the connection goes on.

    mark: a header's line that is added to the answer. When the client leaves, vLLM's side is
    closed at once. When vLLM breaks off, the client's side is closed without the end of the
    message. Raises WireError.
    """
    body = request_body(head)
    try:
        up_reader, up_writer = await asyncio.open_unix_connection(str(upstream), limit=BLOCK)
    except OSError:
        return await _excused(client, writer, body, excuse)
    up_writer.write(head.raw)
    sending = asyncio.create_task(_send(client, up_writer, body))
    receiving = asyncio.create_task(_receive(Incoming(up_reader), writer, head.method, mark))
    try:
        await asyncio.wait({sending, receiving}, return_when=asyncio.FIRST_COMPLETED)
        if not receiving.done() and sending.result() == "gone":
            return False
        outcome = await receiving
    except ConnectionError:
        return False
    finally:
        for task in (sending, receiving):
            task.cancel()
        await asyncio.gather(sending, receiving, return_exceptions=True)
        up_writer.transport.abort()
    if outcome == "silent":
        return await _excused(client, writer, body, excuse)
    return outcome == "done" and body.done


async def discard(client: Incoming, body: Body) -> None:
    """Read what is left of a request's body: closing before that would lose our answer."""
    while not body.done:
        data = await client.some()
        if not data:
            return
        client.put_back(data[body.feed(data) :])


async def _excused(
    client: Incoming, writer: asyncio.StreamWriter, body: Body, excuse: Excuse
) -> bool:
    await discard(client, body)
    writer.write(answer(503, await excuse()))
    return True


async def _send(
    client: Incoming, up_writer: asyncio.StreamWriter, body: Body
) -> Literal["gone", "early"]:
    """Pass the request's body on, then watch for the client to leave ("gone").

    "early": it has sent the next request already, so it is still there.
    """
    while not body.done:
        data = await client.some()
        if not data:
            return "gone"
        taken = body.feed(data)
        client.put_back(data[taken:])
        try:
            up_writer.write(data[:taken])
            await up_writer.drain()
        except ConnectionError:
            return "early"  # vLLM has answered or died: the receiving side tells which
    data = await client.some()
    client.put_back(data)
    return "early" if data else "gone"


async def _receive(
    upstream: Incoming, writer: asyncio.StreamWriter, method: str, mark: bytes
) -> Outcome:
    """Pass the response back, block by block as it comes."""
    while True:
        try:
            head = await upstream.head()
        except (WireError, ConnectionError):
            head = None
        if head is None:
            return "silent"
        final = head.status >= 200
        first, end, rest = head.raw.partition(b"\r\n")
        writer.write(first + end + (mark if final else b"") + rest)
        if final:
            break
    body = response_body(head, method)
    while not body.done:
        try:
            data = await upstream.some()
            taken = body.feed(data)
        except (WireError, ConnectionError):
            return "cut"
        if not data:
            return "closed" if isinstance(body, Endless) else "cut"
        writer.write(data[:taken])
        await writer.drain()
    await writer.drain()
    return "closed" if head.closes else "done"
