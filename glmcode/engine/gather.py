"""Takes the pieces of a fast stream together, several for each turn of the event loop.

Thousands of pieces a second would else wake it thousands of times, which costs more than
reading them. What comes slowly is never held back, and what is held back waits in the socket.
Must not read or change anything.
"""

from __future__ import annotations

import asyncio

GATHER_S = 0.01
FAST_S = 2 * GATHER_S
"""Pieces that come closer together than this are taken together."""


class Gather:
    """`before` each read, and `after` what it brought was used."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._turned = True
        self._last = 0.0

    def before(self) -> None:
        """A read begins: will the loop turn before it ends, so that the socket is asked?"""
        if self._turned:
            self._turned = False
            self._loop.call_soon(self._turn)

    async def after(self) -> None:
        """Wait for more, if the socket was asked and brings pieces fast."""
        if not self._turned:
            return
        now = self._loop.time()
        fast = now - self._last < FAST_S
        self._last = now
        if fast:
            await asyncio.sleep(GATHER_S)

    def _turn(self) -> None:
        self._turned = True
