"""Reads a unified diff for a person: numbered lines with a kind each, long ones cut with counts.

Pure: colours are chosen by paint.py. Must not judge whether a diff is right; what does not
look like a diff is passed on as context, so that nothing which is approved stays unseen.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["add", "remove", "context", "hunk", "note"]

LONG = 400
"""Characters of a line that are shown, unless all of a diff is asked for."""
_BEYOND = re.compile(
    r"(\[\.\.\. (\d[\d,]{0,15}) characters\])?.*?(\[\.\.\. (\d[\d,]{0,15}) more characters\])?",
    re.S | re.A,
)
"""A file's own line may look so: whatever fits can be counted."""
_HUNK = re.compile(r"@@ -(\d{1,12})(?:,(\d{1,12}))? \+(\d{1,12})(?:,(\d{1,12}))? @@(.*)")


@dataclass(frozen=True, slots=True)
class DiffLine:
    """One line to show: its kind, its number in the file (None: none), its text without sign.

    left_out: how many lines are not shown where a hunk begins, or in the place of a note.
    """

    kind: Kind
    number: int | None
    text: str
    left_out: int = 0


def read_diff(body: str) -> list[DiffLine]:
    """All lines of a unified diff; the file header is dropped (the title names the file).

    Removed lines carry the number they had, added and unchanged ones the number they get.
    A line of a file always stands behind a sign, so none can pass for a hunk or a header.
    """
    lines: list[DiffLine] = []
    old = new = old_left = new_left = 0
    inside = False
    for line in body.removesuffix("\n").split("\n"):
        hunk = _HUNK.match(line)
        if hunk is not None:
            before = old
            old_left, new_left = int(hunk[2] or 1), int(hunk[4] or 1)
            old, new = int(hunk[1]) + (old_left == 0), int(hunk[3]) + (new_left == 0)
            if inside:
                lines.append(DiffLine("hunk", None, hunk[5].strip(), max(0, old - before)))
            inside = True
        elif line.startswith("\\"):
            lines.append(DiffLine("note", None, line[1:].strip()))
        elif line.startswith("+") and new_left > 0:
            lines.append(DiffLine("add", new, line[1:]))
            new, new_left = new + 1, new_left - 1
        elif line.startswith("-") and old_left > 0:
            lines.append(DiffLine("remove", old, line[1:]))
            old, old_left = old + 1, old_left - 1
        elif (old_left > 0 or new_left > 0) and line[:1] in ("", " "):
            lines.append(DiffLine("context", new, line[1:]))
            old, old_left = old + 1, old_left - 1
            new, new_left = new + 1, new_left - 1
        elif not line.startswith(("--- ", "+++ ")):
            inside = False
            lines.append(DiffLine("context", None, line))
    return lines


def counts(lines: Sequence[DiffLine]) -> tuple[int, int]:
    """How many lines are added and removed."""
    added = sum(line.kind == "add" for line in lines)
    return added, sum(line.kind == "remove" for line in lines)


def cut_diff(lines: list[DiffLine], limit: int) -> list[DiffLine]:
    """At most `limit` lines: the head, a note that counts what is left out, and the tail."""
    if len(lines) <= limit:
        return lines
    tail = limit // 4
    head = max(1, limit - tail - 1)
    left_out = lines[head : len(lines) - tail]
    added, removed = counts(left_out)
    count = len(left_out)
    note = DiffLine("note", None, f"{count:,} more lines (+{added:,} -{removed:,})", count)
    return [*lines[:head], note, *lines[len(lines) - tail :]]


def beyond(text: str) -> tuple[int, int]:
    """How many characters more a line has at either end than its text, where that says so."""
    found = _BEYOND.fullmatch(text)
    before, left, after, more = found.groups() if found is not None else (None,) * 4
    return _count(left, before), _count(more, after)


def _count(number: str | None, mark: str | None) -> int:
    return int(number.replace(",", "")) - len(mark) if number and mark else 0


def is_cut(body: str, limit: int) -> bool:
    """Whether a diff of which `limit` lines are shown has more to it."""
    lines = read_diff(body)
    return len(lines) > limit or any(len(line.text) > LONG for line in lines)
