"""Work in a thread that is over when the turn is over.

A thread can't be cancelled: the work is asked to stop, and waited for. Must not know what the
work is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from threading import Event
from typing import TypeVar

_T = TypeVar("_T")
_SETTLE_S = 5.0


async def settled(work: Callable[[Callable[[], bool]], _T]) -> _T:
    """Run `work` in a thread; it is given a function that says whether to stop.

    When cancelled, the work is asked to stop and waited for (some seconds at most) before the
    cancellation goes on, so that nothing changes after the turn was said to have ended.
    """
    stop = Event()
    task = asyncio.ensure_future(asyncio.to_thread(work, stop.is_set))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.wait((task,), timeout=_SETTLE_S)
        if task.done() and not task.cancelled():
            task.exception()
        raise
