"""The status line: what goes on, which model in which mode, how full the window is.

A fold over events with a clock that is handed in; the line is made for a width, from the
richest form that fits. Must not print, and must not hold more than the last of each kind.
"""

from __future__ import annotations

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

State: TypeAlias = Literal["opening", "away", "idle", "working", "stopping"]
WAITING_SHOWN_S = 2.0
RATE_AFTER_S = 0.5
"""A speed measured over less says nothing."""
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
    _tokens: int = 0
    _first: float = 0.0

    def enter(self, state: State, now: float) -> None:
        """Change the state; what belonged to the one before is forgotten."""
        self.state, self.since = state, now
        self.doing, self.hint, self.progress, self.waiting = "", "", None, None
        self.queued, self.warming = None, 0

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
                self.doing = f"trying again in {event.wait_s:.0f} s"
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
        """The line as (style, text) pairs, at most `width` columns wide."""
        state = self._state(now)
        meter, percent = self._meter()
        mode = "" if self.mode == "default" else self.mode
        model = self.model if len(self.model) <= 40 else self.model[:39] + "…"
        cache = "" if self.cached is None else f"cache {int(self.cached)} %"
        digits = 0 if round(self.rate, 1) >= 10 else 1
        rate = f"{self.rate:,.{digits}f} tok/s" if self.rate else ""
        branch = one_line(self.branch, 30)
        forms = (
            [state, model, self.mode, branch, meter, cache, rate],
            [state, model, self.mode, meter, cache, rate],
            [state, mode, meter, cache, rate],
            [state, mode, meter, cache],
            [state, mode, meter],
            [state, mode, percent],
            [state, percent],
            [state],
        )
        for parts in forms:
            kept = [part for part in parts if part]
            if sum(map(len, kept)) + 3 * (len(kept) - 1) <= width:
                break
        style = "warning" if self.hint or self.state == "stopping" else "status"
        rest = "".join(f" · {part}" for part in kept[1:])
        return [(style, kept[0][:width]), ("status", rest)]

    def _state(self, now: float) -> str:
        if self.hint:
            return self.hint
        if self.state == "stopping":
            return "stopping"
        if self.progress is not None:
            return progress_text(self.progress)
        seconds = f"{max(0.0, now - self.since):.0f} s"
        if self.state == "opening":
            return f"connecting {seconds}"
        if self.state == "away":
            return "no engine"
        if self.state == "idle":
            return warming_text(self.warming) if self.warming else "ready"
        if self.queued is not None:
            return f"{queue_text(self.queued)} · Esc stops"
        if self.waiting is not None and self.waiting.seconds >= WAITING_SHOWN_S:
            bar = "" if self.waiting.percent is None else self._bar(self.waiting.percent)
            return f"{waiting_text(self.waiting, bar)} · Esc stops"
        return f"{self.doing or 'working'} {seconds} · Esc stops"

    def _bar(self, percent: float) -> str:
        full = min(BAR, max(0, int(BAR * percent / 100)))
        marks = "█░" if self.unicode else "#."
        return f"{marks[0] * full}{marks[1] * (BAR - full)} "

    def _meter(self) -> tuple[str, str]:
        if not self.window:
            return (f"{self.used:,} tokens" if self.used else ""), ""
        percent = f"{100 * self.used / self.window:.0f} %"
        return f"{self.used:,} of {self.window:,} tokens ({percent})", percent


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


def queue_text(queued: Queued) -> str:
    """Where it stands: "queue: 2nd, about 40 s, after the scripted run in ~/proj"."""
    eta = about(queued.eta_s)
    after = f", after the {visible(queued.ahead[0][1])}" if queued.ahead else ""
    return f"queue: {ordinal(queued.position)}{f', {eta}' if eta else ''}{after}"
