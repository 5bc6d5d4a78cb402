"""Where requests wait for the engine, are handed to it, and are broken off for others.

A request takes its place only when all of it has arrived (intake.py). Its place is free the moment
its client is gone, and the engine's seat the moment the answer is complete, whether or not the
client reads it. Those who wait and understand it are told their place in interim responses (102);
the more they are, the less often each is looked at. The order is queue.py's; the bytes are passed
on by handover.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from glmcode.engine.guests import stranger
from glmcode.engine.handover import Outcome, left, pass_on
from glmcode.engine.intake import Intake
from glmcode.engine.lane import CLASSES, Lane, Place, read_lane, read_tokens
from glmcode.engine.queue import Queue
from glmcode.engine.streamed import Streamed, streamed, with_length
from glmcode.engine.ticket import Ticket
from glmcode.engine.wire import Head, Incoming, answer

TOLD_S = 5.0
LOOK_S = 0.5
GRACE_S = 1.0
"""How long one that will not wait gives a seat that is just becoming free."""
FEW, CROWD = 20, 2000
"""One for each second between two looks at all who wait: a thousand are looked at every 0.5 s."""

_FREE = ("/render", "/tokenize", "/detokenize", "/count_tokens", "/abort_requests", "/cancel")
"""What takes none of it; and what ends an answer must not wait for its end."""


def queues(head: Head) -> bool:
    """Whether a request asks for the engine's time."""
    return head.method == "POST" and "/v1/" in head.path and not head.path.endswith(_FREE)


