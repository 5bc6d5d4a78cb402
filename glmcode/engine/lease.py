"""The front end's side of a hatch: asks the supervisor for one, and holds it while the run lives.

The hatch lives as long as this connection, so there is nothing to renew and nothing to tidy up: a
front end that is killed closes it too. Asked for when the first sandboxed command comes, and again
where the supervisor has changed meanwhile. Blocks for a moment, so it is called in a thread. Must
not read what goes through the hatch.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from glmcode.engine.lane import Lane

ROUTE = "/glmcode/hatch"
ANSWER_S = 2.0
_LARGEST = 1 << 16


class Lease:
    """A hatch for one run's commands. facts: what a nested run is told, asked for when needed."""

    def __init__(
        self, supervisor: Path, lane: Lane, facts: Callable[[], Mapping[str, Any]]
    ) -> None:
        self._supervisor = supervisor
        self._lane = lane
        self._facts = facts
        self._lock = threading.Lock()
        self._connection: socket.socket | None = None
        self._path: Path | None = None

    def path(self) -> Path | None:
        """The hatch's socket; None where none can be had now. Blocks, ANSWER_S at most."""
        with self._lock:
            if self._connection is None or _over(self._connection):
                self._end()
                with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
                    self._begin()
            return self._path

    def close(self) -> None:
        """The run is over: whatever its commands still ask ends."""
        with self._lock:
            self._end()

    def _begin(self) -> None:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.settimeout(ANSWER_S)
            connection.connect(str(self._supervisor))
            connection.sendall(_request(self._lane, self._facts()))
            data = b""
            while not data.endswith(b"}\n") and len(data) < _LARGEST:
                if not (piece := connection.recv(4096)):
                    break
                data += piece
            head, _, body = data.partition(b"\r\n\r\n")
            if int(head.split(b" ", 2)[1]) != 200:
                raise ValueError("no hatch")
            self._path = Path(json.loads(body)["socket"])
        except BaseException:
            connection.close()
            raise
        connection.setblocking(False)
        self._connection = connection

    def _end(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = self._path = None


def _over(connection: socket.socket) -> bool:
    """Whether the supervisor has closed it; it says nothing more otherwise."""
    try:
        return connection.recv(1, socket.MSG_DONTWAIT | socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def _request(lane: Lane, facts: Mapping[str, Any]) -> bytes:
    text = json.dumps(facts).encode()
    lines = [f"POST {ROUTE} HTTP/1.1", "Host: engine", f"Content-Length: {len(text)}"]
    lines += [f"{name}: {value}" for name, value in lane.headers().items()]
    return "\r\n".join([*lines, "", ""]).encode() + text
