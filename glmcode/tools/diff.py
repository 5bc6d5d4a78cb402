"""What changed between two texts, by lines: the hunks a person sees and the two counts.

The shortest script is searched for (Myers) as long as it is short; where two texts have little
in common the whole middle counts as replaced, so that no pair of files takes more than a moment.
Must not know files; line ends belong to the lines, so a changed line end is a change.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from glmcode.base.textfile import common_head, common_tail, line_count, lines_with_ends

Block: TypeAlias = tuple[int, int, int, int]
"""Lines [a, b) of the old text became lines [c, d) of the new one."""

_MAX_EDITS = 500
_CONTEXT = 3
_MAX_SHOWN = 2_000
_WIDTHS = (20_000, 2_000)
"""Most characters of a line, and the most where lines of the first width would be too much."""
_MAX_CHARS = 400_000
_MOST_COMPARED = 24
"""Lines of a block among which that one is looked for which a very long line was, or became."""
_BEFORE = 200
"""Characters of a line of which only a part is shown before the first that changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Diff:
    """A unified diff without a head, and how many lines were added and removed.

    whole: whether the body holds every line, and each as it is.
    """

    body: str
    added: int
    removed: int
    whole: bool

    @property
    def counts(self) -> str:
        """The counts as every result writes them: (+3 -1)."""
        return f"(+{self.added} -{self.removed})"


def diff_texts(before: str, after: str) -> Diff:
    """Compare two texts; the body is cut after some thousand lines, and very long lines around
    what changed in them: a change is never left out without a word."""
    start, end = _around(before, after)
    skipped = line_count(before[:start])
    old = lines_with_ends(before[start : len(before) - end])
    new = lines_with_ends(after[start : len(after) - end])
    blocks = changed_blocks(old, new)
    body, whole = "", True
    for width in _WIDTHS:
        body, whole = _body(old, new, blocks, skipped, width)
        if len(body) <= _MAX_CHARS:
            break
    return Diff(
        body=body,
        added=sum(d - c for _, _, c, d in blocks),
        removed=sum(b - a for a, b, _, _ in blocks),
        whole=whole,
    )


def _body(
    old: Sequence[str], new: Sequence[str], blocks: list[Block], skipped: int, width: int
) -> tuple[str, bool]:
    shown: list[str] = []
    for hunk in _hunks(blocks):
        shown += _hunk_lines(old, new, hunk, skipped, width)
        if len(shown) > _MAX_SHOWN:
            shown[_MAX_SHOWN:] = ["[the diff goes on]"]
            return "\n".join(shown), False
    longest = max((len(line) for part in (old, new) for line in part), default=0)
    return "\n".join(shown), longest <= width


def _around(before: str, after: str) -> tuple[int, int]:
    """How many characters at either end are the same and too far away to be shown."""
    start = common_head(before, after)
    for _ in range(_CONTEXT + 1):
        start = max(before.rfind("\n", 0, max(start, 0)), 0)
    start += 1 if start else 0
    shorter = min(len(before), len(after))
    end = len(before) - common_tail(before, after, shorter - start)
    for _ in range(_CONTEXT + 1):
        at = before.find("\n", end)
        end = at + 1 if at >= 0 else len(before)
    return start, len(before) - end


def changed_blocks(old: Sequence[str], new: Sequence[str]) -> list[Block]:
    """The differing stretches of two sequences, in order, none touching the next."""
    start, end = 0, 0
    shorter = min(len(old), len(new))
    while start < shorter and old[start] == new[start]:
        start += 1
    while end < shorter - start and old[-1 - end] == new[-1 - end]:
        end += 1
    a, b = old[start : len(old) - end], new[start : len(new) - end]
    if not a and not b:
        return []
    pairs = _common(a, b)
    blocks: list[Block] = []
    i = j = 0
    for x, y in [*pairs, (len(a), len(b))]:
        if x > i or y > j:
            blocks.append((start + i, start + x, start + j, start + y))
        i, j = x + 1, y + 1
    return blocks


