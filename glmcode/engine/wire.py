"""HTTP/1.1 as far as a proxy must understand it: heads, and where a body ends.

Bodies are passed on as they are; they are only followed closely enough to know their last
byte. What the engine could read in another way than we do is refused: what we take for a body
would else be a request to it, past all that stands before it. Pure but for `Incoming`, which
reads. Must not know what is asked or answered.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Literal, Protocol

HEAD_LIMIT = 1 << 16
BLOCK = 1 << 16

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

_LENGTH = re.compile(r"[0-9]{1,18}")
_CHUNK = re.compile(rb"[0-9A-Fa-f]{1,15}")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_FRAMING = ("content-length", "transfer-encoding")


class WireError(Exception):
    """The other side does not speak HTTP/1.1; the text says what was wrong."""


@dataclass(frozen=True, slots=True)
class Head:
    """A request or response head. raw holds all its bytes, the empty line included."""

    raw: bytes
    start: tuple[str, str, str]
    headers: Mapping[str, str]

    @property
    def method(self) -> str:
        return self.start[0]

    @property
    def path(self) -> str:
        """The path of a request without its query."""
        return self.start[1].partition("?")[0]

    @property
    def status(self) -> int:
        """The status code of a response."""
        return int(self.start[1])

    @property
    def closes(self) -> bool:
        """No other message follows on this connection."""
        asked = self.headers.get("connection", "").lower()
        return "close" in asked or (
            "HTTP/1.0" in (self.start[0], self.start[2]) and "keep-alive" not in asked
        )


def parse_head(raw: bytes) -> Head:
    """Split a head. Raises WireError."""
    first, *lines = raw.decode("latin-1").split("\r\n")
    parts = first.split(" ", 2)
    named = parts[0].startswith("HTTP/1.") or parts[-1].startswith("HTTP/1.")
    if len(parts) < 2 or not named or _odd(first):
        raise WireError(f"not HTTP: {first[:80]!r}")
    headers: dict[str, str] = {}
    for line in filter(None, lines):
        name, colon, value = line.partition(":")
        if not colon or not _NAME.fullmatch(name) or _odd(line):
            raise WireError(f"not a header: {line[:80]!r}")
        name, value = name.lower(), value.strip(" \t")
        if name in _FRAMING and headers.get(name, value) != value:
            raise WireError(f"{name} is said twice, and differs")
        headers[name] = value
    head = Head(raw, (parts[0], parts[1], parts[2] if len(parts) > 2 else ""), headers)
    if not parts[0].startswith("HTTP/"):
        request_body(head)  # of a request it must be plain where it ends
    return head


def expects(head: Head) -> bool:
    """Whether a client sends its body only when it is told to."""
    return "100-continue" in head.headers.get("expect", "").lower()


def _odd(line: str) -> bool:
    return "\r" in line or "\n" in line or "\0" in line


class Body(Protocol):
    """Follows a body; `feed` returns how many of the bytes belong to it."""

    done: bool

    def feed(self, data: bytes) -> int: ...


class Sized:
    """A body of a known length in bytes."""

    def __init__(self, length: int) -> None:
        self.left = length
        self.done = length == 0

    def feed(self, data: bytes) -> int:
        """Take bytes; returns how many belong to the body."""
        taken = min(self.left, len(data))
        self.left -= taken
        self.done = self.left == 0
        return taken


class Chunked:
    """A body in chunks, each with its size before it, ended by an empty one."""

    def __init__(self) -> None:
        self.done = False
        self.payload = b""
        self._left = 0
        self._line = b""
        self._place: Literal["size", "data", "end", "trailer"] = "size"

    @property
    def between(self) -> bool:
        """Whether a chunk has ended and no other has begun."""
        return self._place == "size" and not (self._line or self.done)

    def feed(self, data: bytes) -> int:
        """Take bytes; returns how many belong to the body. Raises WireError.

        payload then holds what they carried, without sizes.
        """
        at = 0
        self.payload = b""
        while at < len(data) and not self.done:
            if self._place == "data":
                step = min(self._left, len(data) - at)
                self.payload += data[at : at + step]
                self._left -= step
                at += step
                if not self._left:
                    self._place = "end"
                continue
            end = data.find(b"\n", at)
            self._line += data[at:] if end < 0 else data[at:end]
            if len(self._line) > HEAD_LIMIT:
                raise WireError("a chunk size line is too long")
            if end < 0:
                return len(data)
            at = end + 1
            if self._line.find(b"\r") != len(self._line) - 1:
                raise WireError("a line between chunks does not end as it must")
            self._take(self._line[:-1])
            self._line = b""
        return at

    def _take(self, line: bytes) -> None:
        match self._place:
            case "trailer":
                self.done = not line
            case "end":
                if line:
                    raise WireError("a chunk is longer than its size")
                self._place = "size"
            case _:
                text = line.partition(b";")[0].rstrip()
                if not _CHUNK.fullmatch(text):
                    raise WireError(f"not a chunk size: {line[:40]!r}")
                self._left = int(text, 16)
                self._place = "data" if self._left else "trailer"


class Endless:
    """A body that lasts until the connection is closed."""

    done = False

    def feed(self, data: bytes) -> int:
        """All bytes belong to it."""
        return len(data)


def request_body(head: Head) -> Body:
    """How to follow a request's body. Raises WireError."""
    coding = head.headers.get("transfer-encoding")
    if coding is None:
        return Sized(_length(head) or 0)
    if coding.lower() != "chunked" or "content-length" in head.headers:
        raise WireError(f"not a way to tell a body's length: {coding[:40]!r}")
    return Chunked()


