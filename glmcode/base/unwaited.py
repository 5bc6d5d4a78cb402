"""A caller's function in a thread of its own, which nobody waits for at the end.

Such a function may wait for a person who never answers, or for ever, and the turn's time be up:
the event loop's own threads would be waited for when the loop ends, and the process after them.
Must not know what the function does.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from glmcode.base.settled import carried

T = TypeVar("T")


async def in_own_thread(name: str, function: Callable[[], T]) -> T:
    """What the function returns, or raises (see carried). name: of the thread. Cancelled, the
    function runs on by itself."""
    future: Future[T] = Future()
    context = contextvars.copy_context()

    def work() -> None:
        try:
            value = context.run(carried, function)
        except BaseException as error:  # handed to whoever waits for the value
            future.set_exception(error)
        else:
            future.set_result(value)

    future.set_running_or_notify_cancel()
    threading.Thread(target=work, name=name, daemon=True).start()
    return await asyncio.wrap_future(future)