def _common(a: Sequence[str], b: Sequence[str]) -> list[tuple[int, int]]:
    """Index pairs of a longest common subsequence; none where it would take too long."""
    shared = (Counter(a) & Counter(b)).total()
    if len(a) + len(b) - 2 * shared > _MAX_EDITS:
        return []
    trace: list[dict[int, int]] = []
    reach = {1: 0}
    for edits in range(_MAX_EDITS + 1):
        trace.append(dict(reach))
        for k in range(-edits, edits + 1, 2):
            down = k == -edits or (k != edits and reach[k - 1] < reach[k + 1])
            x = reach[k + 1] if down else reach[k - 1] + 1
            while x < len(a) and x - k < len(b) and a[x] == b[x - k]:
                x += 1
            reach[k] = x
            if x >= len(a) and x - k >= len(b):
                return _path_back(trace, len(a), len(b))
    return []


def _path_back(trace: list[dict[int, int]], x: int, y: int) -> list[tuple[int, int]]:
    pairs: list[tuple[int, int]] = []
    for edits in range(len(trace) - 1, -1, -1):
        reach, k = trace[edits], x - y
        down = k == -edits or (k != edits and reach[k - 1] < reach[k + 1])
        before_k = k + 1 if down else k - 1
        before_x = reach[before_k] if edits else 0
        before_y = before_x - before_k if edits else 0
        while x > before_x and y > before_y:
            x, y = x - 1, y - 1
            pairs.append((x, y))
        x, y = before_x, before_y
    return pairs[::-1]


def _hunks(blocks: list[Block]) -> list[list[Block]]:
    hunks: list[list[Block]] = []
    for block in blocks:
        if hunks and block[0] - hunks[-1][-1][1] <= 2 * _CONTEXT:
            hunks[-1].append(block)
        else:
            hunks.append([block])
    return hunks


def _hunk_lines(
    old: Sequence[str], new: Sequence[str], hunk: list[Block], skipped: int, width: int
) -> list[str]:
    first, last = hunk[0], hunk[-1]
    lead = min(_CONTEXT, first[0])
    tail = min(_CONTEXT, len(old) - last[1])
    a, b = first[0] - lead, last[1] + tail
    c, d = first[2] - lead, last[3] + tail
    lines = [f"@@ -{_range(a, b, skipped)} +{_range(c, d, skipped)} @@"]
    at = a
    for i, j, m, n in hunk:
        removed, added = old[i:j], new[m:n]
        lines += [text for line in old[at:i] for text in _shown(" ", line, width)]
        lines += _changed("-", removed, added, width)
        lines += _changed("+", added, removed, width)
        at = j
    return lines + [text for line in old[at:b] for text in _shown(" ", line, width)]


def _changed(sign: str, lines: Sequence[str], others: Sequence[str], width: int) -> list[str]:
    """One side of a block; a line that is too long for it shows where it changed."""
    shown: list[str] = []
    for at, line in enumerate(lines):
        near = others if len(others) <= _MOST_COMPARED else others[at : at + 1]
        head = 0
        if len(line) > width:
            head = max((common_head(line, other) for other in near), default=0)
        shown += _shown(sign, line, width, max(0, head - _BEFORE) if head > width // 2 else 0)
    return shown


def _range(start: int, end: int, skipped: int) -> str:
    if end - start == 1:
        return str(skipped + start + 1)
    return f"{skipped + (start + 1 if end > start else start)},{end - start}"


def _shown(sign: str, line: str, width: int, start: int = 0) -> list[str]:
    """A line with its sign: of a longer one `width` characters from `start` on."""
    bare = line.rstrip("\r\n")
    if start or len(bare) > width:
        before = f"[... {start:,} characters]" if start else ""
        left = len(bare) - start - width
        after = f"[... {left:,} more characters]" if left > 0 else ""
        return [f"{sign}{before}{bare[start : start + width]}{after}"]
    return [sign + bare] if bare != line else [sign + line, "\\ No newline at end of file"]
