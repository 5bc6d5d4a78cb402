"""Which lines of a diff belong together, and which words of them changed.

Removed lines are paired with the added ones that took their place, where the two have enough in
common that the difference says something. Pure, and bounded: what would take long is told as a
change of the whole line. Must not know colours.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from itertools import islice
from typing import TypeAlias

from glmcode.base.textfile import common_head, common_tail
from glmcode.repl.diff import LONG, DiffLine

Ranges: TypeAlias = tuple[tuple[int, int], ...]
"""Stretches [from, to) of a line's characters."""

ALIKE = 0.4
"""The share of two lines' characters that must be the same, so that words are shown."""
MOST_LINES = 24
"""Lines of a block that are compared each with each; of larger ones the n-th with the n-th."""
MOST_CHARS = 1_000
MOST_WORDS = 120
MOST_PAIRS = 500
_WORD = re.compile(r"[^\W\u2e80-\U0003ffff]+|\s+|.", re.DOTALL)
"""A word, blanks, or one other character: such are the words of Chinese and Japanese here."""


def emphasised(lines: Sequence[DiffLine]) -> dict[int, Ranges]:
    """What changed inside of lines, by their place in `lines`; none where all of a line did."""
    found: dict[int, Ranges] = {}
    pairs = (pair for block in _blocks(lines) for pair in _pairs(lines, *block))
    for one, other in islice(pairs, MOST_PAIRS):
        old, new = changed_words(lines[one].text, lines[other].text)
        if old or new:
            found[one], found[other] = old, new
    return found


def only_ends(lines: Sequence[DiffLine]) -> set[int]:
    """Places of lines that look the same before and after: their line ends changed."""
    found: set[int] = set()
    for removed, added in _blocks(lines):
        for one, other in zip(removed, added, strict=False):
            if lines[one].text == lines[other].text:
                found |= {one, other}
    return found


def changed_words(old: str, new: str) -> tuple[Ranges, Ranges]:
    """The stretches of either line that the other one lacks; none where they differ too much."""
    if max(len(old), len(new)) > MOST_CHARS:
        return _middle(old, new)
    one, other = _WORD.findall(old), _WORD.findall(new)
    if max(len(one), len(other)) > MOST_WORDS:
        return _middle(old, new)
    shorter = min(len(one), len(other))
    head = next((n for n in range(shorter) if one[n] != other[n]), shorter)
    tail = next((n for n in range(shorter - head) if one[-1 - n] != other[-1 - n]), shorter - head)
    at_old = at_new = len("".join(one[:head]))
    kept = len("".join([*one[:head], *one[len(one) - tail :]]).strip())
    before: list[tuple[int, int]] = []
    after: list[tuple[int, int]] = []
    rest, put_rest = one[head : len(one) - tail], other[head : len(other) - tail]
    for equal, a, b, c, d in _steps(rest, put_rest):
        cut, put = len("".join(rest[a:b])), len("".join(put_rest[c:d]))
        if equal:
            kept += len("".join(rest[a:b]).strip())
        else:
            before += [(at_old, at_old + cut)] if cut else []
            after += [(at_new, at_new + put)] if put else []
        at_old, at_new = at_old + cut, at_new + put
    if kept >= ALIKE * max(len(old.strip()), len(new.strip())):
        return tuple(before), tuple(after)
    return _middle(old, new) if max(len(old), len(new)) > LONG else ((), ())


def _steps(one: list[str], other: list[str]) -> list[tuple[bool, int, int, int, int]]:
    """How the one becomes the other, which shares neither its first word nor its last."""
    if len(one) < 3 or len(other) < 3:
        return [(False, 0, len(one), 0, len(other))]
    codes = SequenceMatcher(None, one, other, autojunk=False).get_opcodes()
    return [(kind == "equal", a, b, c, d) for kind, a, b, c, d in codes]


def _middle(old: str, new: str) -> tuple[Ranges, Ranges]:
    """All between the first difference and the last one; a stretch may be empty: it says where."""
    head = common_head(old, new)
    tail = common_tail(old, new, min(len(old), len(new)) - head)
    if head + tail < ALIKE * max(len(old), len(new)):
        return (), ()
    return ((head, len(old) - tail),), ((head, len(new) - tail),)


def _blocks(lines: Sequence[DiffLine]) -> Iterator[tuple[list[int], list[int]]]:
    """Runs of removed lines, each with the added ones right after it; remarks are passed over."""
    removed: list[int] = []
    added: list[int] = []
    for at, line in enumerate(lines):
        if line.kind == "note" and not line.left_out:
            continue
        if added and line.kind != "add":
            yield removed, added
            removed, added = [], []
        if line.kind == "remove":
            removed.append(at)
        elif line.kind == "add" and removed:
            added.append(at)
        else:
            removed = []
    if added:
        yield removed, added


def _pairs(
    lines: Sequence[DiffLine], removed: Sequence[int], added: Sequence[int]
) -> list[tuple[int, int]]:
    """Which removed line became which added one, in order."""
    if len(removed) == len(added) or max(len(removed), len(added)) > MOST_LINES:
        return list(zip(removed, added, strict=False))
    words = {at: set(_WORD.findall(lines[at].text[:MOST_CHARS])) for at in (*removed, *added)}
    pairs: list[tuple[int, int]] = []
    free = list(added)
    for one in removed:
        best = max(free, key=lambda at: _likeness(words[one], words[at]), default=None)
        if best is not None and _likeness(words[one], words[best]) >= ALIKE:
            pairs.append((one, best))
            free = free[free.index(best) + 1 :]
    return pairs


def _likeness(one: set[str], other: set[str]) -> float:
    return 2 * len(one & other) / (len(one) + len(other) or 1)
