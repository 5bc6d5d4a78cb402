"""The times of one request, and what a person is told while nothing comes.

Must not send, read or judge anything.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import TracebackType
from typing import TypeAlias

from glmcode.core.events import Queued, Waiting
from glmcode.core.model import Emit
from glmcode.engine.lane import QUEUED, read_place
from glmcode.engine.mark import EngineMark

QUIET_S = 2.0
TICK_S = 1.0

Share: TypeAlias = tuple[float | None, float | None]
"""Percent of a prompt that is computed, and seconds left; None: not known."""


class Clock:
    """Times of one try, and the ticks that show silence. Seconds of time.monotonic().

    prefill: tells how far the prompt is, where that is known.
    """

    def __init__(self, emit: Emit, prompt_tokens: int, *, goes_on: bool = False) -> None:
        self._emit = emit
        self._prompt_tokens = prompt_tokens
        self._goes_on = goes_on
        self._queued: Queued | None = None
        self._told = 0.0
        self.began = self._last = time.monotonic()
        self.first: float | None = None
        self.mark = EngineMark()
        self.prefill: Callable[[], Share] = lambda: (None, None)
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> Clock:
        self._schedule()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def touch(self) -> None:
        """A token has come."""
        self._last = time.monotonic()
        if self.first is None:
            self.first = self._last

    def queued(self, headers: Mapping[str, str]) -> None:
        """An interim response told the request's place in the queue."""
        place = read_place(headers.get(QUEUED))
        if place is None:
            return
        self._told = time.monotonic()
        self._queued = Queued(
            position=place.position,
            seconds=place.seconds,
            eta_s=place.eta_s,
            ahead=tuple((a.kind, a.label, a.seconds, a.running) for a in place.ahead),
            broken_off=self._goes_on,
        )
        self._emit(self._queued)

    def answered(self, mark: EngineMark) -> None:
        """The head of the answer has come: the engine is at it."""
        self.mark = mark
        if self._queued is not None:
            self._queued, self._last = None, time.monotonic()

    @property
    def last(self) -> float:
        """When the last token came, or the request began."""
        return self._last

    @property
    def queued_now(self) -> bool:
        """Whether it waits for others."""
        return self._queued is not None

    def _schedule(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(TICK_S, self._tick)

    def _tick(self) -> None:
        silent = time.monotonic() - self._last
        if self._queued is not None:
            self._emit(_later(self._queued, time.monotonic() - self._told))
        elif silent > QUIET_S:
            percent, eta_s = self.prefill() if self.first is None else (None, None)
            self._emit(
                Waiting(
                    seconds=round(silent, 1),
                    prompt_tokens=self._prompt_tokens,
                    percent=percent,
                    eta_s=eta_s,
                )
            )
        self._schedule()


def _later(queued: Queued, since: float) -> Queued:
    """The same place, some seconds after it was told."""
    return replace(
        queued,
        seconds=queued.seconds + since,
        eta_s=None if queued.eta_s is None else max(0.0, queued.eta_s - since),
        ahead=tuple((k, label, s + since, running) for k, label, s, running in queued.ahead),
    )
