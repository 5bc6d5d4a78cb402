"""Whose contexts the cache is kept for, where they do not all fit it: a turn each, bounded.

To go from one run to another whose context is not there any more makes the engine compute it
again, and later the first one's, which can take longer than all the rest of their steps. So one
that would push out the context of a turn that goes on waits: until enough turns are over (a run
says so, or leaves, or asks nothing for long), or until they have had their time. That counts from a
turn's first answer, so that what it cost to come in is not all that it gets; and it begins anew for
whoever comes next, so that each waits for a bounded time for each that came before it. Runs that
are nested in a turn are part of it. Pure: time and what is known of runs are handed in. Must not
order those who wait.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

NEXT_S = 2.0
"""A turn whose run does not say when it is over counts as over when it asks nothing for so long."""
TURN_S = 30.0
"""And one whose run does say so: that may have died, or hang in a command for hours."""
TENURE_S = 120.0
"""The time that a turn has while others wait whose contexts do not fit beside it; but at least
PAYS times what its first answer took, most of which is the computing of its context."""
PAYS = 2.0

Idle = Callable[[str], float | None]
"""When a run's last request ended; None while it has one open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A run that would use the cache. tokens: of its context. rank: of its class. parents: the runs
    that it is nested in. turns: it says when its turn is over. came: since when it waits."""

    run: str
    tokens: int
    rank: int = 0
    parents: tuple[str, ...] = ()
    turns: bool = False
    came: float = 0.0


@dataclass(slots=True)
class _Turn:
    """One that goes on. since: when its first answer was complete, or before that it came in; has:
    seconds from then on."""

    wish: Wish
    since: float
    has: float = TENURE_S
    answered: bool = False


@dataclass(slots=True)
class Tenure:
    """The turns that go on in a cache of `pool` tokens; 0: not known, and nobody waits."""

    pool: int = 0
    _turns: dict[str, _Turn] = field(default_factory=dict)

    def take(self, wish: Wish, now: float, idle: Idle) -> None:
        """A run gets the engine; those whose contexts it pushes out are not kept any more."""
        if not wish.tokens:
            return
        known = self._turns.pop(wish.run, None)
        for _, run in self._to_leave(wish, idle):
            if run not in wish.parents:
                del self._turns[run]
        self._turns[wish.run] = turn = known or _Turn(wish, now)
        turn.wish = wish

    def answered(self, run: str, now: float, took: float) -> None:
        """A request of a run is complete. took: seconds that it had the engine."""
        turn = self._turns.get(run)
        if turn is not None and not turn.answered:
            turn.since, turn.has, turn.answered = now, max(TENURE_S, PAYS * took), True

    def over(self, run: str) -> None:
        """A run's turn is."""
        self._turns.pop(run, None)

    def keeps_out(self, wish: Wish, idle: Idle) -> float:
        """Until when a run waits for turns that go on; -inf: it need not."""
        if not (self.pool and wish.tokens) or wish.run in self._turns:
            return -float("inf")
        return max((limit for limit, _ in self._to_leave(wish, idle)), default=-float("inf"))

    def kept_for(self, wish: Wish, idle: Idle, now: float) -> list[str]:
        """The runs whose turns keep one out now."""
        if self.keeps_out(wish, idle) <= now:
            return []
        return [run for limit, run in self._to_leave(wish, idle) if limit > now]

    def _to_leave(self, wish: Wish, idle: Idle) -> list[tuple[float, str]]:
        """The turns that have to go so that a context fits, the first to go first, with times."""
        if not self.pool:
            return []
        over = wish.tokens + sum(turn.wish.tokens for turn in self._turns.values()) - self.pool
        found = []
        for limit, run in sorted((self._limit(t, wish, idle), r) for r, t in self._turns.items()):
            if over <= 0:
                break
            over -= self._turns[run].wish.tokens
            found.append((limit, run))
        return found

    def _limit(self, turn: _Turn, wish: Wish, idle: Idle) -> float:
        """Until when a turn is kept from one that wants its place."""
        theirs = turn.wish
        if theirs.run in wish.parents or wish.rank < theirs.rank:
            return -float("inf")
        had = max(wish.came, turn.since) + turn.has
        ended = idle(theirs.run)
        return had if ended is None else min(had, ended + (TURN_S if theirs.turns else NEXT_S))
