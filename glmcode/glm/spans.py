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
    were seen. fault: the grammar was broken. nested: `<arg_value>` tags, or `<tool_call>`
    tags that begin a line, which stand unclosed inside its values: a sign that one was cut
    short; quoting: because it holds tags as content, not because its own closing tag was
    forgotten; owed: closing tags that are then still to come. ambiguous: closing tags were
    left over behind it.
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
    """The calls of an answer in order; the last one may be open.

    real: indexes of closed calls that are more than a mention of the tags.
    """

    __slots__ = ("_first_valued", "_owing", "real", "spans")

    def __init__(self) -> None:
        self.spans: list[CallSpan] = []
        self.real: list[int] = []
        self._first_valued = -1
        self._owing: list[int] = []

    def closed(self, mention: bool) -> None:
        """The last call has ended; a mention can be neither run nor in doubt."""
        if mention:
            return
        span = self.spans[-1]
        index = len(self.spans) - 1
        self.real.append(index)
        if span.arguments and self._first_valued < 0:
            self._first_valued = index
        if span.nested:
            # The calls quoted in it took its closing tags: as many are still to come.
            span.owed = 2 * span.nested
            self._owing.append(index)

    def left_over(self, end: int) -> None:
        """A closing tag stands behind a real call and ends at `end`.

        The call that still owes one is ambiguous; if none does, every call with a value is,
        for the end of each may lie here.
        """
        if self._owing:
            self.reject_from(self._owing[-1], end)
        elif self._first_valued >= 0:
            self.reject_from(self._first_valued, end)
        else:
            self.reject_from(self.real[-1], end)

    def reject_from(self, index: int, end: int) -> None:
        """Make one ambiguous call, up to `end`, of the call at `index` and all after it."""
        span = self.spans[index]
        self._cut(index + 1)
        span.ambiguous = True
        span.end = end
        span.owed -= 1
        if self._owing and self._owing[-1] == index and span.owed <= 0:
            self._owing.pop()
        if not self.real or self.real[-1] != index:
            self.real.append(index)
        if self._first_valued < 0:
            self._first_valued = index

    def forget_from(self, start: int) -> None:
        """Calls that begin at or after an offset are no calls."""
        length = len(self.spans)
        while length and self.spans[length - 1].start >= start:
            length -= 1
        self._cut(length)

    def _cut(self, length: int) -> None:
        del self.spans[length:]
        for indexes in (self.real, self._owing):
            while indexes and indexes[-1] >= length:
                indexes.pop()
        if self._first_valued >= length:
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
