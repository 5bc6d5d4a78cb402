"""Tells an engine of ours that a turn is over: nothing follows until a person says something.

Its queue keeps the engine, or the place of a context in the cache, free for the next step of a
turn; this ends it at once instead of after seconds. It goes out beside everything else: nobody
waits for it, and one that gets lost costs those who wait a little time. Must not be retried.
"""

from __future__ import annotations

import asyncio
import contextlib

from glmcode.engine.endpoint import Address, Endpoint
from glmcode.engine.exchange import Exchange
from glmcode.engine.faults import Fault
from glmcode.engine.lane import TURN_OVER, TURNS

TELL_S = 5.0


class TurnEnds:
    """Of one client; does nothing where the server is not told."""

    def __init__(self, exchange: Exchange, address: Address, endpoint: Endpoint) -> None:
        self._exchange = exchange
        self._path = f"{address.root}{TURN_OVER}"
        self._here = TURNS in endpoint.headers
        self._afar = TURNS in endpoint.lane
        self._task: asyncio.Task[None] | None = None

    def tell(self) -> None:
        """Say it; returns at once. To be called in an event loop."""
        if self._here or (self._afar and self._exchange.introduced):
            self._task = asyncio.ensure_future(self._run())

    async def close(self) -> None:
        """Give up what was not said yet: the connections' end says the same."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _run(self) -> None:
        with contextlib.suppress(Fault, TimeoutError):
            async with asyncio.timeout(TELL_S):
                await self._exchange.once("POST", self._path)
