"""Events on their way to the screen: taken at any speed, shown at most 12 times a second.

The agent's `emit` may neither block nor raise, so it only appends here; a writer drains.
Neighbouring pieces of the same stream are joined while they wait, and of a command's live
output only the end is kept: memory stays flat, facts are never dropped.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import replace

from glmcode.core.events import Delta, EngineProgress, Event, Queued, ToolOutput, Waiting

INTERVAL_S = 1 / 12
TICK_S = 0.5
OUTPUT_KEPT = 16_384


class Feed:
    """A queue of events. `show` gets all that came since it was last called, in order."""

    def __init__(self, show: Callable[[list[Event]], None], tick: Callable[[], None]) -> None:
        self._show = show
        self._tick = tick
        self._pending: list[Event] = []
        self._texts: list[str] = []
        self._tokens = 0
        self._wake = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()

    def put(self, event: Event) -> None:
        """Take an event, from any thread; never blocks or raises."""
        if threading.get_ident() == self._thread:
            self._add(event)
            return
        try:
            self._loop.call_soon_threadsafe(self._add, event)
        except RuntimeError:
            pass  # the loop has ended: nobody is there to be shown anything

    def drain(self) -> None:
        """Show what waits, now."""
        self._wake.clear()
        self._seal()
        if self._pending:
            events, self._pending = self._pending, []
            self._show(events)

    async def run(self) -> None:
        """Drain until cancelled; `tick` is called when nothing came for a while."""
        while True:
            try:
                await asyncio.wait_for(self._wake.wait(), TICK_S)
            except TimeoutError:
                self._tick()
                continue
            self.drain()
            await asyncio.sleep(INTERVAL_S)

    def _add(self, event: Event) -> None:
        last = self._pending[-1] if self._pending else None
        if isinstance(event, Delta) and isinstance(last, Delta) and _same_stream(last, event):
            self._texts.append(event.text)
            self._tokens += event.tokens
            return
        self._seal()
        last = self._pending[-1] if self._pending else None
        joined = None if last is None else _join(last, event)
        if joined is None:
            self._pending.append(event)
        else:
            self._pending[-1] = joined
        self._wake.set()

    def _seal(self) -> None:
        """The pieces that came after the last one of the same stream become one with it."""
        last = self._pending[-1] if self._pending else None
        if self._texts and isinstance(last, Delta):
            text, tokens = last.text + "".join(self._texts), last.tokens + self._tokens
            self._pending[-1] = replace(last, text=text, tokens=tokens)
            self._texts, self._tokens = [], 0


def _join(last: Event, event: Event) -> Event | None:
    match last, event:
        case ToolOutput(), ToolOutput() if last.call_id == event.call_id:
            return replace(last, text=(last.text + event.text)[-OUTPUT_KEPT:])
        case (EngineProgress(), EngineProgress()) | (Waiting(), Waiting()) | (Queued(), Queued()):
            return event
        case _:
            return None


def _same_stream(last: Delta, event: Delta) -> bool:
    return (
        last.kind == event.kind
        and last.call_index == event.call_index
        and last.name == event.name
        and last.argument == event.argument
    )
