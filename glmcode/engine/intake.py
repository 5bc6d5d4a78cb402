"""Takes requests in whole, so that nobody who stopped in the middle of sending holds the engine.

A request is kept until it is answered, as it may have to be asked again. So one has a largest
size, and all of them together have one. Who would go beyond it makes the one give up that has been
sending for longest, so that nobody who never ends keeps others out; where all have ended it is told
to come again. Must not look into a body.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from glmcode.engine.proxy import discard
from glmcode.engine.wire import CONTINUE, Head, Incoming, answer, expects, request_body

LARGEST = 64 << 20
"""Bytes of a request's body; ids of 200,000 tokens take 1.4 million."""
MOST = 512 << 20
"""Bytes of all requests that wait or are served."""


class Intake:
    """held: bytes of requests that are kept."""

    def __init__(self) -> None:
        self.held = 0
        self._coming: dict[asyncio.StreamWriter, None] = {}

    @asynccontextmanager
    async def whole(
        self, client: Incoming, writer: asyncio.StreamWriter, head: Head
    ) -> AsyncIterator[bytes | None]:
        """The request, head and body, kept while the context lasts; None when the client left, or
        was refused and told so. Raises WireError."""
        body = request_body(head)
        if expects(head):
            writer.write(CONTINUE)
        pieces, size = [head.raw], 0
        refused = b""
        self._coming[writer] = None
        try:
            while not body.done and not refused:
                data = await client.some()
                if not data:
                    break
                taken = body.feed(data)
                client.put_back(data[taken:])
                pieces.append(data[:taken])
                size += taken
                self.held += taken
                refused = self._refusal(size, writer)
            self._coming.pop(writer, None)
            if refused:
                pieces.clear()
                self.held, size = self.held - size, 0
                await discard(client, body)
                writer.write(refused)
            whole = b"".join(pieces) if body.done and not refused else None
            pieces.clear()
            yield whole
        finally:
            self._coming.pop(writer, None)
            self.held -= size

    def _refusal(self, size: int, writer: asyncio.StreamWriter) -> bytes:
        if size > LARGEST:
            text = f"a request of more than {LARGEST >> 20} MiB is not taken"
            return _refusal(413, "too_large", text)
        if self.held > MOST:
            slow = next((one for one in self._coming if one is not writer), None)
            if slow is not None and self.held < 2 * MOST:
                del self._coming[slow]
                slow.transport.abort()
                return b""
            text = f"requests of {MOST >> 20} MiB wait already: try again later"
            return _refusal(503, "too_many", text)
        return b""


def _refusal(code: int, kind: str, text: str) -> bytes:
    return answer(code, {"error": {"type": kind, "message": text, "log": []}}, close=True)
