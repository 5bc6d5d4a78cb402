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
    Delta,
    DeltasDiscarded,
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
from glmcode.repl.clean import visible
from glmcode.waits import Waits

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


class Notes:
    """A writer of notes to stderr."""

    def __init__(self, *, verbose: bool) -> None:
        self.verbose = verbose
        self._thought = 0
        self._waits = Waits(eager=verbose, detail=verbose or _is_terminal())

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
            case EngineProgress() | Waiting() | Queued():
                if line := self._waits.line(event, time.monotonic()):
                    self.say(line)
            case RequestFinished() if self.verbose and request_line(event):
                self.say(request_line(event))
            case Delta(kind="reasoning"):
                self._thought += event.tokens
            case DeltasDiscarded():
                self._thought = 0
            case StepFinished():
                self._step(event)
            case _:
                pass

    def _step(self, event: StepFinished) -> None:
        """With --verbose: what a step cost, and how much of its answer was thinking."""
        thought, self._thought = self._thought, 0
        thinking = f" ({thought:,} of them thinking)" if thought else ""
        usage = event.usage
        if self.verbose:
            self.say(
                f"step {event.number}: prompt {usage.prompt_tokens:,} tokens, "
                f"cached {usage.cached_tokens:,}, "
                f"new {usage.prompt_tokens - usage.cached_tokens:,}, "
                f"answer {usage.output_tokens:,}{thinking}; prefill {usage.prefill_s:.2f} s, "
                f"decode {usage.decode_s:.2f} s"
            )


def _is_terminal() -> bool:
    try:
        return os.isatty(2)
    except OSError:
        return False
