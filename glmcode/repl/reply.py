"""The reply that streams now: reasoning dimmed in the tail, text printed block by block.

A block of markdown is printed once, when it is final; until then it is shown in the tail
with what else is provisional (reasoning, a growing call). Nothing of a call is called
"running" here: it is only being written. Must not know calls that run, nor the screen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from glmcode.core.events import Delta
from glmcode.core.messages import AssistantMessage
from glmcode.repl.blocks import BlockSplitter
from glmcode.repl.clean import one_line, visible
from glmcode.repl.paint import Painter

TAIL_CHARS = 2_048
SUBJECT_CHARS = 500
SHOWN_KEYS = ("file_path", "command", "pattern", "path", "task_id")


@dataclass(slots=True)
class _Growing:
    """A call that is being written."""

    index: int
    name: str = ""
    subject: str = ""
    lines: int = 0


class Reply:
    """One step's reply. `delta` and `finish` return blocks of lines to print."""

    def __init__(self, painter: Painter, clock: Callable[[], float], *, verbose: bool) -> None:
        self._painter = painter
        self._clock = clock
        self._verbose = verbose
        self.begin()

    def begin(self) -> None:
        """Forget everything: a new reply starts."""
        self._splitter = BlockSplitter()
        self._text = ""
        self._reasoning = ""
        self._started = self._clock()
        self._folded = False
        self._call: _Growing | None = None
        self.printed = False

    def delta(self, delta: Delta) -> list[list[str]]:
        """Take a piece; returns the blocks that became final."""
        match delta.kind:
            case "reasoning":
                self._reasoning += delta.text
                return []
            case "text":
                self._text += delta.text
                final = self._splitter.feed(visible(delta.text))
                folded = self._fold() if self._text.strip() else []
                return folded + self._paint(final)
            case "call":
                self._grow(delta)
                return self._fold() + self._paint(self._splitter.finish())

    def finish(self, message: AssistantMessage) -> list[list[str]]:
        """The message is whole: what was not printed yet of it."""
        if not self._reasoning:
            self._reasoning = message.reasoning
        blocks: list[str] = []
        if message.text.startswith(self._text):
            blocks += self._splitter.feed(visible(message.text[len(self._text) :]))
        printed = self._fold() + self._paint([*blocks, *self._splitter.finish()])
        self.begin()
        return printed

    def abandon(self) -> list[list[str]]:
        """The reply ended without a message (cancelled, broken): print what was shown of it."""
        printed = self._fold() + self._paint(self._splitter.finish())
        self.begin()
        return printed

    def tail(self, height: int) -> list[str]:
        """What is provisional, at most `height` lines."""
        if self._call is not None:
            return self._call_line(self._call)[:height]
        if self._splitter.pending.strip():
            return self._pending(height)[-height:]
        if self._reasoning.strip() and not self._folded:
            text = self._reasoning[-TAIL_CHARS:].strip()
            return self._painter.spans([("reasoning", text)], indent=2)[-min(height, 4) :]
        return []

    def _fold(self) -> list[list[str]]:
        """Reasoning is over: one line that counts it, or all of it when verbose."""
        words = len(self._reasoning.split())
        if self._folded or not words:
            return []
        self._folded = True
        if self._verbose:
            return [self._painter.spans([("reasoning", self._reasoning.strip())], indent=2)]
        seconds = self._clock() - self._started
        plural = "" if words == 1 else "s"
        note = f"reasoning: {words:,} word{plural} in {seconds:.1f} s"
        return [self._painter.spans([("dim", note)], indent=2)]

    def _paint(self, blocks: list[str]) -> list[list[str]]:
        self.printed = self.printed or bool(blocks)
        return [self._painter.markdown(block) for block in blocks]

    def _pending(self, height: int) -> list[str]:
        """The block that is not final, as it will look; of a long one only the end is laid out."""
        pending = self._splitter.pending
        lines = pending[-TAIL_CHARS:].split("\n")
        if len(pending) <= TAIL_CHARS and len(lines) <= 2 * height:
            return self._painter.markdown(pending)
        fence = pending[:3] in ("```", "~~~")
        opening = [pending.split("\n", 1)[0][:40]] if fence else []
        return self._painter.markdown("\n".join([*opening, *lines[-2 * height :]]))

    def _grow(self, delta: Delta) -> None:
        if self._call is None or self._call.index != delta.call_index:
            self._call = _Growing(delta.call_index)
        call = self._call
        call.name = delta.name or call.name
        call.lines += delta.text.count("\n")
        if delta.argument in SHOWN_KEYS:
            call.subject = (call.subject + delta.text)[:SUBJECT_CHARS]

    def _call_line(self, call: _Growing) -> list[str]:
        lines = f" ({call.lines:,} lines so far)" if call.lines > 2 else ""
        subject = f"{call.name} {one_line(call.subject, 120)}"
        text = f"{self._painter.marks[2]} writing a call: {subject}{lines}"
        return self._painter.spans([("dim", text)], indent=2)[:2]
