"""A request on its way through the queue, and what the queue remembers of who asked.

Values that queue.py changes and others look at. Must not decide anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from glmcode.engine.lane import CLASSES, Lane


@dataclass(slots=True, eq=False)
class Ticket:
    """One request on its way through the queue. Times are of one monotonic clock.

    breaks: how often it was broken off for somebody more urgent; returned: it was, and goes
    to the head of its class. breakable: it may still be broken off as far as it has come. unseen:
    nothing of its answer was passed on. forced: it is broken off although that may cost the answer.
    queued: seconds that it has waited in all, until it got the engine; came: when it began to.
    """

    lane: Lane
    number: int
    entered: float
    entered_at: float
    tokens: int = 0
    breaks: int = 0
    returned: bool = False
    state: Literal["waiting", "running", "left"] = "waiting"
    started: float = 0.0
    started_at: float = 0.0
    breakable: bool = True
    breaking: bool = False
    unseen: bool = True
    forced: bool = False
    came: float = 0.0
    queued: float = 0.0

    @property
    def rank(self) -> int:
        """0 for the most urgent class."""
        return CLASSES.index(self.lane.kind)


@dataclass(slots=True)
class Run:
    """What is remembered of a run. served: when it last got the engine; ended: when it was done;
    over: when its turn was; helped: seconds of the engine for runs nested in it since then."""

    seen: float
    lane: Lane
    served: float = -1e9
    ended: float = -1e9
    over: float = -1e9
    helped: float = 0.0
    rank: int = 1
    tokens: int = 0
    open: int = 0
    breaks: int = 0
    place_until: float = -1e9
    place_entered: tuple[float, float] = (0.0, 0.0)
