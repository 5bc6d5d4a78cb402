"""What a headless run says on stderr: one plain line per fact, progress only where it helps.

Nothing here goes to stdout or to the model. Lines are cut and cleaned of control
characters, because they hold text from files and commands. Must never raise: stderr may be
closed.
"""

from __future__ import annotations

import os
import time
from typing import Any

from glmcode.context.ledger import request_line
from glmcode.core.events import (
    Appended,
    CallStarted,
    Compacted,
    Compacting,
    EngineProgress,
    Event,
    Notice,
    Queued,
    RequestFinished,
    Retrying,
    StepFinished,
    Waiting,
)
from glmcode.core.messages import ToolMessage
from glmcode.engine.lane import ordinal
from glmcode.repl.clean import visible

WAIT_SAID_S = 10.0
PREFILL_SAID_S = 3.0
"""With --verbose, where it is known how far a prompt is."""
LOG_LINES = 8


def call_line(event: CallStarted) -> str:
    """One line for a call that begins: its tool and what it is about."""
    title = (event.preview.title.splitlines() or [""])[0]
    return title if title.startswith(event.name) else f"{event.name}: {title}"


def compacting_text(event: Compacting) -> str:
    """What is said while a summary is asked for."""
    of = f" of {event.window:,}" if event.window else ""
    return f"compacting the conversation ({event.tokens:,}{of} tokens)"


def compacted_text(event: Compacted) -> str:
    """One line for a compaction that was done, with what it cost."""
    how = "" if event.summary else " without a summary"
    new = event.usage.prompt_tokens - event.usage.cached_tokens
    cost = f"; asking took {new:,} new tokens and {event.usage.output_tokens:,} of answer"
    told = cost if event.usage.prompt_tokens else ""
    return f"compacted{how}: {event.before:,} tokens became {event.after:,}{told}"


def queued_text(event: Queued) -> str:
    """One line for a request that waits: its place, who is before it, how long it will take."""
    after = ""
    if event.ahead:
        _, label, seconds, _ = event.ahead[0]
        more = f" and {len(event.ahead) - 1} more" if len(event.ahead) > 1 else ""
        after = f" after the {label} (for {seconds:.0f} s){more}"
    left = "" if event.eta_s is None else f", about {event.eta_s:.0f} s left"
    what = "broken off for somebody more urgent, now " if event.broken_off else ""
    place = f"{what}{ordinal(event.position)}{after}{left}"
    return f"queue: {place}; waiting for {event.seconds:.0f} s"


class Notes:
    """A writer of notes to stderr."""

    def __init__(self, *, verbose: bool) -> None:
        self.verbose = verbose
        self._phase = ""
        self._last_progress = 0.0
        self._last_wait = 0.0
        self._queue_said = 0.0
        self._order: tuple[int, list[str]] = (0, [])

    def say(self, text: str) -> None:
        """One line, cleaned; silently nothing when stderr is gone."""
        line = visible(text)
        try:
            os.write(2, f"{line}\n".encode("utf-8", "replace"))
        except OSError:
            pass

    def error(self, text: str, log: str) -> None:
        """An error's sentence, and the last raw lines that back it."""
        self.say(f"glmcode: {text}")
        for line in log.splitlines()[-LOG_LINES:]:
            self.say(f"  | {line[:300]}")

    def denials(self, denials: list[dict[str, Any]]) -> None:
        """What was not allowed, and how to allow it."""
        names = sorted({str(denial["tool_name"]) for denial in denials})
        self.say(
            f"glmcode: {len(denials)} action(s) needed an answer that nobody could give "
            f"({', '.join(names)}); allow them with --allowed-tools RULE, or all with -y"
        )

    def event(self, event: Event) -> None:
        """Say an event that a person watching would want to know."""
        match event:
            case CallStarted():
                self.say(call_line(event)[:200])
            case Appended(message=ToolMessage(is_error=True) as message):
                self.say(f"  {message.text.splitlines()[-1][:200] if message.text else 'error'}")
            case Retrying():
                self.say(f"trying again in {event.wait_s:.1f} s: {event.why}")
            case Notice():
                self.say(event.text)
            case Compacting():
                self.say(compacting_text(event))
            case Compacted():
                self.say(compacted_text(event))
            case EngineProgress():
                self._progress(event)
            case Waiting():
                self._waiting(event)
            case Queued():
                self._queued(event)
            case RequestFinished() if self.verbose and request_line(event):
                self.say(request_line(event))
            case StepFinished() if self.verbose:
                usage = event.usage
                self.say(
                    f"step {event.number}: prompt {usage.prompt_tokens:,} tokens, "
                    f"cached {usage.cached_tokens:,}, "
                    f"new {usage.prompt_tokens - usage.cached_tokens:,}, "
                    f"answer {usage.output_tokens:,}; prefill {usage.prefill_s:.2f} s, "
                    f"decode {usage.decode_s:.2f} s"
                )
            case _:
                pass

    def _queued(self, event: Queued) -> None:
        """At once with --verbose and at each change, else when it takes long."""
        order = (event.position, [label for _, label, _, _ in event.ahead])
        now = time.monotonic()
        due = event.seconds >= WAIT_SAID_S and now - self._queue_said >= WAIT_SAID_S
        if due or (self.verbose and order != self._order):
            self._queue_said, self._order = now, order
            self.say(queued_text(event))

    def _progress(self, event: EngineProgress) -> None:
        now = time.monotonic()
        if event.phase == self._phase and now - self._last_progress < 5:
            return
        self._phase, self._last_progress = event.phase, now
        percent = "" if event.percent is None else f" {event.percent:.0f} %"
        left = "" if event.eta_s is None else f", about {event.eta_s:.0f} s left"
        self.say(f"engine: {event.phase}{percent}{left}")

    def _waiting(self, event: Waiting) -> None:
        often = WAIT_SAID_S if event.percent is None or not self.verbose else PREFILL_SAID_S
        if event.seconds < max(often, self._last_wait):
            self._last_wait = 0.0
        elif event.seconds - self._last_wait >= often:
            self._last_wait = event.seconds
            held = f" ({event.prompt_tokens:,} tokens)" if event.prompt_tokens else ""
            left = "" if event.eta_s is None else f", about {event.eta_s:.0f} s left"
            done = "" if event.percent is None else f", {event.percent:.0f} % computed{left}"
            self.say(f"waiting for the engine: {event.seconds:.0f} s{held}{done}")
