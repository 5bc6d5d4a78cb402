"""The fallback of Edit: find whole lines without their indentation and trailing space.

Models lose or add indentation and trailing blanks; the words are right. It is used only when
the exact text is nowhere, and only when exactly one run of lines has those words. Lines that
old and new share stay as the file has them; other lines get the indentation that the file has
at that place, in the file's own unit. Must not be used for replace_all, nor choose between runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from glmcode.tools.diff import changed_blocks
from glmcode.tools.match import Plain, Replaced, places


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """The lines that were asked for, as the model wrote them and as the file has them.

    known: the file's indentation for one of the model's, where there is but one. step and
    unit: one level of indentation, in columns for the model and as text for the file.
    """

    old: list[str]
    file: list[str]
    known: dict[str, str]
    step: int
    unit: str


def find_runs(lines: Sequence[str], wanted: Sequence[str]) -> list[int]:
    """Indices of the lines where a run begins that equals `wanted` but for outer space."""
    if not any(line.strip() for line in wanted):
        return []
    whole = "\n" + "".join(f"{line.strip()}\n" for line in lines)
    piece = "\n" + "".join(f"{line.strip()}\n" for line in wanted)
    found, seen, line = [], 0, 0
    for at in places(whole, piece, overlapping=True, limit=1_000):
        line += whole.count("\n", seen, at)
        seen = at
        found.append(line)
    return found


def replace_loosely(plain: Plain, old: str, new: str) -> Replaced | list[int]:
    """The text with the one run replaced, else the lines (from 1) of all runs, perhaps none."""
    while old.startswith("\n") and new.startswith("\n"):
        old, new = old[1:], new[1:]
    whole_lines = old.endswith("\n")
    wanted = old.removesuffix("\n").split("\n")
    lines = plain.text.split("\n")
    runs = [] if old.startswith("\n") else find_runs(lines, wanted)
    if len(runs) != 1:
        return [run + 1 for run in runs]
    first, last = runs[0], runs[0] + len(wanted)
    start = sum(len(line) + 1 for line in lines[:first])
    end = start + len("\n".join(lines[first:last]))
    if whole_lines and end < len(plain.text):
        end += 1
    elif whole_lines and not (plain.text[start:end].endswith("\n") and new.strip("\n")):
        new = new.removesuffix("\n")
    text = _indented(_run(wanted, lines, first, new), new)
    begin, finish = plain.back(start), plain.back(end)
    inside = plain.with_line_ends(begin, finish, text)
    whole = plain.original[:begin] + inside + plain.original[finish:]
    return Replaced(text=whole, lines=(first + 1,), inserted=new, loose=True)


def _run(wanted: list[str], lines: list[str], first: int, new: str) -> _Run:
    found = lines[first : first + len(wanted)]
    pairs: dict[str, set[str]] = {}
    for mine, theirs in zip(wanted, found, strict=True):
        if mine.strip():
            pairs.setdefault(_indent(mine), set()).add(_indent(theirs))
    known = {mine: theirs.pop() for mine, theirs in pairs.items() if len(theirs) == 1}
    written = [line for line in [*wanted, *new.split("\n")] if line.strip()]
    widths = sorted({_width(_indent(line)) for line in written})
    step = min((b - a for a, b in pairwise(widths)), default=4)
    return _Run(old=wanted, file=found, known=known, step=step, unit=_unit_of(lines, found))


def _indented(run: _Run, new: str) -> str:
    """`new` line by line: the file's own line where nothing changed, else re-indented."""
    lines = new.split("\n")
    ended = lines[-1] == "" and len(lines) > 1
    if ended:
        lines.pop()
    old_words = [line.strip() for line in run.old]
    blocks = changed_blocks(old_words, [line.strip() for line in lines])
    out: list[str] = []
    i = j = 0
    for a, b, c, d in [*blocks, (len(run.old), 0, len(lines), 0)]:
        for k in range(c - j):
            same = lines[j + k].rstrip() == run.old[i + k].rstrip()
            out.append(run.file[i + k] if same else _moved(run, lines[j + k], i + k))
        out += [_moved(run, lines[m], min(a + m - c, max(b - 1, 0))) for m in range(c, d)]
        i, j = b, d
    return "\n".join(out) + ("\n" if ended else "")


def _moved(run: _Run, line: str, near: int) -> str:
    """A new line with the indentation it has in the file; `near` is the old line it is by."""
    if not line.strip():
        return line
    indent = _indent(line)
    if indent in run.known:
        return run.known[indent] + line[len(indent) :]
    near = _with_words(run.old, near)
    shift = _width(indent) - _width(_indent(run.old[near]))
    levels, rest = divmod(abs(shift), run.step)
    base = _indent(run.file[near])
    if shift >= 0:
        base += run.unit * levels + " " * rest
    else:
        for _ in range(levels):
            base = base.removesuffix(run.unit)
    return base + line[len(indent) :]


def _with_words(lines: list[str], near: int) -> int:
    """The index of the nearest line that is not blank, at or before `near` if there is one."""
    order: list[int] = [*range(near, -1, -1), *range(near + 1, len(lines))]
    return next(i for i in order if lines[i].strip())


def _indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]


def _width(indent: str) -> int:
    return len(indent.expandtabs(4))


def _unit_of(lines: Sequence[str], run: Sequence[str]) -> str:
    """One level of indentation: of the run itself, else of the file, else four spaces."""
    for where in (run, lines[:2_000]):
        indents = [_indent(line) for line in where if line.strip()]
        if any("\t" in one for one in indents):
            return "\t"
        widths = sorted({len(one) for one in indents})
        steps = [b - a for a, b in pairwise(widths) if b - a > 1]
        if steps:
            return " " * min(steps)
    return "    "
