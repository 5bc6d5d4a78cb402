"""Events into lines: what is printed once for good, and the small tail that is still moving.

The only drawing path: a live turn and (later) a resumed session go through it alike. It
returns lines and holds no screen; colours and widths are the painter's. Must not call the
agent, and must cope with events in any order.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Literal, TypeAlias

from glmcode.context.ledger import request_line
from glmcode.core.events import (
    Appended,
    ApprovalAsked,
    CallStarted,
    Compacted,
    Compacting,
    Delta,
    DeltasDiscarded,
    Event,
    Notice,
    RequestFinished,
    Retrying,
    StepFinished,
    StepStarted,
    ToolOutput,
    TurnFinished,
    TurnStarted,
)
from glmcode.core.messages import AssistantMessage, Message, ToolMessage, UserMessage
from glmcode.core.tool import Preview
from glmcode.core.words import framed
from glmcode.notes import compacted_text
from glmcode.repl.calls import NOTHING, Calls, Folded
from glmcode.repl.paint import Painter, Spans
from glmcode.repl.reply import Reply
from glmcode.repl.todo import Todos, current

Part: TypeAlias = Literal["", "person", "text", "tool", "note"]
LOG_LINES = 12
SAID_LINES = 20
FOLDED = 8
"""How many things that were folded or cut can still be shown whole, the last one first."""
MUCH_AGAIN = 4096
"""Tokens computed again that are worth a line also where nobody asked for details."""


class View:
    """Feeds on events; each method returns the lines to print now."""

    def __init__(
        self,
        painter: Painter,
        *,
        verbose: bool = False,
        unfolded: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """unfolded: reasoning is shown, as it also is where verbose. todos, a field: the list that
        is worked on now, of which the tail shows the item."""
        self.painter = painter
        self.calls = Calls(painter, clock)
        self.steering: list[str] = []
        self.todos: Todos = ()
        self._reply = Reply(painter, clock, unfolded=verbose or unfolded)
        self._folded: deque[Folded] = deque(maxlen=FOLDED)
        self._verbose = verbose
        self._clock = clock
        self._last: Part = ""
        self._said: set[str] = set()
        self._turn_started = self._step_started = clock()
        self._first = True

    def event(self, event: Event) -> list[str]:
        """Take one event."""
        lines = self._event(event)
        if self._reply.folded:
            self._folded.append(Folded("reasoning", self._reply.folded))
            self._reply.folded = ""
        if self.calls.cut.title:
            self._folded.append(self.calls.cut)
        self.calls.cut = NOTHING
        return lines

    def unfold(self) -> list[str]:
        """Ctrl-O: what streams folded is shown from now on (or folded again); else the whole of
        what was folded or cut last, the next time of what was before it."""
        if self._reply.thinking:
            self._reply.unfolded = not self._reply.unfolded
            return []
        if not self._folded:
            return self.note([("dim", "nothing is folded")])
        last = self._folded.pop()
        style = "reasoning" if last.title == "reasoning" else "dim"
        lines = self.note([("bold", f"{last.title}, all of it")])
        if last.diff:
            return lines + self.painter.diff(last.text, last.name)
        return lines + self.painter.spans([(style, last.text)], indent=2)

    def _event(self, event: Event) -> list[str]:
        match event:
            case TurnStarted():
                self._said.clear()
                self._first = True
                self._turn_started = self._clock()
            case StepStarted():
                self._reply.begin()
                self._step_started = self._clock()
            case Delta():
                return self._texts(self._reply.delta(event))
            case DeltasDiscarded():
                return self._discarded(event.why)
            case Appended():
                return self._appended(event.message, event.for_user)
            case ApprovalAsked():
                return self._part("tool", self.calls.asked(event))
            case CallStarted():
                return self._part("tool", self.calls.started(event))
            case ToolOutput():
                self.calls.output(event)
            case Retrying():
                wait = f"trying again in {event.wait_s:.1f} s"
                return self._once(event.why, [("warning", f"{event.why}; {wait}")])
            case Notice():
                return self._once(event.text, [("warning", event.text)])
            case Compacting():
                self._said.clear()
            case Compacted():
                return self._part("note", self.painter.spans([("dim", compacted_text(event))]))
            case RequestFinished() if self._verbose or event.again >= MUCH_AGAIN:
                line = request_line(event)
                return self._part("note", self.painter.spans([("dim", line)])) if line else []
            case StepFinished() if self._verbose:
                return self._part("note", self._step_line(event))
            case TurnFinished():
                return self._finished(event)
            case _:
                pass
        return []

    def tail(self, height: int, *, asking: bool = False) -> list[str]:
        """The moving part, at most `height` lines. asking: a question needs the room."""
        if height <= 0:
            return []
        at = [] if asking or height < 2 else current(self.painter, self.todos)
        height -= len(at)
        lines = self._reply.tail(height) or self.calls.tail(height)
        if self._reply.shows_text and self._last and len(lines) < height:
            lines = ["", *lines]  # where it will stand, once it is printed
        return lines[-height:] + at

    def person(self, text: str, note: str = "") -> list[str]:
        """What the person said, as it stays in the scrollback."""
        lines = text.split("\n")
        more = len(lines) - SAID_LINES
        if more > 1:
            self._folded.append(Folded("your message", text))
            lines = lines[:SAID_LINES]
        spans: list[tuple[str, str]] = [("person", "> "), ("bold", lines[0])]
        spans += [("bold", f"\n{line}") for line in lines[1:]]
        if more > 1:
            spans.append(("dim", f"\n{self.painter.marks[2]} {more:,} more lines"))
        if note:
            spans.append(("dim", f"  ({note})"))
        return self._part("person", self.painter.spans(spans, hang=2))

    def note(self, spans: Spans) -> list[str]:
        """A line of ours."""
        return self._part("note", self.painter.spans(spans))

    def row(self, label: str, value: str, column: int) -> list[str]:
        """A label, which is shorter than `column`, and what it stands for from that column on."""
        lines = self.painter.spans([("", value)], indent=column)
        head = "".join(self.painter.spans([("bold", label)]))
        between = " " * (column - len(label))
        return self._part("note", [head + between + lines[0][column:], *lines[1:]])

    def answered(self, call_id: str, spans: Spans, *, goes_on: bool) -> list[str]:
        """What the person answered to a question. goes_on: the call has a result to be shown."""
        if not goes_on:
            self.calls.refused(call_id)
        return self._part("tool", self.painter.spans(spans, indent=2))

    def everything(self, asked: ApprovalAsked) -> list[str]:
        """The whole of a preview that was cut."""
        return self._part("tool", self.calls.asked(asked, whole=True))

    def _appended(self, message: Message, for_user: Preview | None) -> list[str]:
        match message:
            case UserMessage():
                first, self._first = self._first, False
                if message.origin == "glmcode":
                    return self._once(message.text, [("dim", f"to the model: {message.text}")])
                return [] if first else self._delivered([message.text])
            case AssistantMessage():
                lines = self._texts(self._reply.finish(message))
                return lines + self._part("tool", self.calls.message(message))
            case ToolMessage():
                lines = self._part("tool", self.calls.result(message, for_user))
                riding = [text for text in self.steering if framed(text) in message.text]
                return lines + self._delivered(riding)

    def _delivered(self, texts: Iterable[str]) -> list[str]:
        lines: list[str] = []
        for text in texts:
            if text in self.steering:
                self.steering.remove(text)
            lines += self.person(text)
        return lines

    def _discarded(self, why: str) -> list[str]:
        printed = self._reply.printed
        self._reply.begin()
        if not printed:
            return []
        return self.note([("warning", f"the reply above is void and asked for again: {why}")])

    def _finished(self, end: TurnFinished) -> list[str]:
        lines = self._texts(self._reply.abandon())
        self.calls.stop()
        match end.reason:
            case "done":
                return lines + self._summary(end)
            case "cancelled":
                return lines + self.note([("warning", "interrupted")])
            case "error":
                lines += self.note([("error", f"{self.painter.marks[3]} {end.detail}")])
                for line in end.log.rstrip("\n").split("\n")[-LOG_LINES:] if end.log else []:
                    lines += self.painter.output(f"| {line}")
                if end.retryable:
                    lines += self.note([("dim", "Your next message tries again.")])
                return lines
            case _:
                return lines + self.note([("warning", end.detail or end.reason)])

    def _summary(self, end: TurnFinished) -> list[str]:
        if not self._verbose:
            return []
        seconds = self._clock() - self._turn_started
        plural = "" if end.steps == 1 else "s"
        return self.note([("dim", f"{end.steps} step{plural} in {seconds:.1f} s")])

    def _step_line(self, step: StepFinished) -> list[str]:
        usage = step.usage
        seconds = usage.prefill_s + usage.decode_s or self._clock() - self._step_started
        text = (
            f"step {step.number}: prompt {usage.prompt_tokens:,} tokens, "
            f"cached {usage.cached_tokens:,}, new {usage.prompt_tokens - usage.cached_tokens:,}, "
            f"answer {usage.output_tokens:,} tokens in {seconds:.1f} s"
        )
        return self.painter.spans([("dim", text)])

    def _once(self, key: str, spans: Spans) -> list[str]:
        """A line that is said once in a turn, however often it comes."""
        if key in self._said:
            return []
        self._said.add(key)
        return self.note(spans)

    def _texts(self, blocks: list[list[str]]) -> list[str]:
        return [line for block in blocks for line in self._part("text", block)]

    def _part(self, part: Part, lines: list[str]) -> list[str]:
        """Put a blank line between parts of different kinds, and between blocks of text."""
        if not lines:
            return []
        apart = self._last != "" and (part != self._last or part in ("text", "person"))
        self._last = part
        return ["", *lines] if apart else lines
