"""Work in a thread: it may block for ever, and the turn can still be cancelled.

To sleep and be woken costs the event loop more than most of this work takes, so the loop first
stands still for it, GRACE_S at most, and only then lets others run. A thread can't be cancelled:
where something might still change, the work is asked to stop, and waited for. Must not know what
the work is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event
from typing import ParamSpec, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")
GRACE_S = 0.01
"""Seconds for which the event loop stands still: shorter than a person or a screen notices."""
_SETTLE_S = 5.0
_POOL = ThreadPoolExecutor(8, "deed")


def carried(work: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """What `work`, which is not ours, returns or raises; RuntimeError in place of StopIteration.

    No future of asyncio can hold that one: whoever awaits it would wait for ever.
    """
    try:
        return work(*args, **kwargs)
    except StopIteration as error:
        raise RuntimeError("StopIteration") from error


async def in_thread(work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """What `work` returns or raises. When cancelled the work goes on and nobody hears of it."""
    future = _POOL.submit(work, *args, **kwargs)
    if _done(future):
        return future.result()
    return await asyncio.wrap_future(future)


async def settled(work: Callable[[Callable[[], bool]], _T]) -> _T:
    """Run `work` in a thread; it is given a function that says whether to stop.

    When cancelled, the work is asked to stop and waited for (some seconds at most) before the
    cancellation goes on, so that nothing changes after the turn was said to have ended.
    """
    stop = Event()
    future = _POOL.submit(work, stop.is_set)
    if _done(future):
        return future.result()
    task = asyncio.wrap_future(future)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        stop.set()
        task.add_done_callback(_noted)
        await asyncio.wait((task,), timeout=_SETTLE_S)
        raise


def _noted(task: asyncio.Future[_T]) -> None:
    """What it raised is nobody's concern any more: asyncio would log it."""
    if not task.cancelled():
        task.exception()


def _done(future: Future[_T]) -> bool:
    try:
        future.exception(GRACE_S)
    except TimeoutError:
        return future.done()
    return True
