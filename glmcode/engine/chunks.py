"""Reads the chunks of an HTTP body together, all that are whole, where h11 gives one at a time.

A server that streams sends a chunk for each token, and an event, a copy and the way through all
layers for each of them cost more than reading what it says. What is not plainly a whole chunk
(one that is cut or malformed, an extension, the end) is left to h11's own reader, so what is
refused stays the same. Where h11 is built otherwise, nothing is changed, nor in a process that is
somebody else's (the Python API): its h11 is not ours. Must not know what the bytes mean.
"""

from __future__ import annotations

import re
from typing import Any

_SIZE = re.compile(rb"([0-9A-Fa-f]{1,7})\r\n")
_END = b"\r\n"
MOST = 262_144
"""More than this at hand is not many small chunks: it would only be copied again and again."""


class _Process:
    ours = False


def own_process() -> None:
    """Nobody but glmcode uses h11 in this process."""
    _Process.ours = True


def read_together() -> bool:
    """Have h11 read so from now on, in a process of our own; whether it does."""
    if not _Process.ours:
        return False
    try:
        from h11 import SEND_BODY, Data
        from h11._readers import READERS, ChunkedReader

        readers: Any = READERS[SEND_BODY]
        if readers["chunked"] is ChunkedReader:
            readers["chunked"] = _reader(ChunkedReader, Data)
        return issubclass(readers["chunked"], ChunkedReader)
    except (ImportError, AttributeError, KeyError, TypeError):
        return False


def _reader(chunked: Any, piece: Any) -> Any:
    class Together(chunked):  # type: ignore[misc]
        """h11's reader, which first takes two chunks or more if they are whole."""

        def __call__(self, buffer: Any) -> Any:
            state: Any = self
            owed = state._bytes_to_discard
            inside = state._bytes_in_chunk or state._reading_trailer
            if inside or owed not in (b"", _END) or len(buffer) > MOST:
                return super().__call__(buffer)
            parts, taken = whole_chunks(bytes(buffer), len(owed))
            if len(parts) < 2:
                return super().__call__(buffer)
            buffer.maybe_extract_at_most(taken)
            state._bytes_to_discard = b""
            return piece(data=b"".join(parts))

    return Together


def whole_chunks(data: bytes, owed: int) -> tuple[list[bytes], int]:
    """The contents of the chunks at the beginning that are whole, and the bytes they take.

    owed: 2 where the line's end of the chunk before is still to come, else 0.
    """
    parts: list[bytes] = []
    at = owed
    if owed and not data.startswith(_END):
        return parts, 0
    while (head := _SIZE.match(data, at)) is not None:
        start = head.end()
        end = start + int(head[1], 16)
        if end == start or data[end : end + 2] != _END:
            break
        parts.append(data[start:end])
        at = end + 2
    return parts, at
