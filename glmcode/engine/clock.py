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


class Progress:
    """How far a prompt is said to be: what the engine says, else a guess; never less than before.

    Where the engine says less than was guessed, its percent is not told until it has got there.
    """

    def __init__(self) -> None:
        self._most = 0.0

    def told(self, said: Share, guess: Share) -> tuple[float | None, float | None, bool]:
        """Percent, seconds left, and whether they are a guess."""
        percent, eta_s = said
        if percent is not None:
            if percent < self._most:
                return None, eta_s, False
            self._most = percent
            return percent, eta_s, False
        if guess[0] is None:
            return None, None, False
        self._most = max(self._most, guess[0])
        return self._most, guess[1], True


class Clock:
    """Times of one try, and the ticks that show silence. Seconds of time.monotonic().

    prefill: tells how far the prompt is, where that is known. guess: how far it should be after
    so many seconds.
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
        self.guess: Callable[[float], Share] = lambda elapsed: (None, None)
        self._progress = Progress()
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
        if place.position < 1:
            self._its_turn()
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

    def _its_turn(self) -> None:
        """The engine has begun with it: what is silent from now on is the prompt."""
        self._queued, self._last = None, time.monotonic()
        self._progress = Progress()
        self._emit(Waiting(seconds=0.0, prompt_tokens=self._prompt_tokens))

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
            self._emit(self._waiting(silent))
        self._schedule()

    def _waiting(self, silent: float) -> Waiting:
        percent, eta_s, estimated = None, None, False
        if self.first is None:
            percent, eta_s, estimated = self._progress.told(self.prefill(), self.guess(silent))
        return Waiting(
            seconds=round(silent, 1),
            prompt_tokens=self._prompt_tokens,
            percent=percent,
            eta_s=eta_s,
            estimated=estimated,
        )


def _later(queued: Queued, since: float) -> Queued:
    """The same place, some seconds after it was told."""
    return replace(
        queued,
        seconds=queued.seconds + since,
        # Where it took longer than was said, nothing is known until it is told anew.
        eta_s=None if queued.eta_s is None or since >= queued.eta_s else queued.eta_s - since,
        ahead=tuple((k, label, s + since, running) for k, label, s, running in queued.ahead),
    )
