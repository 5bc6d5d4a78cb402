"""What is worth a line while something is waited for, where lines stay: a pipe, a dumb terminal.

The engine's phases, the place in the queue and how far a prompt is are told many times a second;
here each is told when it changes, and else now and then. Pure but for the time, which is handed
in with the events. Must not print.
"""

from __future__ import annotations

import re

from glmcode.base.duration import left
from glmcode.core.events import EngineProgress, Event, Queued, Waiting, Warming
from glmcode.engine.lane import ordinal
from glmcode.repl.status import progress_text, warming_text

SOON_S = 2.0
"""What is over sooner is not worth a line."""
AGAIN_S = 10.0
PROMPT_S = 3.0
"""How often it is told how far a prompt is, to somebody who wants to know."""

_COUNT = re.compile(r" \(\d+/\d+\)$")


def queued_text(event: Queued) -> str:
    """One line for a request that waits: its place, who is before it, how long it will take."""
    after = ""
    if event.ahead:
        _, label, seconds, _ = event.ahead[0]
        more = f" and {len(event.ahead) - 1} more" if len(event.ahead) > 1 else ""
        after = f" after the {label} (for {max(0.0, seconds):.0f} s){more}"
    what = "broken off for somebody more urgent, now " if event.broken_off else ""
    place = f"{what}{ordinal(event.position)}{after}{left(event.eta_s)}"
    return f"queue: {place}; waiting for {event.seconds:.0f} s"


def silence_text(event: Waiting, *, detail: bool) -> str:
    """One line for a request that nothing has come of yet. detail: how far its prompt is, too."""
    held = f" ({event.prompt_tokens:,} tokens)" if event.prompt_tokens else ""
    said = f"waiting for the engine: {event.seconds:.0f} s{held}"
    if not detail:
        return said
    about = "~" if event.estimated else ""
    done = "" if event.percent is None else f", {about}{event.percent:.0f} % computed"
    return f"{said}{done}{left(event.eta_s)}"


class Waits:
    """Chooses lines. eager: each change is told at once, and how far a prompt is more often.
    detail: how far a prompt is is told at all."""

    def __init__(self, *, eager: bool, detail: bool) -> None:
        self._eager = eager
        self._detail = detail
        self._phase: tuple[str, float] = ("", -AGAIN_S)
        self._order: object = None
        self._queue_said = 0.0
        self._silence_said = 0.0

    def line(self, event: Event, now: float) -> str:
        """The line for an event at a time of a monotonic clock; "" for none."""
        match event:
            case EngineProgress():
                return progress_text(event) if self.due(event, now) else ""
            case Queued():
                return self._queued(event, now)
            case Waiting():
                return self._silence(event)
            case Warming() if event.tokens:
                return warming_text(event.tokens)
            case _:
                return ""

    def due(self, event: EngineProgress, now: float) -> bool:
        """Whether the engine's progress is worth a line now; that counts as told."""
        phase = _COUNT.sub("", event.phase)  # of 47 files each would be a change
        if phase == self._phase[0] and now - self._phase[1] < AGAIN_S:
            return False
        self._phase = (phase, now)
        return True

    def _queued(self, event: Queued, now: float) -> str:
        order = (event.position, event.broken_off, [label for _, label, _, _ in event.ahead])
        if self._order is None:
            self._queue_said = now - AGAIN_S
        since = now - self._queue_said
        changed = order != self._order and (self._eager or since >= SOON_S)
        if not (changed or since >= AGAIN_S) or (event.seconds < SOON_S and not self._eager):
            return ""
        self._queue_said, self._order = now, order
        return queued_text(event)

    def _silence(self, event: Waiting) -> str:
        self._order = None
        if event.seconds < self._silence_said:  # another silence
            self._silence_said = 0.0
        known = self._detail and (event.percent is not None or event.eta_s is not None)
        if self._silence_said or not known:
            often = PROMPT_S if known and self._eager else AGAIN_S
        else:
            often = SOON_S
        if event.seconds - self._silence_said < often:
            return ""
        self._silence_said = event.seconds
        return silence_text(event, detail=self._detail)
