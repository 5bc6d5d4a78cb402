"""Writes a headless run's output: a thread drains a queue, so that nobody waits for a reader.

`put` neither blocks nor raises; what may be dropped is, past a bound, and how much it was is told
in its place; facts never are. When the reader has gone away (closed pipe) or the disk is full,
`broken` says why and `on_broken` is called once, from the writer's thread. Must not format
anything.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable

BACKLOG = 32 << 20
"""Bytes that may wait for a slow reader before progress is left out."""


class OutputStream:
    """UTF-8 lines to a file descriptor, whatever the locale."""

    def __init__(
        self,
        descriptor: int,
        on_broken: Callable[[], None],
        dropped: Callable[[int], str] = lambda count: "",
    ) -> None:
        """dropped: the text that stands for so many that were left out."""
        self.broken: str | None = None
        self._told = dropped
        self._dropped = 0
        self._taken = 0
        self._gone = 0
        self._descriptor = descriptor
        self._on_broken = on_broken
        self._queue: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._drain, name="output", daemon=True)
        self._thread.start()

    def put(self, text: str, *, droppable: bool = False) -> None:
        """Queue text for writing."""
        if droppable and self._taken - self._gone > BACKLOG:
            self._dropped += 1
            return
        if self._dropped:
            text, self._dropped = self._told(self._dropped) + text, 0
        data = text.encode("utf-8", "replace")
        self._taken += len(data)
        self._queue.put(data)

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
            self._gone += len(data)
            try:
                written = 0
                while written < len(data):
                    written += os.write(self._descriptor, data[written:])
            except OSError as error:
                self.broken = error.strerror or str(error)
                self._on_broken()
