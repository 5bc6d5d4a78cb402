"""The status line: what goes on, which model in which mode, how full the window is.

A fold over events with a clock that is handed in; the line is made for a width, from the
richest form that fits. Must not print, and must not hold more than the last of each kind.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

from glmcode.base.duration import about, left
from glmcode.core.events import (
    Appended,
    ApprovalAsked,
    CallStarted,
    Compacted,
    Compacting,
    Delta,
    EngineProgress,
    Event,
    Queued,
    RequestFinished,
    Retrying,
    StepStarted,
    TurnFinished,
    TurnStarted,
    Waiting,
    Warming,
)
from glmcode.engine.lane import ordinal
from glmcode.repl.clean import one_line, visible
from glmcode.repl.columns import columns, cut

State: TypeAlias = Literal["opening", "away", "idle", "working", "stopping"]
WAITING_SHOWN_S = 2.0
RATE_AFTER_S = 0.5
"""A speed measured over less says nothing."""
RISKY = ("bypassPermissions",)
BAR = 10


@dataclass(slots=True)
class Status:
    """What the line is made of. Times are seconds of one monotonic clock."""

    state: State = "opening"
    since: float = 0.0
    model: str = ""
    mode: str = "default"
    used: int = 0
    window: int = 0
    hint: str = ""
    doing: str = ""
    progress: EngineProgress | None = None
    waiting: Waiting | None = None
    queued: Queued | None = None
    warming: int = 0
    branch: str = ""
    cached: float | None = None
    rate: float = 0.0
    unicode: bool = True
    _again: float = 0.0
    _tokens: int = 0
    _first: float = 0.0

    def enter(self, state: State, now: float) -> None:
        """Change the state; what belonged to the one before is forgotten."""
        self.state, self.since = state, now
        self.doing, self.hint, self.progress, self.waiting = "", "", None, None
        self.queued, self.warming, self._again = None, 0, 0.0

    def event(self, event: Event, now: float) -> None:
        """Take what an event says about the state."""
        match event:
            case EngineProgress():
                self.progress = event
                return
            case Waiting():
                self.waiting, self.queued = event, None
                return
            case Queued():
                self.queued, self.waiting = event, None
                return
            case Warming():
                self.warming = event.tokens
                return
            case TurnStarted():
                self.enter("working", now)
            case TurnFinished():
                self.enter("idle", now)
            case Compacting():
                self.doing = "compacting"
            case Compacted():
                self.doing = ""
            case StepStarted():
                self.doing, self._tokens = "asking the model", 0
            case RequestFinished():
                self._finished(event)
                return
            case Delta():
                kinds = {"reasoning": "thinking", "text": "answering", "call": "writing a call"}
                self.doing = kinds[event.kind]
                self._count(event.tokens, now)
            case CallStarted():
                self.doing = f"running {event.name}"
            case ApprovalAsked():
                self.doing = "waiting for your answer"
            case Retrying():
                self.doing, self._again = "trying again", now + event.wait_s
            case Appended():
                self.doing = ""
            case _:
                return
        self.progress = self.waiting = self.queued = None

    def _count(self, tokens: int, now: float) -> None:
        """Those of the first piece took the prompt's time, so the clock begins behind them."""
        if not self._tokens:
            self._first = now - 1e-9
            self._tokens = 1
            return
        self._tokens += tokens
        if now - self._first >= RATE_AFTER_S and self._tokens > 1:
            self.rate = (self._tokens - 1) / (now - self._first)

    def _finished(self, request: RequestFinished) -> None:
        """What the engine itself says of a request, in place of what was measured here."""
        self._tokens = 0
        if request.kind == "warm" or not request.whole:
            return
        if request.cached_tokens is not None and request.prompt_tokens:
            self.cached = 100 * request.cached_tokens / request.prompt_tokens
        if request.decode_s > 0 and request.output_tokens > 1:
            self.rate = (request.output_tokens - 1) / request.decode_s

    def spans(self, now: float, width: int) -> list[tuple[str, str]]:
        """The line as (style, text) pairs, at most `width` columns wide.

        What gives way first: the branch, the model, the speed, the cache's share, words of the
        meter, which key stops, the meter's tokens, the queue's details. What goes on gives way
        last, and before it a mode in which other things are allowed than usual.
        """
        apart = " · " if self.unicode else " | "
        for state, *more in self._forms(now):
            kept = [part for part in more if part]
            if sum(columns(apart + part) for part in kept) + columns(state) <= width:
                break
        else:
            kept = []
        style = "warning" if self.hint or self.state == "stopping" else "status"
        spans = [(style, cut(state, width))]
        for part in kept:
            risky = part == self.mode and part.partition(",")[0] in RISKY
            spans += [("status", apart), ("warning" if risky else "status", part)]
        return spans

    def _forms(self, now: float) -> Iterator[tuple[str, ...]]:
        """What could be shown, the state first, from the richest on."""
        full, calm, least = self._states(now)
        meter, short, percent = self._meter()
        mode = "" if self.mode == "default" else self.mode
        model, branch = cut(one_line(self.model), 40), cut(one_line(self.branch), 30)
        cache = "" if self.cached is None else f"cache {int(self.cached)} %"
        digits = 0 if round(self.rate, 1) >= 10 else 1
        rate = f"{self.rate:,.{digits}f} tok/s" if self.rate else ""
        yield full, model, self.mode, branch, meter, cache, rate
        yield full, model, self.mode, meter, cache, rate
        yield full, mode, meter, cache, rate
        yield full, mode, meter, cache
        yield full, mode, short, cache
        yield full, mode, short
        for state in (calm, least):
            yield state, mode, short
            yield state, mode, percent
        yield least, mode
        yield (least,)

    def _states(self, now: float) -> tuple[str, str, str]:
        """What goes on: with the key that stops it; without; and in the fewest words."""
        said, least = self._state(now)
        stops = " · Esc stops" if self.unicode else " | Esc stops"
        busy = self.state == "working" and not self.hint and self.progress is None
        return (said + stops if busy else said), said, least

    def _state(self, now: float) -> tuple[str, str]:
        """What goes on, and the same in the fewest words."""
        if self.hint:
            return self.hint, self.hint
        seconds = f"{max(0.0, now - self.since):.0f} s"
        if self.state == "stopping":
            return f"stopping {seconds}", "stopping"
        if self.progress is not None:
            return progress_text(self.progress), phase_text(self.progress)
        if self.state == "opening":
            return f"connecting {seconds}", f"connecting {seconds}"
        if self.state == "away":
            return "no engine", "no engine"
        if self.state == "idle":
            return warming_text(self.warming) if self.warming else "ready", "ready"
        if self.queued is not None:
            return queue_text(self.queued), place_text(self.queued)
        if self.waiting is not None and self.waiting.seconds >= WAITING_SHOWN_S:
            bar = "" if self.waiting.percent is None else self._bar(self.waiting.percent)
            return waiting_text(self.waiting, bar), short_waiting_text(self.waiting)
        if self._again > now:
            return f"trying again in {self._again - now:.0f} s", "trying again"
        said = f"{self.doing or 'working'} {seconds}"
        return said, said

    def _bar(self, percent: float) -> str:
        full = min(BAR, max(0, int(BAR * percent / 100)))
        marks = "█░" if self.unicode else "#."
        return f"{marks[0] * full}{marks[1] * (BAR - full)} "

    def _meter(self) -> tuple[str, str, str]:
        """How full the window is: in words, in numbers, in percent."""
        if not self.window:
            tokens = f"{self.used:,} tokens" if self.used else ""
            return tokens, tokens, ""
        numbers, percent = f"{self.used:,} of {self.window:,}", f"{self._full()} %"
        return f"{numbers} tokens ({percent})", f"{numbers} ({percent})", percent

    def _full(self) -> int:
        """Percent: 100 only where nothing is left, 0 only where nothing is held."""
        share = 100 * self.used / self.window
        return min(99, max(1, round(share))) if 0 < self.used < self.window else round(share)