def response_body(head: Head, method: str) -> Body:
    """How to follow the body of the response to a request. Raises WireError."""
    if method == "HEAD" or head.status < 200 or head.status in (204, 304):
        return Sized(0)
    if "chunked" in head.headers.get("transfer-encoding", "").lower():
        return Chunked()
    length = _length(head)
    return Endless() if length is None else Sized(length)


def _length(head: Head) -> int | None:
    text = head.headers.get("content-length")
    if text is None:
        return None
    if not _LENGTH.fullmatch(text):
        raise WireError(f"not a content length: {text[:40]!r}")
    return int(text)


def answer(code: int, value: Mapping[str, Any], *, close: bool = False) -> bytes:
    """A whole response that holds one JSON object."""
    text = json.dumps(value).encode()
    end = "Connection: close\r\n" if close else ""
    head = (
        f"HTTP/1.1 {code} {HTTPStatus(code).phrase}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(text)}\r\n{end}\r\n"
    )
    return head.encode() + text


class Incoming:
    """A stream of messages; bytes that were read too early can be put back."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self._early = b""

    async def some(self) -> bytes:
        """The next bytes, b"" at the end of the stream."""
        if self._early:
            data, self._early = self._early, b""
            return data
        return await self._reader.read(BLOCK)

    def put_back(self, data: bytes) -> None:
        """These bytes are read again next."""
        self._early = data + self._early

    async def head(self) -> Head | None:
        """The next head; None when the stream ended before its first byte.

        Raises WireError.
        """
        raw, blank = b"", False
        while (end := raw.find(b"\r\n\r\n")) < 0:
            if len(raw) > HEAD_LIMIT:
                raise WireError("the head is too long")
            if b"\n\n" in raw:
                raise WireError("the lines of a head end with CR and LF")
            data = await self.some()
            if not data:
                if raw:
                    raise WireError("the stream ended inside a head")
                return None
            raw += data
            if raw[:2] == b"\r\n" and not blank:  # some send an empty line after a body
                raw, blank = raw[2:], True
        self.put_back(raw[end + 4 :])
        return parse_head(raw[: end + 4])


async def small_body(client: Incoming, head: Head, most: int = BLOCK) -> bytes:
    """The whole body of a small request, as it came; b"" where it broke off.

    Raises WireError for a body that is larger or comes in chunks.
    """
    body = request_body(head)
    if not isinstance(body, Sized) or body.left > most:
        raise WireError("the body is too long")
    whole = b""
    while not body.done:
        data = await client.some()
        if not data:
            return b""
        taken = body.feed(data)
        whole += data[:taken]
        client.put_back(data[taken:])
    return whole
