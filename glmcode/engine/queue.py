"""Who gets the engine next: the order of those who wait, and nothing else.

Classes first; inside a class those who came first, one place for each run however many requests
it has. What would starve somebody has a limit: one who waited long counts a class higher, an
answer is broken off at most twice, and whoever goes before its equals (a nested run, the next step
of the one just served) does so only while none of them has waited long, the runs nested in one
only for so long together. One whose context would push out that of a turn that goes on waits for
it as tenure.py says. Time is handed in; nothing here waits, sends or knows HTTP (desk.py does).
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import inf
from typing import TypeAlias

from glmcode.engine.durations import Durations
from glmcode.engine.lane import CLASSES, Ahead, Lane, Place
from glmcode.engine.tenure import NEXT_S, Tenure, Wish
from glmcode.engine.ticket import Run, Ticket

HOLD_S = 0.3
"""How long the engine waits for the next request of the one just served while equals wait; one
that comes within NEXT_S goes before them."""
FAIR_S = 20.0
"""One who waited so long goes before equals that have only a bonus."""
PATIENCE_S = 120.0
"""And before nested runs; which go before others for so long, all those of one run together."""
AGE_S = 120.0
"""For each of these that one waited, it counts one class higher."""
MOST_BREAKS = 2
RETURN_S = 15.0
"""How long the place of one that was broken off is kept."""
FORGET_S = 3600.0
NESTED_S = 660.0
"""A run that asked nothing for so long waits for no command of its own any more: none lasts so
long, but one in the background does, and must not count as urgent for ever."""
NAMED = 20
"""How many of those ahead are named to one that waits."""
OWN_S = 2.0
"""A run waits no longer for what its own sandboxed commands have the engine do (hatch.py)."""
LONG_S = 120.0
LOOK_S = 1.0
"""Such an answer that has had the engine for LONG_S gives way to who would go before its next."""

Key: TypeAlias = tuple[bool, int, bool, bool, bool, bool, bool, bool, float, float, int]


@dataclass(slots=True)
class _Hold:
    """The engine is kept free for the next step of a run."""

    run: str
    rank: int
    since: float


@dataclass(slots=True)
class Queue:
    """All requests of one engine. seats: how many it serves at once; pool: tokens that its cache
    holds, 0: not known."""

    seats: int = 1
    pool: int = 0
    clock: Callable[[], float] = time.monotonic
    waiting: list[Ticket] = field(default_factory=list)
    running: list[Ticket] = field(default_factory=list)
    _runs: dict[str, Run] = field(default_factory=dict)
    _hold: _Hold | None = None
    _within: dict[str, float] = field(default_factory=dict)
    _tenure: Tenure = field(default_factory=Tenure)
    _took: Durations = field(default_factory=Durations)
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    def enter(self, lane: Lane, tokens: int = 0) -> Ticket:
        """Take a place. A run that was broken off gets its own back."""
        now = self.clock()
        run = self._run(lane, now)
        ticket = Ticket(lane, next(self._numbers), now, time.time(), tokens, run.breaks, came=now)
        if run.place_until >= now:
            ticket.returned = True
            ticket.entered, ticket.entered_at = run.place_entered
        run.place_until = -1e9
        run.open += 1
        run.rank = self._urgency(ticket, now)
        self.waiting.append(ticket)
        return ticket

    def leave(self, ticket: Ticket, *, broken: bool = False, answered: bool = True) -> None:
        """The request is over or was given up. broken: for somebody more urgent; it comes again.
        answered: to its end, so that it tells how long one takes."""
        if ticket.state == "left":
            return
        now = self.clock()
        run = self._run(ticket.lane, now)
        run.open -= 1
        if ticket.state == "waiting":
            self.waiting.remove(ticket)
        else:
            self.running.remove(ticket)
            run.ended = run.ended if ticket.forced else now  # it does not go on before others
            if ticket.lane.within:
                self._within[ticket.lane.within] = now
            self._tenure.answered(ticket.lane.run, now, now - ticket.started)
            if broken and not ticket.forced:
                run.breaks = ticket.breaks + 1
                run.place_until = now + RETURN_S
                run.place_entered = (ticket.entered, ticket.entered_at)
            elif not ticket.forced:
                run.breaks = 0
                if answered:
                    self._took.learn(ticket.lane.kind, now - ticket.started)
                if ticket.lane.ours and run.over < ticket.started:
                    self._hold = _Hold(ticket.lane.run, self._effective(ticket, now), now)
            for parent in self._parents(ticket):
                parent.helped += now - ticket.started
        ticket.state = "left"

    def back(self, ticket: Ticket) -> None:
        """A running request is put back at the head of its class: nobody saw any of it yet.

        One that had the engine too long is put back where others come before it.
        """
        self.running.remove(ticket)
        ticket.state, ticket.returned, ticket.breaking = "waiting", not ticket.forced, False
        ticket.breaks += 1
        ticket.came = self.clock()
        self.waiting.append(ticket)

    def gone(self, run: str) -> None:
        """One of a run's connections has closed; where that was not a look beside a request, so
        is its turn."""
        if run not in self._runs or not self._runs[run].open:
            self.over(run)

    def over(self, run: str) -> None:
        """A run's turn is over: nothing is kept for it. May come before its last answer is done."""
        if run in self._runs:
            self._runs[run].over = self.clock()
        self._tenure.over(run)
        if self._hold is not None and self._hold.run == run:
            self._hold = None

    def next(self) -> Ticket | None:
        """Give the engine to the next, or to nobody now (`wake_in` says when to ask again)."""
        if len(self.running) >= self.seats or not self.waiting:
            return None
        now = self.clock()
        first = min(self.waiting, key=lambda ticket: self._key(ticket, now))
        if self._held_until(first, now) > now:
            return None
        self._tenure.take(self._wish(first, now), now, self._idle)
        self._hold = None
        self.waiting.remove(first)
        self.running.append(first)
        first.state, first.started, first.started_at = "running", now, time.time()
        first.breakable, first.breaking, first.forced = True, False, False
        first.queued += now - first.came
        run = self._run(first.lane, now)
        run.served, run.tokens, run.helped = now, first.tokens or run.tokens, 0.0
        return first

    def wake_in(self) -> float | None:
        """Seconds after which `next` may say otherwise although nothing happened; None: never."""
        now = self.clock()
        if len(self.running) >= self.seats:
            ends = [self._overstays_at(ticket) for ticket in self.running if not ticket.breaking]
            end = min(ends, default=inf)
            return max(0.0, end - now) if end < inf else None
        if not self.waiting:
            return None
        first = min(self.waiting, key=lambda ticket: self._key(ticket, now))
        return max(0.0, self._held_until(first, now) - now)

    def victim(self) -> Ticket | None:
        """The running request that is to be broken off now, for the first of those who wait."""
        if len(self.running) < self.seats or not self.waiting:
            return None
        if any(ticket.breaking for ticket in self.running):
            return None
        now = self.clock()
        for ticket in self.running:
            if self._overstays_at(ticket) <= now:
                ticket.forced = True
                return ticket
        if not any(ticket.breakable and ticket.breaks < MOST_BREAKS for ticket in self.running):
            return None
        ready = [t for t in self.waiting if self._kept_out(t, now) <= now]
        urgent = min((self._urgency(ticket, now) for ticket in ready), default=len(CLASSES))
        found = [
            ticket
            for ticket in self.running
            if ticket.breakable
            and ticket.breaks < MOST_BREAKS
            # Hooks give way to a person, background work to everybody.
            and self._urgency(ticket, now) >= 2
            and (urgent == 0 or (urgent < 3 and self._urgency(ticket, now) == 3))
        ]
        return max(found, key=lambda t: (self._urgency(t, now), t.started), default=None)

    def can_begin(self, ticket: Ticket) -> bool:
        """Whether one that will not wait gets the engine in a moment."""
        if ticket.state != "waiting":
            return True
        free = self.seats - len([t for t in self.running if not t.breaking])
        return free > 0 and self.waiting_order().index(ticket) < free

    def known(self, ticket: Ticket) -> bool:
        """Whether the ticket's run has been served before: its work has begun."""
        return self._run(ticket.lane, self.clock()).served > -1e8

    def waiting_order(self) -> Sequence[Ticket]:
        """Those who wait, the next first."""
        now = self.clock()
        return sorted(self.waiting, key=lambda ticket: self._key(ticket, now))

    def place(self, ticket: Ticket) -> Place:
        """What one that waits is told."""
        return self.places()[ticket]

    def places(self) -> dict[Ticket, Place]:
        """What all who wait are told, the next first."""
        now = self.clock()
        ahead: list[Ahead] = []
        left: float | None = 0.0
        for one in self.running:
            ahead.append(self._ahead(one, now))
            left = self._took.after(one, left, now)
        found = {}
        for position, one in enumerate(self.waiting_order(), 1):
            kept_out = self._kept_out(one, now) > now
            found[one] = Place(
                position=position,
                ahead=tuple(ahead) or self._turns(one, now),
                eta_s=None if left is None or kept_out else round(left / self.seats, 1),
                seconds=max(0.0, now - one.entered),
                kept_out=kept_out,
            )
            if len(ahead) < NAMED:
                ahead.append(self._ahead(one, now))
            left = self._took.after(one, left, now)
        return found

    def _ahead(self, ticket: Ticket, now: float) -> Ahead:
        running = ticket.state == "running"
        since = ticket.started if running else ticket.entered
        seconds = max(0.0, now - since)
        return Ahead(
            kind=ticket.lane.kind, label=ticket.lane.label, seconds=seconds, running=running
        )

    def _turns(self, ticket: Ticket, now: float) -> tuple[Ahead, ...]:
        """Whose turns it waits for although nobody has the engine."""
        lanes = self._tenure.kept_for(self._wish(ticket, now), self._idle, now)
        runs = [self._runs[name] for name in lanes if name in self._runs]
        return tuple(
            Ahead(kind=r.lane.kind, label=r.lane.label, seconds=now - r.ended, running=False)
            for r in runs
        )

    def _run(self, lane: Lane, now: float) -> Run:
        run = self._runs.get(lane.run)
        if run is None:
            self._forget(now)
            run = self._runs[lane.run] = Run(now, lane)
        run.seen, run.lane = now, lane
        return run

    def _forget(self, now: float) -> None:
        for name in [n for n, r in self._runs.items() if not r.open and now - r.seen > FORGET_S]:
            del self._runs[name]
            self._within.pop(name, None)

    def _nested(self, ticket: Ticket, now: float) -> bool:
        """Whether a run that it is nested in waits for it: known here, and itself asks nothing."""
        parents = self._parents(ticket)
        return any(not parent.open and now - parent.ended < NESTED_S for parent in parents)

    def _parents(self, ticket: Ticket) -> list[Run]:
        return [self._runs[name] for name in ticket.lane.parents if name in self._runs]

    def _overstays_at(self, ticket: Ticket) -> float:
        """When one that a sandboxed command asked for must give way to those who wait now: to the
        run itself soon, to others after long. inf: it need not."""
        run = ticket.lane.within
        if not run:
            return inf
        now = self.clock()
        ends = [max(w.entered, ticket.started) + OWN_S for w in self.waiting if w.lane.run == run]
        others = [w for w in self.waiting if run not in (w.lane.run, w.lane.within)]
        if others and now < ticket.started + LONG_S:
            ends.append(ticket.started + LONG_S)
        elif others:
            again = self._key(replace(ticket, entered=now, returned=False), now)
            first = any(self._key(one, now) < again for one in others)
            ends.append(now if first else now + LOOK_S)
        return min(ends, default=inf)

    def _urgency(self, ticket: Ticket, now: float) -> int:
        """Its class, or that of the run which waits for it."""
        ranks = [ticket.rank]
        if self._nested(ticket, now):
            ranks += [run.rank for run in self._parents(ticket)]
        return min(ranks)

    def _effective(self, ticket: Ticket, now: float) -> int:
        """Its class, raised for its age; but age alone pushes nobody's context out."""
        aged = 0 if self._kept_out(ticket, now) > now else int(self._waited(ticket, now) // AGE_S)
        return max(0, self._urgency(ticket, now) - aged)

    def _came(self, ticket: Ticket) -> float:
        """When it did, or when its run was served last: many requests at once are one wait."""
        return max(ticket.entered, self._served(ticket.lane))

    def _served(self, lane: Lane) -> float:
        """When a run was served last; the sandboxed commands of one run are one, as names cost
        nothing, and until the last of them was done."""
        return max(self._runs[lane.run].served, self._within.get(lane.within, -1e9))

    def _waited(self, ticket: Ticket, now: float) -> float:
        return now - self._came(ticket)

    def _wish(self, ticket: Ticket, now: float) -> Wish:
        return Wish(
            run=ticket.lane.run,
            tokens=ticket.tokens,
            rank=self._urgency(ticket, now),
            parents=ticket.lane.parents,
            turns=ticket.lane.turns,
            came=self._came(ticket),
        )

    def _idle(self, run: str) -> float | None:
        known = self._runs.get(run)
        return -1e9 if known is None else None if known.open else known.ended

    def _kept_out(self, ticket: Ticket, now: float) -> float:
        """Until when it waits for turns that go on, whose contexts it would push out."""
        self._tenure.pool = self.pool
        return self._tenure.keeps_out(self._wish(ticket, now), self._idle)

    def _key(self, ticket: Ticket, now: float) -> Key:
        """Smaller is sooner."""
        run = self._runs[ticket.lane.run]
        waited = self._waited(ticket, now)
        late = waited > FAIR_S
        held = self._hold is not None and self._hold.run == ticket.lane.run
        held = held or 0 <= ticket.entered - run.ended < NEXT_S
        soon = ticket.lane.ours and run.open == 1 and held
        helped = max((parent.helped for parent in self._parents(ticket)), default=0.0)
        nested = self._nested(ticket, now) and helped < PATIENCE_S
        own = ticket.lane.within or None  # a run goes before what it started itself
        return (
            self._kept_out(ticket, now) > now,  # the engine need not stand still for it
            self._effective(ticket, now),
            own is not None and any(one.lane.run == own for one in self.waiting),
            not ticket.returned,
            not (waited > PATIENCE_S),
            not nested,
            not late,
            not (late or soon),
            self._came(ticket),
            self._served(ticket.lane),
            ticket.number,
        )

    def _held_until(self, first: Ticket, now: float) -> float:
        """Until when the first of those who wait leaves the engine free; now: it need not."""
        kept_out = self._kept_out(first, now)
        hold = self._hold
        if hold is None or first.lane.run == hold.run or hold.run in first.lane.parents:
            return max(now, kept_out)
        if self._effective(first, now) < hold.rank or self.seats - len(self.running) > 1:
            return max(now, kept_out)
        until = min(hold.since + HOLD_S, self._came(first) + FAIR_S)
        return max(now, kept_out, until)
