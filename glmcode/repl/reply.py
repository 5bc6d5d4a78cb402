"""The reply that streams now: reasoning folded to a line in the tail, text printed block by block.

A block of markdown is printed once, when it is final; until then it is shown in the tail
with what else is provisional (reasoning, a growing call). Folded reasoning is one line with
its count; unfolded, its end moves in the tail and all of it is printed when it is over.
Nothing of a call is called "running" here: it is only being written. Must not know calls
that run, nor the screen.
"""

from __future__ import annotations

from collections.abc import Callable

from glmcode.core.events import Delta
from glmcode.core.messages import AssistantMessage
from glmcode.repl.blocks import BlockSplitter
from glmcode.repl.clean import visible
from glmcode.repl.growing import Growing
from glmcode.repl.paint import Painter

TAIL_CHARS = 2_048


class Reply:
    """One step's reply. `delta` and `finish` return blocks of lines to print."""

    def __init__(self, painter: Painter, clock: Callable[[], float], *, unfolded: bool) -> None:
        """unfolded: reasoning is shown as it comes; may be changed at any time."""
        self._painter = painter
        self._clock = clock
        self.unfolded = unfolded
        self.folded = ""
        self.begin()

    def begin(self) -> None:
        """Forget everything: a new reply starts."""
        self._splitter = BlockSplitter()
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._recent = ""
        self._words = 0
        self._blank = True
        self._started = self._clock()
        self._folded = False
        self._call: Growing | None = None
        self.printed = False

    def delta(self, delta: Delta) -> list[list[str]]:
        """Take a piece; returns the blocks that became final."""
        match delta.kind:
            case "reasoning":
                self._think(delta.text)
                return []
            case "text":
                self._text.append(delta.text)
                self._blank = self._blank and not delta.text.strip()
                final = self._splitter.feed(visible(delta.text))
                folded = [] if self._blank else self._fold()
                return folded + self._paint(final)
            case "call":
                self._grow(delta)
                return self._fold() + self._paint(self._splitter.finish())

    def finish(self, message: AssistantMessage) -> list[list[str]]:
        """The message is whole: what was not printed yet of it."""
        if not self._words:
            self._think(message.reasoning)
        blocks: list[str] = []
        streamed = "".join(self._text)
        if message.text.startswith(streamed):
            blocks += self._splitter.feed(visible(message.text[len(streamed) :]))
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
            return self._call.row(self._painter)[:height]
        if self.shows_text:
            return self._pending(height)[-height:]
        if self.thinking:
            return self._thoughts(min(height, 4))
        return []

    @property
    def shows_text(self) -> bool:
        """Whether the tail is text that will be printed as it looks."""
        return self._call is None and bool(self._splitter.pending.strip())

    @property
    def thinking(self) -> bool:
        """Whether reasoning streams now."""
        return self._words > 0 and not self._folded

    def _think(self, text: str) -> None:
        """More reasoning; its words are counted as they come, however long it gets."""
        if not text:
            return
        joined = bool(self._recent) and not (self._recent[-1].isspace() or text[0].isspace())
        self._words += len(text.split()) - joined
        self._reasoning.append(text)
        self._recent = (self._recent + text)[-TAIL_CHARS:]

    def _thoughts(self, height: int) -> list[str]:
        if self.unfolded:
            return self._painter.spans([("reasoning", self._recent.strip())], indent=2)[-height:]
        note = f"{self._painter.marks[2]} {self._count()}  (Ctrl-O shows it)"
        return self._painter.spans([("dim", note)], indent=2)[:height]

    def _count(self) -> str:
        seconds = self._clock() - self._started
        plural = "" if self._words == 1 else "s"
        return f"reasoning: {self._words:,} word{plural} in {seconds:.1f} s"

    def _fold(self) -> list[list[str]]:
        """Reasoning is over: one line that counts it, or all of it where it is unfolded."""
        if self._folded or not self._words:
            return []
        self._folded = True
        text = "".join(self._reasoning).strip()
        if self.unfolded:
            return [self._painter.spans([("reasoning", text)], indent=2)]
        self.folded = text
        return [self._painter.spans([("dim", self._count())], indent=2)]

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
            self._call = Growing(delta.call_index)
        self._call.feed(delta)