def progress_text(progress: EngineProgress) -> str:
    """How far the engine is: "engine: loading weights 43 %, about 80 s left"."""
    return f"engine: {phase_text(progress)}"


def phase_text(progress: EngineProgress) -> str:
    """The same without saying whose it is."""
    percent = "" if progress.percent is None else f" {progress.percent:.0f} %"
    return f"{progress.phase}{percent}{left(progress.eta_s)}"


def warming_text(tokens: int) -> str:
    """ "ready, warming 12,345 tokens": what is said next may be said at once."""
    return f"ready, warming {tokens:,} tokens"


def waiting_text(waiting: Waiting, bar: str = "") -> str:
    """ "prompt of 120,000 tokens: 43 %, about 40 s left", or how long it took so far."""
    sign = "~" if waiting.estimated else ""
    percent = "" if waiting.percent is None else f" {bar}{sign}{waiting.percent:.0f} %"
    said = percent + left(waiting.eta_s, ", " if percent else " ")
    if not said:
        return f"waiting for the engine {waiting.seconds:.0f} s"
    return f"prompt of {waiting.prompt_tokens:,} tokens:{said}"


def short_waiting_text(waiting: Waiting) -> str:
    """ "prompt ~43 %, about 40 s left"; without a share as waiting_text."""
    if waiting.percent is None:
        return waiting_text(waiting)
    sign = "~" if waiting.estimated else ""
    return f"prompt {sign}{waiting.percent:.0f} %{left(waiting.eta_s)}"


def place_text(queued: Queued) -> str:
    """ "queue: 2nd, about 40 s"."""
    eta = about(queued.eta_s)
    return f"queue: {ordinal(queued.position)}{f', {eta}' if eta else ''}"


def queue_text(queued: Queued) -> str:
    """Where it stands: "queue: 2nd, about 40 s, after the scripted run in ~/proj"."""
    after = f", after the {visible(queued.ahead[0][1])}" if queued.ahead else ""
    return f"{place_text(queued)}{after}"
