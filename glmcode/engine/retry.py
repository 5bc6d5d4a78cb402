"""How long a failing server is borne with: a few tries, half a minute in all.

The time of failed tries and of the waits between them counts; the time of an answer that
streamed does not. A wait that the server asks for and that would not fit is not begun.
Must not decide what a failure is (faults.py does).
"""

from __future__ import annotations

import asyncio
import random
import time

from glmcode.core.events import Retrying
from glmcode.core.model import Emit
from glmcode.engine.faults import Fault
from glmcode.engine.http import CONNECT_S

BUDGET_S = 30.0
FIRST_WAIT_S = 0.5
MIN_CONNECT_S = 1.0


class Patience:
    """The budget of one reply."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._spent = 0.0
        self._failed = 0
        self._cuts = 0

    @property
    def connect_s(self) -> float:
        """How long the next try may take to connect."""
        return max(MIN_CONNECT_S, min(CONNECT_S, BUDGET_S - self._spent))

    def wait_for(self, fault: Fault, began: float) -> float | None:
        """Seconds to wait before another try, None when there shall be none.

        began: time.monotonic() at the start of the try that failed.
        """
        if fault.cut:
            self._cuts += 1
        else:
            self._failed += 1
            self._spent += time.monotonic() - began
        count = self._cuts if fault.cut else self._failed
        wait = fault.retry_after
        if wait is None:
            wait = FIRST_WAIT_S * 2 ** (count - 1) * random.uniform(0.8, 1.0)
        return None if count >= fault.tries or self._spent + wait > BUDGET_S else wait

    async def wait(self, fault: Fault, wait_s: float) -> None:
        """Say so, and wait; a cancelled turn ends here at once."""
        attempt = self._cuts + self._failed + 1
        self._emit(Retrying(why=str(fault), attempt=attempt, wait_s=round(wait_s, 2)))
        self._spent += wait_s
        await asyncio.sleep(wait_s)
