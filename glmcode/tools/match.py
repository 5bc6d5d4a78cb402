"""Where a piece of text stands in a file, and the file with it replaced.

The model writes \\n whatever the file uses, so texts are compared with every line end as \\n and
the place is carried back into the real text. Only what differs between old and new is touched:
a line end or a character that both have keeps its bytes. Nothing in the new text is a pattern.
When the text does not stand there, loose.py may find it without indentation. No file is opened
here, and no guess is made: several places are an error.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from dataclasses import dataclass

from glmcode.base.textfile import common_head, common_tail, normalised

_LINE_END = re.compile(r"\r\n|\n|\r")


@dataclass(frozen=True, slots=True, kw_only=True)
class Replaced:
    """The new text, the lines (of the new text, from 1) where replacements begin, and how.

    inserted: what was put in that was not there before, at each place.
    """

    text: str
    lines: tuple[int, ...]
    inserted: str
    loose: bool = False


class Plain:
    """A text with \\n line ends, and the way from a position in it to the real text."""

    def __init__(self, text: str) -> None:
        self.original = text
        self.text = normalised(text) if "\r" in text else text
        ends = list(_LINE_END.finditer(text)) if "\r" in text else []
        pairs = [match.start() for match in ends if match.group() == "\r\n"]
        self._pairs = [start - i for i, start in enumerate(pairs)]
        self._starts = [match.start() for match in ends]
        self._ends = [match.group() for match in ends]

    def back(self, position: int) -> int:
        """The place in the original of a position in `text`."""
        return position + bisect_left(self._pairs, position)

    def with_line_ends(self, begin: int, end: int, new: str) -> str:
        """`new` with the line ends that original[begin:end] has, one by one, or, where it has
        none, those of its own line, else of the line before."""
        if "\n" not in new or not self._ends:
            return new
        first = bisect_left(self._starts, begin)
        last = bisect_left(self._starts, end)
        if first == last:
            first = min(first, len(self._ends) - 1)
            last = first + 1
        ends = self._ends[first:last]
        parts = new.split("\n")
        joined = [part + ends[min(i, len(ends) - 1)] for i, part in enumerate(parts[:-1])]
        return "".join(joined) + parts[-1]

    def line_of(self, position: int) -> int:
        """The number, from 1, of the line that holds a position in `text`."""
        return self.text.count("\n", 0, position) + 1


def places(text: str, piece: str, *, overlapping: bool, limit: int = 1 << 62) -> list[int]:
    """Every position of `piece`, at most `limit`; overlapping ones too, if asked for."""
    found: list[int] = []
    at = text.find(piece)
    while at >= 0 and len(found) < limit:
        found.append(at)
        at = text.find(piece, at + (1 if overlapping else len(piece)))
    return found


def replace_at(plain: Plain, starts: list[int], old: str, new: str) -> Replaced:
    """Put `new` in the place of `old` at each of `starts` (positions in plain.text).

    old and new have \\n line ends; a lone \\r in new is kept as it is.
    """
    head = common_head(old, new)
    tail = common_tail(old, new, min(len(old), len(new)) - head)
    middle = new[head : len(new) - tail]
    pieces: list[str] = []
    lines: list[int] = []
    at = seen = line = 0
    for start in starts:
        line += plain.text.count("\n", seen, start)
        lines.append(line + 1)
        seen = start + len(old)
        line += new.count("\n")
        begin, end = plain.back(start + head), plain.back(start + len(old) - tail)
        pieces.append(plain.original[at:begin])
        pieces.append(_apart(plain.original, begin, end, plain.with_line_ends(begin, end, middle)))
        at = end
    pieces.append(plain.original[at:])
    return Replaced(text="".join(pieces), lines=tuple(lines), inserted=middle)


def _apart(original: str, begin: int, end: int, new: str) -> str:
    """`new` such that no line end of it melts into a \\r\\n with what stands beside it."""
    if new.endswith("\r") and original[end : end + 1] == "\n":
        new = new[:-1] + "\n"
    if new.startswith("\n") and original[begin - 1 : begin] == "\r":
        new = "\r" + new[1:]
    return new
