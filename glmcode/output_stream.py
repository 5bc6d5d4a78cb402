"""Writes a headless run's output: a thread drains a queue, so that nobody waits for a reader.

`put` neither blocks nor raises; deltas are dropped past a bound, facts never. When the reader
has gone away (closed pipe) or the disk is full, `broken` says why and `on_broken` is called
once, from the writer's thread. Must not format anything.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable

BACKLOG = 10_000


class OutputStream:
    """UTF-8 lines to a file descriptor, whatever the locale."""

    def __init__(self, descriptor: int, on_broken: Callable[[], None]) -> None:
        self.broken: str | None = None
        self._descriptor = descriptor
        self._on_broken = on_broken
        self._queue: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._drain, name="output", daemon=True)
        self._thread.start()

    def put(self, text: str, *, droppable: bool = False) -> None:
        """Queue text for writing."""
        if droppable and self._queue.qsize() > BACKLOG:
            return
        self._queue.put(text.encode("utf-8", "replace"))

    def close(self, timeout_s: float) -> None:
        """Take nothing more, and wait a while until everything was written or cannot be."""
        self._queue.put(None)
        self._thread.join(timeout_s)

    @property
    def done(self) -> bool:
        """Whether everything was written, or cannot be."""
        return not self._thread.is_alive()

    def _drain(self) -> None:
        while (data := self._queue.get()) is not None:
            if self.broken is not None:
                continue
            try:
                written = 0
                while written < len(data):
                    written += os.write(self._descriptor, data[written:])
            except OSError as error:
                self.broken = error.strerror or str(error)
                self._on_broken()
