"""Takes the pieces of a fast stream together, several for each turn of the event loop.

Thousands of pieces a second would else wake it thousands of times, which costs more than
reading them. What comes slowly is never held back, nor are an answer's first pieces, and what is
held back waits in the socket. Must not read or change anything.
"""

from __future__ import annotations

import asyncio

GATHER_S = 0.02
"""A quarter of the time between two drawings."""
FAST_S = 0.02
"""A piece that was waited for less than this came fast."""
ROW = 4
"""So many fast ones in a row are a fast stream, and no short answer."""


class Gather:
    """`before` each read, and `after` what it brought was used."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._turned = True
        self._began = 0.0
        self._fast = 0

    def before(self) -> None:
        """A read begins: will the loop turn before it ends, so that the socket is asked?"""
        if self._turned:
            self._turned = False
            self._began = self._loop.time()
            self._loop.call_soon(self._turn)

    async def after(self) -> None:
        """Wait for more, if the socket was asked and brings pieces fast."""
        if not self._turned:
            return
        self._fast = self._fast + 1 if self._loop.time() - self._began < FAST_S else 0
        if self._fast >= ROW:
            await asyncio.sleep(GATHER_S)

    def _turn(self) -> None:
        self._turned = True
