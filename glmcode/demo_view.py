"""Shows a demo run as it happens: one plain, append-only stream, coloured on a terminal.

Everything that comes from the model, a file or a command is cleaned of control characters
first. Must not decide whether the demo succeeded.
"""

from __future__ import annotations

import os
import time

from glmcode.context.ledger import request_line
from glmcode.core.events import (
    Appended,
    ApprovalAnswered,
    CallStarted,
    EngineProgress,
    Event,
    RequestFinished,
    Retrying,
    StepFinished,
    StepStarted,
)
from glmcode.core.messages import AssistantMessage, ToolMessage, Usage
from glmcode.moving import cut, moves, size
from glmcode.notes import call_line
from glmcode.repl.clean import one_line, visible
from glmcode.repl.status import progress_text
from glmcode.waits import Waits

RESULT_LINES = 14


class DemoView:
    """A writer to standard output."""

    def __init__(self, *, verbose: bool) -> None:
        self.verbose = verbose
        self.terminal = moves(1)
        self.colour = self.terminal and not os.environ.get("NO_COLOR")
        self._line_open = False
        self._waits = Waits(eager=False, detail=False)
        self._phase = ""
        self._last = 0.0

    def say(self, text: str, style: str = "") -> None:
        """A line; styles are SGR numbers such as "2" for dim."""
        self._end_line()
        text = visible(text)
        self._write((f"\x1b[{style}m{text}\x1b[0m" if style and self.colour else text) + "\n")

    def title(self, text: str) -> None:
        """The first line."""
        self.say(f"glmcode demo: {text}", "1")

    def request(self, text: str) -> None:
        """What the model is asked."""
        self.say("")
        self.say(f"> {text}", "1")

    def command(self, text: str) -> None:
        """A command that is run."""
        self.say(f"$ {text}", "36")

    def output(self, text: str, code: int) -> None:
        """What a command printed, shortened, and how it ended."""
        self._lines(text)
        self.say(f"  [exit {code}]", "2")

    def ready(self, seconds: float, model: str, protocol: str) -> None:
        """The engine answers."""
        self.say(f"engine ready after {seconds:.1f} s: {model}, protocol {protocol}", "2")

    def failed(self, text: str, log: str) -> None:
        """Something went wrong: the sentence and its raw lines."""
        self.say(text, "31")
        for line in log.splitlines()[-8:]:
            self.say(f"  | {line[:300]}", "2")

    def usage(self, usage: Usage, steps: int, seconds: float) -> None:
        """The sum of the turn."""
        share = 100 * usage.cached_tokens / usage.prompt_tokens if usage.prompt_tokens else 0
        self.say(
            f"{steps} steps in {seconds:.1f} s; prompts {usage.prompt_tokens:,} tokens, of which "
            f"{usage.cached_tokens:,} ({share:.0f} %) came from the prefix cache; "
            f"{usage.output_tokens:,} generated",
            "2",
        )

    def event(self, event: Event) -> None:
        """Show one event of the turn."""
        match event:
            case EngineProgress():
                self._progress(event)
            case StepStarted():
                self.say("")
                self.say(f"step {event.number}", "1")
            case Appended(message=AssistantMessage() as message):
                self._assistant(message)
            case CallStarted():
                self.say(f"  {call_line(event)}", "36")
                if event.preview.kind == "diff":
                    self._diff(event.preview.body)
            case Appended(message=ToolMessage() as message):
                self._lines(message.text, "31" if message.text.startswith("error") else "2")
            case ApprovalAnswered(allowed=False):
                self.say(f"  not allowed: {event.why}", "31")
            case Retrying():
                self.say(f"  trying again in {event.wait_s:.1f} s: {event.why}", "33")
            case RequestFinished() if self.verbose and request_line(event):
                self.say(f"  {request_line(event)}", "2")
            case StepFinished() if self.verbose:
                self._step(event)
            case _:
                pass

    def _assistant(self, message: AssistantMessage) -> None:
        if message.reasoning.strip():
            self.say(f"  {message.reasoning.strip()}", "2;3")
        if message.text.strip():
            self.say(f"  {message.text.strip()}")
        for call in message.rejected:
            self.say(f"  a call was rejected: {call.reason}", "31")

    def _step(self, event: StepFinished) -> None:
        usage = event.usage
        self.say(
            f"  prompt {usage.prompt_tokens:,} tokens, cached {usage.cached_tokens:,}, "
            f"new {usage.prompt_tokens - usage.cached_tokens:,}, answer {usage.output_tokens:,}",
            "2",
        )

    def _diff(self, body: str) -> None:
        for line in body.splitlines():
            if line.startswith(("---", "+++")):
                continue
            style = "32" if line.startswith("+") else "31" if line.startswith("-") else "2"
            self.say(f"    {line}", style)

    def _lines(self, text: str, style: str = "2") -> None:
        lines = text.rstrip("\n").split("\n")
        cut = len(lines) - RESULT_LINES
        if cut > 0:
            self.say(f"  ... {cut} lines above", style)
            lines = lines[-RESULT_LINES:]
        for line in lines:
            self.say(f"  {line}", style)

    def _progress(self, event: EngineProgress) -> None:
        now = time.monotonic()
        if not self.terminal:
            if line := self._waits.line(event, now):
                self.say(line)
            return
        fresh = event.phase != self._phase
        if not fresh and now - self._last < 0.2:
            return
        self._phase, self._last = event.phase, now
        text = cut(one_line(progress_text(event)), size(1)[0] - 1)
        self._write(f"\r\x1b[K{text}")
        self._line_open = True

    def _end_line(self) -> None:
        if self._line_open:
            self._line_open = False
            self._write("\r\x1b[K")

    def _write(self, text: str) -> None:
        try:
            os.write(1, text.encode("utf-8", "replace"))
        except OSError:
            pass