class Desk:
    """The queue of one engine.

    up: whether it answers; excuse: why it does not (awaited, it may take a moment); begin and
    end: called around each request that the engine gets, begin returns the header's line that
    marks its answer (given the seconds that it waited); changed: called when the queue is.
    """

    def __init__(
        self,
        upstream: Path,
        up: Callable[[], bool],
        excuse: Callable[[], Awaitable[Mapping[str, Any]]],
        begin: Callable[[Head, float], bytes],
        end: Callable[[], None],
        changed: Callable[[], None],
    ) -> None:
        self.queue = Queue()
        self._upstream = upstream
        self._up = up
        self._excuse = excuse
        self._begin = begin
        self._end = end
        self._changed = changed
        self._signals: dict[Ticket, asyncio.Event] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._round: asyncio.TimerHandle | None = None
        self._places: Mapping[Ticket, Place] = {}
        self._placed = -1e9
        self._moved = True
        self._intake = Intake()

    def to_json(self) -> dict[str, Any]:
        """Who has the engine and who waits, for a status. Times are Unix times."""
        if self._moved:
            self._placed = -1e9
        return {
            "running": [self._one(t, t.started_at) for t in self.queue.running],
            "waiting": [
                {
                    "position": p.position,
                    **self._one(t, t.entered_at),
                    "eta_s": p.eta_s,
                    "kept_out": p.kept_out,
                }
                for t, p in self._seen().items()
                if t.state == "waiting"
            ],
        }

    def _one(self, ticket: Ticket, since: float) -> dict[str, Any]:
        lane = ticket.lane
        return {
            "class": lane.kind,
            "label": lane.label,
            "run": lane.run,
            "since": round(since, 3),
            "tokens": ticket.tokens,
            "breaks": ticket.breaks,
        }

    async def serve(self, client: Incoming, writer: asyncio.StreamWriter, head: Head) -> bool:
        """One request from its place in the queue to the end of its answer.

        Returns whether the connection goes on. Raises WireError.
        """
        async with self._intake.whole(client, writer, head) as request:
            if request is None:
                return False
            lane = read_lane(head.headers, stranger(writer))
            return await self.answer(client, writer, head, request, lane)

    async def answer(
        self, client: Incoming, writer: asyncio.StreamWriter, head: Head, request: bytes, lane: Lane
    ) -> bool:
        """As `serve`, for a request that is whole (head and body), and whose place is known."""
        ticket = self.queue.enter(lane, read_tokens(head.headers))
        self._signals[ticket] = asyncio.Event()
        script: Streamed | None = None
        outcome: Outcome = "again"
        try:
            while outcome == "again":
                self._advance()
                begun = script is not None and script.begun
                quiet = begun or head.start[2] == "HTTP/1.0"
                refused = await self._turn(client, writer, ticket, quiet=quiet)
                if refused is not None:
                    whole = bool(refused) and not begun
                    writer.write(answer(503, refused) if whole else b"")
                    return whole
                if not begun:  # one that waits is not taken apart yet: it may be large
                    script = _script(head, request, ticket)
                outcome = await self._hand_over(client, writer, head, request, ticket, script)
                if outcome == "again":
                    self.queue.back(ticket)
                    if script is not None and not ticket.unseen:
                        rest = script.rest()
                        request = with_length(head, len(rest)) + rest
        finally:
            self._signals.pop(ticket, None)
            answered = outcome in ("done", "closed")
            self.queue.leave(ticket, broken=outcome == "broken", answered=answered)
            self._advance()
        if outcome == "silent":
            if script is not None and script.begun:
                return False
            writer.write(answer(503, await self._excuse()))
            return True
        return outcome in ("done", "broken")

    def gone(self, run: str) -> None:
        """The connection of a run has closed."""
        self.queue.gone(run)
        self._advance()

    def over(self, run: str) -> None:
        """A run says that its turn is over."""
        self.queue.over(run)
        self._advance()

    def wake(self) -> None:
        """The engine's state has changed: those who wait look at it."""
        for event in self._signals.values():
            event.set()

    async def _turn(
        self, client: Incoming, writer: asyncio.StreamWriter, ticket: Ticket, *, quiet: bool
    ) -> Mapping[str, Any] | None:
        """Wait until the ticket runs: None. An object: why it does not; {}: the client left."""
        leaving = asyncio.ensure_future(left(client))
        said: Place | None = None
        try:
            while True:
                if not self._up():
                    return await self._excuse()
                if ticket.state == "running":
                    if said is not None:
                        _tell(writer, Place(position=0, ahead=(), eta_s=None, seconds=said.seconds))
                    return None
                if (refused := self._refused(ticket)) is not None:
                    return refused
                place = self._seen().get(ticket)
                if place and ticket.lane.ours and not quiet and _tells(said, place):
                    said = place
                    _tell(writer, place.nameless() if ticket.lane.within else place)
                await self._signalled(ticket, leaving)
                if leaving.done() and leaving.result():
                    return {}
        finally:
            leaving.cancel()
            await asyncio.wait({leaving})

    async def _signalled(self, ticket: Ticket, leaving: asyncio.Future[bool]) -> None:
        """Until something may have changed for a ticket, or the client has left."""
        signal = self._signals[ticket]
        waiter = asyncio.ensure_future(signal.wait())
        wanted: set[asyncio.Future[Any]] = {waiter} if leaving.done() else {waiter, leaving}
        look_s = LOOK_S + len(self.queue.waiting) / CROWD
        limit = ticket.lane.wait_s
        if limit is not None and not ticket.returned:  # it will not wait longer than that
            left_s = ticket.entered + (limit or GRACE_S) - self.queue.clock()
            look_s = min(look_s, left_s) if left_s > 0 else look_s
        try:
            await asyncio.wait(wanted, timeout=look_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiter.cancel()
        signal.clear()

    def _refused(self, ticket: Ticket) -> Mapping[str, Any] | None:
        """Why it waits no longer: it was asked not to wait so long."""
        limit, waited = ticket.lane.wait_s, self.queue.clock() - ticket.entered
        if limit is None or ticket.returned:
            return None
        if limit == 0:
            begun = self.queue.known(ticket)  # a run that has begun waits for its next steps
            if begun or (self.queue.can_begin(ticket) and waited < GRACE_S):
                return None
            words = self._words(ticket)
            return _error("queue_busy", f"the engine is busy and waiting was ruled out: {words}")
        if waited < limit:
            return None
        words = self._words(ticket)
        return _error("queue_timeout", f"the engine was busy for {waited:.0f} s: {words}")

    def _words(self, ticket: Ticket) -> str:
        place = self.queue.place(ticket)
        return (place.nameless() if ticket.lane.within else place).words()

    async def _hand_over(
        self,
        client: Incoming,
        writer: asyncio.StreamWriter,
        head: Head,
        request: bytes,
        ticket: Ticket,
        script: Streamed | None,
    ) -> Outcome:
        signal = self._signals[ticket]
        signal.clear()
        mark = self._begin(head, ticket.queued)
        try:
            return await pass_on(
                client,
                writer,
                head.method,
                request,
                self._upstream,
                mark,
                broken=lambda: ticket.breaking,
                forced=lambda: ticket.forced,
                signal=signal,
                pressed=lambda: bool(self.queue.waiting),
                streams=lambda: self._streams(ticket, script),
                resumes=ticket.lane.resumes,
                script=script,
            )
        finally:
            self._end()

    def _streams(self, ticket: Ticket, script: Streamed | None) -> None:
        """The client has seen some of the answer: only one that can go on is broken off now."""
        ticket.unseen = False
        ticket.breakable = ticket.lane.resumes or script is not None

    def _advance(self) -> None:
        """Give free seats away, break off what must give way, and look again when need be."""
        while (ticket := self.queue.next()) is not None:
            self._signal(ticket)
        victim = self.queue.victim()
        if victim is not None:
            victim.breaking = True
            self._signal(victim)
        self._moved = True
        self._tell_soon()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        after = self.queue.wake_in()
        if after is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(after + 0.001, self._advance)
        self._changed()

    def _seen(self) -> Mapping[Ticket, Place]:
        """The places of all who wait, the next first; where they are many, of a moment ago."""
        now, waiting = self.queue.clock(), len(self.queue.waiting)
        fresh_s = 0.0 if waiting <= FEW else waiting / CROWD
        if now - self._placed >= (fresh_s if self._moved else LOOK_S + fresh_s):
            self._places, self._placed, self._moved = self.queue.places(), now, False
        return self._places

    def _tell_soon(self) -> None:
        """Let all who wait look at their places: at once if they are few."""
        count = len(self.queue.waiting)
        if count <= FEW:
            self._tell_all()
        elif self._round is None:
            loop = asyncio.get_running_loop()
            self._round = loop.call_later(count / CROWD, self._tell_all)

    def _tell_all(self) -> None:
        if self._round is not None:
            self._round.cancel()
            self._round = None
        for ticket in self.queue.waiting:
            self._signal(ticket)

    def _signal(self, ticket: Ticket) -> None:
        event = self._signals.get(ticket)
        if event is not None:
            event.set()


def _script(head: Head, request: bytes, ticket: Ticket) -> Streamed | None:
    """What follows an answer that may have to be broken off and can't be gone on with by others."""
    if CLASSES[ticket.rank] in ("interactive", "scripted") or ticket.lane.resumes:
        return None
    return streamed(head, request[len(head.raw) :])


def _tells(said: Place | None, now: Place) -> bool:
    """Whether a place is worth another word."""
    if said is None or now.seconds - said.seconds > TOLD_S:
        return True
    return [(a.label, a.running) for a in said.ahead] != [(a.label, a.running) for a in now.ahead]


def _tell(writer: asyncio.StreamWriter, place: Place) -> None:
    """An interim response; one that does not read gets no more of them."""
    if not writer.transport.get_write_buffer_size():
        writer.write(b"HTTP/1.1 102 Processing\r\n" + place.line() + b"\r\n")


def _error(kind: str, message: str) -> dict[str, Any]:
    return {"error": {"type": kind, "message": message, "log": []}}
