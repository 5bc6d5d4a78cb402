"""An engine, its cache and its users in a time that costs nothing, before the real queue.

Used by the tests of fairness, and by hand to compare rules:

    python -m tests.engine.queue_kit [SEEDS]

Each user is a run: it asks, works (a command, a test), asks again; after some steps its turn is
over and a person thinks. The engine prefills what its cache lacks of a prompt, at the speeds that
are expected of eight RTX 3090 for a context's depth, and decodes; the cache gives up what was used
least lately, from its end, as vLLM's does. What is counted: tokens computed twice, seconds in which
the engine stood still although somebody waited, and how long each waited.
"""

from __future__ import annotations

import heapq
import itertools
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass, field

from glmcode.engine.lane import Lane, QueueClass
from glmcode.engine.queue import Queue
from glmcode.engine.ticket import Ticket

DECODE = 30.0
"""Tokens a second."""


def prefill_s(count: int, depth: int) -> float:
    """Seconds to compute `count` tokens that end at this depth."""
    return count * (1 / 1900 + depth / 7e7)


@dataclass
class Cache:
    """Tokens held of each context, the least lately used first."""

    pool: int
    held: dict[str, int] = field(default_factory=dict)

    def use(self, name: str, tokens: int) -> int:
        """Make room for a context; how many of its tokens were there."""
        had = min(self.held.pop(name, 0), tokens)
        over = sum(self.held.values()) + tokens - self.pool
        for other in list(self.held):
            if over <= 0 or not self.pool:
                break
            taken = min(over, self.held[other])
            self.held[other] -= taken
            over -= taken
        self.held[name] = tokens
        return had


@dataclass
class User:
    """One run. steps of a turn, seconds of work between them and of thought between turns, tokens
    of an answer: each drawn by a function. turns: how many before it ends, None: for ever."""

    name: str
    kind: QueueClass = "scripted"
    tells: bool = True
    tokens: int = 20_000
    grows: int = 1_000
    steps: Callable[[], int] = lambda: 1
    work: Callable[[], float] = lambda: 0.1
    thought: Callable[[], float] = lambda: 30.0
    answer: Callable[[], int] = lambda: 60
    turns: int | None = None
    parents: tuple[str, ...] = ()
    follower: Callable[[], User] | None = None
    left: int = 0
    known: int = 0
    begins: int = field(init=False)

    def __post_init__(self) -> None:
        self.begins = self.tokens

    def lane(self) -> Lane:
        return Lane(
            kind=self.kind,
            run=self.name,
            label=self.name,
            turns=self.tells,
            parents=self.parents,
            ours=True,
        )


class Machine:
    """The engine with its queue and users. waits: seconds of each request, by user."""

    def __init__(self, pool: int = 0) -> None:
        self.now = 0.0
        self.queue = Queue(pool=pool, clock=lambda: self.now)
        self.cache = Cache(pool)
        self.waits: dict[str, list[float]] = {}
        self.served: list[str] = []
        self.twice = 0
        self.idle = 0.0
        self.steps = 0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = itertools.count()
        self._users: dict[int, User] = {}

    def at(self, after: float, what: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.now + after, next(self._count), what))

    def joins(self, user: User, after: float = 0.0) -> None:
        def begin() -> None:
            user.left = user.steps()
            self._asks(user)

        self.at(after, begin)

    def run(self, seconds: float) -> None:
        """Let them all do what they do for so long."""
        until = self.now + seconds
        while self._events and self._events[0][0] <= until:
            then, _, what = heapq.heappop(self._events)
            if self.queue.waiting and not self.queue.running:
                self.idle += then - self.now
            self.now = then
            what()
            self._advance()
        self.now = until

    def _asks(self, user: User) -> None:
        ticket = self.queue.enter(user.lane(), user.tokens)
        self._users[ticket.number] = user

    def _advance(self) -> None:
        while (ticket := self.queue.next()) is not None:
            self._serves(ticket)
        after = self.queue.wake_in()
        if after is not None:
            self.at(after + 1e-3, lambda: None)

    def _serves(self, ticket: Ticket) -> None:
        user = self._users.pop(ticket.number)
        self.waits.setdefault(user.name, []).append(self.now - ticket.entered)
        self.served.append(user.name)
        had = self.cache.use(user.name, user.tokens)
        self.twice += max(0, user.known - had)
        answer = user.answer()
        took = prefill_s(user.tokens - had, user.tokens) + answer / DECODE
        user.tokens += answer
        user.known = user.tokens
        self.cache.held[user.name] = user.tokens
        self.at(took, lambda: self._done(user, ticket))

    def _done(self, user: User, ticket: Ticket) -> None:
        self.steps += 1
        self.queue.leave(ticket)
        user.left -= 1
        if user.left > 0:
            user.tokens += user.grows
            self.at(user.work(), lambda: self._asks(user))
            return
        if user.tells:
            self.queue.over(user.name)
        user.turns = None if user.turns is None else user.turns - 1
        if user.turns == 0:
            self.queue.gone(user.name)
            if user.follower is not None:
                self.joins(user.follower())
            return
        if user.tokens > 1.2 * user.begins:  # it compacts
            user.tokens = user.known = user.begins
        user.tokens += user.grows
        self.joins(user, user.thought())


def sessions(chance: random.Random, count: int, tokens: int, *, tells: bool) -> list[User]:
    """People at work: turns of about twelve steps, most commands short, some of many seconds."""

    def one(number: int) -> User:
        return User(
            name=f"session {number}",
            kind="interactive",
            tells=tells,
            tokens=int(tokens * chance.uniform(0.8, 1.2)),
            grows=400,
            steps=lambda: 1 + int(chance.expovariate(1 / 12)),
            work=lambda: min(120.0, chance.lognormvariate(0.3, 1.5)),
            thought=lambda: chance.expovariate(1 / 60),
            answer=lambda: 20 + int(chance.expovariate(1 / 150)),
        )

    return [one(number) for number in range(count)]


def compare(seeds: int, hours: float = 2.0) -> None:
    """Three rules on the same people: no eye on the cache, a hold of seconds, ends of turns."""
    print("sessions x tokens | rule | steps/h | twice, k/step | idle % | wait p50 p95 max, s")
    for count, tokens in ((2, 60_000), (2, 110_000), (3, 80_000), (4, 110_000)):
        for rule, eye, tells in (("none", 0, False), ("hold", 1, False), ("turns", 1, True)):
            waits: list[float] = []
            steps, twice, idle = 0, 0, 0.0
            for seed in range(seeds):
                machine = Machine(200_000)
                machine.queue.pool = 200_000 * eye
                for user in sessions(random.Random(seed), count, tokens, tells=tells):
                    machine.joins(user)
                machine.run(hours * 3600)
                waits += [w for each in machine.waits.values() for w in each]
                steps, twice = steps + machine.steps, twice + machine.twice
                idle += machine.idle
            waits.sort()
            spread = [waits[int(len(waits) * share)] for share in (0.5, 0.95)] + [waits[-1]]
            print(
                f"{count} x {tokens:7,} | {rule:5} | {steps / seeds / hours:6.0f} | "
                f"{twice / steps / 1000:6.2f} | {idle / seeds / hours / 36:5.1f} | "
                + " ".join(f"{w:6.1f}" for w in spread)
            )


if __name__ == "__main__":
    compare(int((sys.argv[1:] or ["5"])[0]))
