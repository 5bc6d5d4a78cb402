"""Where the tool calls of an answer stand, and which of them closing tags leave in doubt.

Offsets into the answer's bytes, noted while it streams; every operation costs the same
however long the answer is. Must not read the answer or judge what a call is worth.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_MARKS = re.compile(rb'\\.|\\\Z|"', re.DOTALL)


@dataclass(slots=True)
class CallSpan:
    """One `<tool_call>` and what belongs to it, as offsets into the answer.

    name_end and end are -1 while they are not known. arguments: (key start, key end, value
    start, value end). inline: other text stands before it on its line. tags: argument tags
    were seen. fault: the grammar was broken. nested: `<arg_value>` tags that stand unclosed
    inside its values, a sign that a value was cut short; quoting: because it holds tags as
    content, not because its own closing tag was forgotten; owed: closing tags that are then
    still to come. ambiguous: closing tags were left over behind it.
    """

    start: int
    name_start: int
    inline: bool
    name_end: int = -1
    end: int = -1
    arguments: list[tuple[int, int, int, int]] = field(default_factory=list)
    tags: bool = False
    fault: bool = False
    nested: int = 0
    quoting: bool = False
    owed: int = 0
    ambiguous: bool = False


class CallList:
    """The calls of an answer in order; the last one may be open."""

    __slots__ = ("_first_valued", "_owing", "spans")

    def __init__(self) -> None:
        self.spans: list[CallSpan] = []
        self._first_valued = -1
        self._owing: list[int] = []

    def closed(self) -> None:
        """The last call has ended."""
        span = self.spans[-1]
        index = len(self.spans) - 1
        if span.arguments and self._first_valued < 0:
            self._first_valued = index
        if span.nested:
            # The calls quoted in it took its closing tags: as many are still to come.
            span.owed = 2 * span.nested
            self._owing.append(index)

    def left_over(self, end: int) -> None:
        """A closing tag stands behind a call and ends at `end`.

        The call that still owes one is ambiguous; if none does, every call with a value is,
        for the end of each may lie here.
        """
        if self._owing:
            self.reject_from(self._owing[-1], end)
        elif self._first_valued >= 0:
            self.reject_from(self._first_valued, end)
        else:
            self.reject_from(len(self.spans) - 1, end)

    def reject_from(self, index: int, end: int) -> None:
        """Make one ambiguous call, up to `end`, of the call at `index` and all after it."""
        span = self.spans[index]
        del self.spans[index + 1 :]
        span.ambiguous = True
        span.end = end
        span.owed -= 1
        while self._owing and self._owing[-1] > index:
            self._owing.pop()
        if self._owing and self._owing[-1] == index and span.owed <= 0:
            self._owing.pop()
        if not 0 <= self._first_valued <= index:
            self._first_valued = index

    def forget_from(self, start: int) -> None:
        """Calls that begin at or after an offset are no calls."""
        while self.spans and self.spans[-1].start >= start:
            self.spans.pop()
        while self._owing and self._owing[-1] >= len(self.spans):
            self._owing.pop()
        if self._first_valued >= len(self.spans):
            self._first_valued = -1


class JsonStrings:
    """Whether a point of a JSON text lies inside a string; the text comes piece by piece."""

    __slots__ = ("_escaped", "inside")

    def __init__(self) -> None:
        self.inside = False
        self._escaped = False

    def scan(self, data: bytes) -> None:
        """Move past the next bytes."""
        begin = 1 if self._escaped and data else 0
        self._escaped = self._escaped and not data
        for match in _MARKS.finditer(data, begin):
            if match.group() == b'"':
                self.inside = not self.inside
            elif match.group() == b"\\":
                self._escaped = True
