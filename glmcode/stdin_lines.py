"""Lines of standard input as they come, for a conversation that runs meanwhile.

A thread reads, because a file cannot be waited for by an event loop; it hands over a batch and
goes on when the loop has taken it, so that a caller who sends without end costs no memory. A line
beyond the limit is passed over, not kept. Must not judge what a line says.
"""

from __future__ import annotations

import asyncio
import os
import select
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

LONGEST = 16 << 20
CHUNK = 1 << 16
BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class RawLine:
    """number counts from 1, empty lines included. data None: longer than LONGEST, not kept."""

    number: int
    data: bytes | None


@dataclass(frozen=True, slots=True)
class Ended:
    """Nothing more comes. error: why, where it is not simply the end; ""."""

    error: str = ""


Come: TypeAlias = RawLine | Ended


@dataclass(slots=True)
class Splitter:
    """Bytes to lines. A byte order mark, empty lines and carriage returns before an end go."""

    number: int = 0
    _parts: list[bytes] = field(default_factory=list)
    _size: int = 0

    def feed(self, chunk: bytes) -> Iterator[RawLine]:
        """The lines that end in a chunk."""
        *whole, rest = chunk.split(b"\n")
        for part in whole:
            self._keep(part)
            yield from self.close()
        self._keep(rest)

    def close(self) -> Iterator[RawLine]:
        """The line that stands open, if it says anything."""
        data = b"".join(self._parts)
        too_long = self._size > LONGEST
        self._parts, self._size = [], 0
        self.number += 1
        if self.number == 1:
            data = data.removeprefix(BOM)
        if too_long or data.strip():
            yield RawLine(self.number, None if too_long else data)

    def _keep(self, part: bytes) -> None:
        self._size += len(part)
        if self._size > LONGEST:
            self._parts = []
        elif part:
            self._parts.append(part)


class StdinLines:
    """Begin with `start`; `take` is called in the loop with each batch, until an Ended."""

    def __init__(self, take: Callable[[list[Come]], None]) -> None:
        self._take = take
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="stdin", daemon=True)

    def start(self) -> None:
        """Read from now on."""
        self._thread.start()

    def _run(self) -> None:
        splitter = Splitter()
        error = ""
        while True:
            try:
                select.select([0], [], [])
                chunk = os.read(0, CHUNK)
            except BlockingIOError:
                continue  # whoever shares the descriptor has read it
            except (OSError, ValueError) as fault:
                why = getattr(fault, "strerror", None) or fault
                error = f"standard input cannot be read: {why}"
                break
            if not chunk:
                break
            if not self._hand(list(splitter.feed(chunk))):
                return
        self._hand([*splitter.close(), Ended(error)])

    def _hand(self, batch: list[Come]) -> bool:
        """Whether the loop took it; it does not where it has ended."""
        taken = threading.Event()

        def take() -> None:
            taken.set()
            self._take(batch)

        if batch:
            try:
                self._loop.call_soon_threadsafe(take)
            except RuntimeError:
                return False
            taken.wait()
        return True
