"""Going back to before a turn in the conversation: what is cut off, and what becomes known again.

A mark is set when a turn begins. Going back writes one journal line, cuts the transcript, and
gives the tools what they knew then; what undo had told the model in the turns that go is told
again. The prompt that is left is a beginning of the one before, so the engine still has it. Must
not touch files: that is undo's.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from glmcode.agent_undo import Past
from glmcode.core.transcript import Transcript
from glmcode.sessions import Journal
from glmcode.tools.context import ToolContext


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A turn's beginning. place: messages of the segment before it. text: what was typed.

    at: seconds since the epoch. seen, todos: what the tools knew. told: notes of undos that
    its message carried. interrupted: what its message had to tell first.
    """

    segment: int
    place: int
    at: float
    text: str
    seen: Mapping[str, str]
    todos: tuple[Mapping[str, str], ...]
    told: tuple[int, ...]
    interrupted: str


class Marks:
    """The turns of this process that one can go back to, the oldest first."""

    def __init__(self, transcript: Transcript, context: ToolContext, past: Past) -> None:
        self._transcript = transcript
        self._context = context
        self._past = past
        self._marks: list[Mark] = []

    def add(self, text: str, seen: Mapping[str, str], interrupted: str) -> None:
        """A turn begins; seen: as before its message was read."""
        mark = Mark(
            segment=self._transcript.segment,
            place=len(self._transcript),
            at=time.time(),
            text=text,
            seen=dict(seen),
            todos=tuple(dict(todo) for todo in self._context.todos),
            told=self._past.untold,
            interrupted=interrupted,
        )
        self._marks.append(mark)

    def known(self) -> list[Mark]:
        """Those that a compaction did not take away."""
        segment, size = self._transcript.segment, len(self._transcript)
        return [m for m in self._marks if m.segment == segment and m.place < size]

    def go_back(self, mark: Mark, journal: Journal) -> str:
        """Cut the conversation; what its next message must tell first.

        Raises JournalError: then nothing has changed.
        """
        gone = self._marks[self._marks.index(mark) :]
        self._transcript.rewind(mark.place, lambda: journal.write("rewind", {"keep": mark.place}))
        context = self._context
        context.seen = dict(mark.seen)
        context.todos[:] = [dict(todo) for todo in mark.todos]
        self._past.tell_again([number for one in gone for number in one.told])
        del self._marks[-len(gone) :]
        return mark.interrupted
