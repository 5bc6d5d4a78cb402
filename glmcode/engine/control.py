"""Asks a supervisor (or vLLM) something over its Unix socket: a few lines of HTTP.

Front ends pass here at every launch, so it costs nothing to import. For small answers
only; requests to the model go through the client. Must not start or judge anything.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

_LIMIT = 1 << 20


class ControlError(Exception):
    """Nobody answered, or not in time, or not in our language."""


async def ask(
    socket: Path,
    method: str,
    route: str,
    body: Mapping[str, Any] | None = None,
    timeout_s: float | None = 10.0,
) -> tuple[int, Any]:
    """One request; the status code and the JSON answer (None when it is not JSON).

    Raises ControlError.
    """
    code, text = await fetch(socket, method, route, body, timeout_s)
    try:
        return code, json.loads(text)
    except ValueError:
        return code, None


async def fetch(
    socket: Path,
    method: str,
    route: str,
    body: Mapping[str, Any] | None = None,
    timeout_s: float | None = 10.0,
) -> tuple[int, bytes]:
    """One request; the status code and the answer as it came. Raises ControlError."""
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_unix_connection(str(socket), limit=_LIMIT)
            try:
                writer.write(_request(method, route, body))
                await writer.drain()
                code = await _head(reader)
                text = await reader.read(-1)
            finally:
                writer.close()
    except TimeoutError as error:
        raise ControlError(f"{socket} does not answer") from error
    except (OSError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        raise ControlError(_words(socket, error)) from error
    return code, text


async def follow(
    socket: Path, route: str, each: Callable[[Any], bool], silence_s: float = 20.0
) -> None:
    """Read a stream of JSON lines until `each` returns True or the stream ends.

    Raises ControlError when nobody answers or nothing comes for `silence_s` seconds.
    """
    try:
        async with asyncio.timeout(silence_s) as limit:
            loop = asyncio.get_running_loop()
            reader, writer = await asyncio.open_unix_connection(str(socket), limit=_LIMIT)
            try:
                writer.write(_request("GET", route, None))
                await _head(reader)
                while line := await reader.readline():
                    limit.reschedule(loop.time() + silence_s)
                    if line.startswith(b"{") and each(json.loads(line)):
                        return
            finally:
                writer.close()
    except TimeoutError as error:
        raise ControlError(f"{socket} is silent") from error
    except (OSError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        raise ControlError(_words(socket, error)) from error


def _words(socket: Path, error: Exception) -> str:
    if isinstance(error, asyncio.IncompleteReadError) and not error.partial:
        return f"{socket} closed the connection without an answer"
    if isinstance(error, OSError):
        return f"{socket}: {error.strerror or error}"
    return (
        f"what answers on {socket} is no supervisor of glmcode's: end that program and remove "
        "the file"
    )


def _request(method: str, route: str, body: Mapping[str, Any] | None) -> bytes:
    text = b"" if body is None else json.dumps(body).encode()
    head = f"{method} {route} HTTP/1.1\r\nHost: engine\r\nConnection: close\r\n"
    if body is not None:
        head += f"Content-Type: application/json\r\nContent-Length: {len(text)}\r\n"
    return head.encode() + b"\r\n" + text


async def _head(reader: asyncio.StreamReader) -> int:
    head = await reader.readuntil(b"\r\n\r\n")
    return int(head.split(b" ", 2)[1])
