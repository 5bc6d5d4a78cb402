"""The body of a streamed answer, taken apart: bytes in, JSON objects out.

Server-sent events as servers really send them: split at any byte, CRLF or LF, comments,
`data:` with or without a space, several data lines, a byte order mark, no blank line at the
end. A body that is one JSON object (a server that does not stream) gives that one object.
Everything else raises StreamError: broken JSON and HTML are never an empty answer. Must not
know what the objects mean.
"""

from __future__ import annotations

import json
import re
from typing import Any

LIMIT = 64 * 1024 * 1024
DONE = object()
"""Stands among the objects for `data: [DONE]`."""

_EOL = re.compile(rb"\r\n|\n|\r")
_DECODER = json.JSONDecoder()
_BOM = b"\xef\xbb\xbf"


class StreamError(Exception):
    """The body is not what a model's server sends.

    again: the next try may go better. cut: it ended inside a line or an object.
    """

    def __init__(self, text: str, *, again: bool = False, cut: bool = False) -> None:
        super().__init__(text)
        self.again = again
        self.cut = cut


class ObjectStream:
    """Feed pieces of a body, get the objects that they complete; `close` at its end."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._buffer = bytearray()
        self._scanned = 0
        self._data: list[bytes] = []
        self._size = 0
        self._event = b""
        self._whole: bool | None = None
        self.head = b""

    def feed(self, chunk: bytes) -> list[Any]:
        """The objects that end in this piece. Raises StreamError."""
        self._buffer += chunk
        if len(self._buffer) + self._size > self._limit:
            raise StreamError(f"it sent more than {self._limit >> 20} MiB in one piece")
        if self._whole is None and not self._sniff():
            return []
        return [] if self._whole else self._lines(last=False)

    def close(self) -> list[Any]:
        """What the proper end of the body completes. Raises StreamError."""
        if self._whole:
            return [self._last(bytes(self._buffer))]
        found = self._lines(last=True)
        rest = bytes(self._buffer)
        self._buffer.clear()
        if rest:
            self._line(rest, found)
        try:
            self._line(b"", found)
        except StreamError as error:
            raise StreamError(str(error), again=True, cut=bool(rest)) from error
        return found

    def _last(self, whole: bytes) -> Any:
        try:
            return _parse(whole)
        except StreamError as error:
            cut = not whole.rstrip().endswith((b"}", b"]"))
            raise StreamError(str(error), again=True, cut=cut) from error

    def _sniff(self) -> bool:
        """Decide by the first bytes, not by the content type, which servers get wrong."""
        if _BOM.startswith(self._buffer[:3]) and len(self._buffer) < 3:
            return False
        if self._buffer.startswith(_BOM):
            del self._buffer[:3]
        start = bytes(self._buffer[:256]).lstrip()
        if not start:
            return False
        self.head = start
        if start.startswith(b"<"):
            raise StreamError("it sent a web page instead of a model's answer")
        self._whole = start[:1] in (b"{", b"[")
        return True

    def _lines(self, *, last: bool) -> list[Any]:
        found: list[Any] = []
        buffer = self._buffer
        if b"\r" not in buffer:
            self._events(found)
        start, position = 0, self._scanned
        while (match := _EOL.search(buffer, position)) is not None:
            if match.end() == len(buffer) and match.group() == b"\r" and not last:
                break
            self._line(bytes(buffer[start : match.start()]), found)
            start = position = match.end()
        del buffer[:start]
        self._scanned = max(0, len(buffer) - 1)
        return found

    def _events(self, found: list[Any]) -> None:
        """Whole events whose lines end as nearly all servers end them, all at once."""
        end = self._buffer.rfind(b"\n\n") + 1
        if not end:
            return
        events = bytes(self._buffer[: end - 1]).split(b"\n\n")
        del self._buffer[: end + 1]
        self._scanned = 0
        for event in events:
            if event.startswith(b"data: {") and b"\n" not in event and not self._begun:
                found.append(_parse(event[6:]))
                continue
            for line in event.split(b"\n"):
                self._line(line, found)
            self._line(b"", found)

    @property
    def _begun(self) -> bool:
        """Whether lines of an event came before."""
        return bool(self._data or self._event)

    def _line(self, line: bytes, found: list[Any]) -> None:
        if not line:
            if self._data:
                self._dispatch(found)
            self._event = b""
            return
        name, _, value = line.partition(b":")
        if name == b"data":
            value = value.removeprefix(b" ")
            self._data.append(value)
            self._size += len(value)
        elif name == b"event":
            self._event = value.strip()

    def _dispatch(self, found: list[Any]) -> None:
        lines, self._data, self._size = self._data, [], 0
        if len(lines) == 1 and lines[0].strip() == b"[DONE]":
            found.append(DONE)
            return
        joined = b"\n".join(lines)
        if self._event == b"error":
            found.append(_error_object(joined))
            return
        if not joined.strip():
            return
        try:
            found.append(_parse(joined))
        except StreamError:
            if len(lines) == 1:
                raise
            # A server that leaves out the blank lines between its events.
            found += [DONE if line.strip() == b"[DONE]" else _parse(line) for line in lines if line]


def _parse(data: bytes) -> Any:
    # Bytes that are not UTF-8 become lone surrogates, which text.mend tells from real text.
    text = data.decode("utf-8", "surrogateescape")
    try:
        value, end = _DECODER.raw_decode(text)
        if end == len(text):
            return value
    except (ValueError, RecursionError):
        pass  # perhaps because of white space before it
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        shown = mask(data[:120].decode("utf-8", "replace"))
        raise StreamError(f"it sent something that is not JSON: {shown!r}", again=True) from error


def _error_object(data: bytes) -> Any:
    try:
        value = _parse(data)
    except StreamError:
        value = data.decode("utf-8", "replace")
    if isinstance(value, dict) and value.get("error"):
        return value
    return {"error": value}


def mask(text: str) -> str:
    """One printable line."""
    return "".join(c if c.isprintable() else " " for c in text)
