"""One request at the engine: a body that is at hand goes out, the answer comes back.

Beside the relay of proxy.py, because a request that waited for its turn is whole, and what
comes back is somebody's time: the client's leaving ends it, a client that stops reading gets
so much ahead and then loses it to those who wait, and it can be broken off for somebody more
urgent. Where nothing of the answer was passed on yet, that is unseen (the caller asks again);
else the stream is ended with an object that tells the client to go on from where it stands.
Must not know the queue or what an answer says.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Literal, TypeAlias

from glmcode.engine.streamed import Streamed
from glmcode.engine.wire import (
    BLOCK,
    Body,
    Chunked,
    Endless,
    Incoming,
    WireError,
    response_body,
)

Outcome: TypeAlias = Literal["done", "closed", "cut", "silent", "gone", "again", "broken"]
"""How it went: complete; complete and the connection ends; broken off in the middle; nothing
at all came; the client left; to be asked again (or the rest of it), unseen by the client; the
client was told to go on."""

AHEAD = 4 << 20
"""Bytes of an answer that wait for a client which does not read."""
STALL_S = 2.0
"""How long such a client keeps the engine from others once they are used up."""
EDGE_S = 0.5
"""How long the end of a chunk is waited for when an answer is broken off."""
BROKEN = json.dumps({"glmcode": {"broken_off": True}}, separators=(",", ":")).encode()
"""The object that ends a stream which somebody more urgent broke off."""


class _Stalled(Exception):
    """The client does not read, and others wait."""


async def pass_on(
    client: Incoming,
    writer: asyncio.StreamWriter,
    method: str,
    request: bytes,
    upstream: Path,
    mark: bytes,
    *,
    signal: asyncio.Event,
    broken: Callable[[], bool],
    forced: Callable[[], bool],
    pressed: Callable[[], bool],
    streams: Callable[[], None],
    resumes: bool,
    script: Streamed | None = None,
) -> Outcome:
    """Ask the engine and pass its answer back.

    mark: header lines added to the answer. signal: set when `broken` may have changed, which
    tells that somebody more urgent waits; forced: even if the client loses its answer. pressed:
    whether anybody waits. streams: called when the first of the answer goes out. resumes: the
    client can go on with an answer it has in part. script: follows an answer whose rest can be
    asked for.
    """
    try:
        up_reader, up_writer = await asyncio.open_unix_connection(str(upstream), limit=BLOCK)
    except OSError:
        return "silent"
    up_writer.write(request)
    flow = _Flow(Incoming(up_reader), writer, method, mark, pressed, streams, script)
    receiving = asyncio.create_task(flow.run())
    leaving = asyncio.create_task(left(client))
    try:
        return await _watch(flow, receiving, leaving, signal, broken, forced, resumes)
    except ConnectionError:
        return "gone"
    except _Stalled:
        writer.transport.abort()
        return "gone"
    finally:
        for task in (receiving, leaving):
            task.cancel()
        await asyncio.wait({receiving, leaving})
        if not receiving.cancelled():
            receiving.exception()
        up_writer.transport.abort()


async def _watch(
    flow: _Flow,
    receiving: asyncio.Task[Outcome],
    leaving: asyncio.Task[bool],
    signal: asyncio.Event,
    broken: Callable[[], bool],
    forced: Callable[[], bool],
    resumes: bool,
) -> Outcome:
    signalled = asyncio.create_task(signal.wait())
    watched: set[asyncio.Task[Outcome] | asyncio.Task[bool] | asyncio.Task[Literal[True]]]
    watched = {receiving, leaving, signalled}
    try:
        while True:
            await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
            if receiving.done():
                return receiving.result()
            if leaving in watched and leaving.done():
                watched.discard(leaving)
                if leaving.result():
                    return "gone"
            if signalled.done():
                watched.discard(signalled)
                if broken() and (flow.unseen or resumes or flow.has_rest or forced()):
                    return await _break_off(flow, receiving, resumes)
                signal.clear()
                signalled = asyncio.create_task(signal.wait())
                watched.add(signalled)
    finally:
        signalled.cancel()


async def _break_off(flow: _Flow, receiving: asyncio.Task[Outcome], resumes: bool) -> Outcome:
    """Stop at the end of a chunk, and tell the client unless it need not know."""
    if flow.ended:  # nothing is left but its last words
        return await receiving
    if not flow.untouched and not flow.at_edge:
        flow.stopping = True
        await asyncio.wait({receiving}, timeout=EDGE_S)
        if not flow.at_edge or (receiving.done() and receiving.exception() is not None):
            return receiving.result() if receiving.done() else "cut"
        if receiving.done() and receiving.result() != "broken":
            return receiving.result()
    receiving.cancel()
    await asyncio.wait({receiving})
    if flow.unseen or flow.has_rest:
        return "again"
    if not resumes:
        return "cut"
    flow.tell_broken()
    return "broken"


class _Flow:
    """The answer on its way. unseen: nothing of it was passed on; untouched: nothing of this
    part of it; at_edge: between two chunks."""

    def __init__(
        self,
        upstream: Incoming,
        writer: asyncio.StreamWriter,
        method: str,
        mark: bytes,
        pressed: Callable[[], bool],
        streams: Callable[[], None],
        script: Streamed | None,
    ) -> None:
        self.unseen = script is None or not script.begun
        self.untouched = True
        self.stopping = False
        self._upstream = upstream
        self._writer = writer
        self._method = method
        self._mark = mark
        self._pressed = pressed
        self._streams = streams
        self._script = script
        self._body: Body = Endless()
        writer.transport.set_write_buffer_limits(high=AHEAD)

    @property
    def at_edge(self) -> bool:
        inside = self._script is not None and self._script.inside
        return isinstance(self._body, Chunked) and self._body.between and not inside

    @property
    def has_rest(self) -> bool:
        """Whether what is left of the answer can be asked for."""
        if self._script is None or self._script.ended:
            return False
        return self.untouched or isinstance(self._body, Chunked)

    @property
    def ended(self) -> bool:
        """Whether all of the answer has come, as far as that is known."""
        return self._script is not None and self._script.ended

    async def run(self) -> Outcome:
        """Pass the response back as it comes; its head goes out with the first of its body."""
        while True:
            try:
                head = await self._upstream.head()
            except (WireError, ConnectionError):
                head = None
            if head is None:
                return "silent"
            if head.status >= 200:
                break
        first, end, rest = head.raw.partition(b"\r\n")
        waiting = first + end + self._mark + rest
        if not self.unseen and head.status != 200:
            return "cut"
        self._body = body = response_body(head, self._method)
        while not body.done:
            try:
                data = await self._upstream.some()
                taken = body.feed(data)
            except (WireError, ConnectionError):
                return "silent" if self.unseen else "cut"
            if not data:
                if isinstance(body, Endless):
                    break
                return "silent" if self.unseen else "cut"
            self._put(self._passed(waiting, data[:taken], body))
            waiting = b""
            await self._room()
            if self.stopping and self.at_edge:
                return "broken"
        if waiting and self.unseen:
            self._put(waiting)
        return "closed" if head.closes or isinstance(body, Endless) else "done"

    def _passed(self, head: bytes, data: bytes, body: Body) -> bytes:
        """What goes to the client for these bytes of the engine's."""
        if self._script is None or not isinstance(body, Chunked):
            return head + data
        events = self._script.feed(body.payload)
        if not self._script.begun:
            return head + data
        end = b"0\r\n\r\n" if body.done else b""
        return (b"%x\r\n%s\r\n" % (len(events), events) if events else b"") + end

    def tell_broken(self) -> None:
        """End the stream with the object that says so."""
        event = b"data: " + BROKEN + b"\n\n"
        self._writer.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(event), event))

    def _put(self, data: bytes) -> None:
        self._writer.write(data)
        self.untouched = False
        if self.unseen:
            self.unseen = False
            self._streams()

    async def _room(self) -> None:
        """Wait while the client has too much unread before it. Raises _Stalled."""
        while True:
            try:
                async with asyncio.timeout(STALL_S):
                    await self._writer.drain()
                    return
            except TimeoutError:
                if self._pressed():
                    raise _Stalled from None


async def left(client: Incoming) -> bool:
    """Watch a client that has sent its request: True when it is gone, False when it has sent
    so much more already that no more of it is read now."""
    early = b""
    try:
        while len(early) < BLOCK:
            data = await client.some()
            if not data:
                return True
            early += data
    except ConnectionError:
        return True
    finally:
        client.put_back(early)
    return False
