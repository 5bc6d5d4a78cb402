"""Asks a supervisor for something small with nothing but a socket: no event loop is imported.

`engine status` passes here: asyncio alone would cost it a third of its time. Whatever is not as
usual is None, and the thorough way (control.py, attach.py) looks again and finds the words. Must
not wait long, start anything or judge.
"""

from __future__ import annotations

import socket
import time
from pathlib import Path

LIMIT = 1 << 20


def glance(path: Path, route: str, timeout_s: float) -> bytes | None:
    """The body of the answer to a GET; None where it is not a whole one with code 200."""
    deadline = time.monotonic() + timeout_s
    data = b""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(timeout_s)
            connection.connect(str(path))
            head = f"GET {route} HTTP/1.1\r\nHost: engine\r\nConnection: close\r\n\r\n"
            connection.sendall(head.encode())
            while len(data) < LIMIT and (left := deadline - time.monotonic()) > 0:
                connection.settimeout(left)
                piece = connection.recv(1 << 16)
                if not piece:
                    return _body(data)
                data += piece
    except (OSError, ValueError):
        return None
    return None


def _body(data: bytes) -> bytes | None:
    head, end, body = data.partition(b"\r\n\r\n")
    words = head.split(b" ", 2)
    return body if end and len(words) == 3 and words[1] == b"200" else None
