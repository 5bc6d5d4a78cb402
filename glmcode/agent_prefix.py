"""What the next prompt begins with is computed while the person still types.

After a compaction or a rewind, and when a session is resumed, the engine may hold little of what
comes next. It is asked for ahead, once, when nobody else has it; the moment the person says
something it is given up. Only a front end with a person begins it. Must not start an engine, change
the conversation, or be waited for.
"""

from __future__ import annotations

import asyncio

from glmcode.core.model import Emit
from glmcode.core.transcript import Transcript
from glmcode.engine.client import Client

AGAIN_S = (2.5, 10.0, 30.0)
"""While somebody else has the engine: seconds until it is asked again, at most so often."""


class Prefix:
    """One conversation's. wanted: the setting engine.warm."""

    def __init__(self, client: Client, emit: Emit, *, wanted: bool) -> None:
        self._client = client
        self._emit = emit
        self._wanted = wanted
        self._task: asyncio.Task[None] | None = None

    def begin(self, transcript: Transcript) -> None:
        """Warm it in the background, in place of what was begun before."""
        self.cancel()
        if self._wanted and len(transcript) and self._client.warms:
            self._task = asyncio.ensure_future(self._run(transcript))

    def cancel(self) -> None:
        """Give it up; the engine is free a moment later."""
        if self._task is not None:
            self._task.cancel()

    async def stop(self) -> None:
        """Give it up, and see that it is over."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait({task})

    async def _run(self, transcript: Transcript) -> None:
        for wait in (*AGAIN_S, None):
            done = await self._client.warm(transcript, self._emit)
            if done != "busy" or wait is None:
                return
            await asyncio.sleep(wait)
