"""A unified diff as a person sees it: numbers, signs, colours, the words that changed, folds.

Lines are wrapped where the screen ends and nowhere else, so that blanks stay what they are. What
is added keeps its colour below that of its syntax, what changed within a line stands out, and what
is removed is in one colour. Written without rich, which takes a second for five thousand lines.
Every text of a file is cleaned here. Must not know where a diff comes from.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

from glmcode.repl.clean import visible
from glmcode.repl.diff import LONG, DiffLine, Kind, beyond, cut_diff, read_diff
from glmcode.repl.emphasis import Ranges, emphasised, only_ends
from glmcode.repl.syntax import MOST_LINES, Stretch, language_of, stretches

if TYPE_CHECKING:
    from glmcode.repl.paint import Painter

Segments: TypeAlias = list[tuple[tuple[str, ...], str]]
"""(names of styles, text) pairs: the later style counts."""

NUMBERS_FROM = 40
"""Columns of a screen that has room for line numbers."""
MIN_ROOM = 4
TAB = 4
BEFORE = 100
"""Characters of a very long line that are shown before its first change."""
SIGNS = {"add": "+ ", "remove": "- ", "context": "  "}
STYLES = {"add": "diff.add", "remove": "diff.remove", "context": ""}
ENDS = "(its line end)"


def diff_lines(
    painter: Painter, body: str, name: str, *, limit: int | None, indent: int
) -> list[str]:
    """The lines of a diff, at most `limit` of them before they are wrapped; None: all of it.

    name: of the file, which its syntax is known by; "": none.
    """
    lines = read_diff(body)
    shown = lines if limit is None else cut_diff(lines, limit)
    numbers = [line.number for line in lines if line.number is not None]
    digits = len(str(max(numbers, default=0))) if painter.width >= NUMBERS_FROM else 0
    words = emphasised(shown)
    syntax = _syntax(shown, name) if painter.coloured else {}
    ends = only_ends(shown)
    painted: list[str] = []
    for at, line in enumerate(shown):
        if line.kind in ("hunk", "note"):
            painted += painter.spans([("hunk", _fold(painter, line))], indent=indent)
            continue
        number = "" if line.number is None else str(line.number)
        gutter = f"{number:>{digits}} " if digits else ""
        segments = _segments(line, words.get(at, ()), syntax.get(at, ()))
        if limit is not None and len(line.text) > LONG:
            segments = _window(painter, line.text, segments, words.get(at, ()))
        if at in ends:
            segments.append((("hunk",), f" {ENDS}"))
        painted += _rows(painter, line.kind, gutter, segments, indent)
    return painted


def _fold(painter: Painter, line: DiffLine) -> str:
    """The line for what is left out, or a remark."""
    mark, count = "⋮" if painter.unicode else ":", line.left_out
    if line.kind == "hunk":
        said = f"{count:,} unchanged line{'' if count == 1 else 's'}" if count else ""
        return "  ".join(part for part in (f"{mark} {said}".rstrip(), line.text) if part)
    if not count:
        return line.text
    return f"{mark} {line.text}{f', {painter.unfolds}' if painter.unfolds else ''}"


def _window(painter: Painter, text: str, segments: Segments, words: Ranges) -> Segments:
    """Of a very long line the part that changed first, with what is left out counted."""
    first = words[0][0] if words else 0
    start = max(0, first - BEFORE) if first > LONG - BEFORE else 0
    end = min(len(text), start + LONG)
    shown: Segments = []
    at = 0
    for names, part in segments:
        piece = part[max(0, start - at) : max(0, end - at)]
        shown += [(names, piece)] if piece else []
        at += len(part)
    mark = painter.marks[2]
    before, after = beyond(text)
    if start:
        shown.insert(0, (("hunk",), f"{mark}{start + before:,} characters{mark} "))
    if end < len(text):
        shown.append((("hunk",), f" {mark}{len(text) - end + after:,} more characters"))
    return shown


def _syntax(lines: Sequence[DiffLine], name: str) -> dict[int, list[Stretch]]:
    """The stretches of what is there afterwards, by place; a hunk is read for itself."""
    language = language_of(name)
    found: dict[int, list[Stretch]] = {}
    part: list[int] = []
    end = DiffLine("hunk", None, "")
    for at, line in enumerate([*lines[:MOST_LINES], end] if language else []):
        if line.kind in ("add", "context"):
            part.append(at)
        elif line.kind != "remove" and part:
            texts = [lines[one].text for one in part]
            found |= zip(part, stretches(language, texts), strict=True)
            part = []
    return found


def _segments(line: DiffLine, words: Ranges, syntax: Sequence[Stretch]) -> Segments:
    """A line's text in pieces of one style each."""
    base = STYLES[line.kind]
    text = line.text
    if not words and not syntax:
        return [((base,), text)]
    styles: list[tuple[str, ...]] = [(base,)] * len(text)
    for start, end, style in syntax if line.kind != "remove" else ():
        styles[start:end] = [(base, style)] * (end - start)
    for start, end in words:
        styles[start:end] = [(base, f"{base}.word")] * (end - start)
    segments: Segments = []
    start = 0
    for end in range(1, len(text) + 1):
        if end == len(text) or styles[end] != styles[start]:
            segments.append((styles[start], text[start:end]))
            start = end
    return segments


def _rows(painter: Painter, kind: Kind, gutter: str, segments: Segments, indent: int) -> list[str]:
    """One line of a file as rows of the screen."""
    sign = SIGNS[kind]
    hang = indent + len(gutter) + len(sign)
    room = max(MIN_ROOM, painter.width - hang)
    rows = [""]
    left = room
    column = 0
    for names, raw in segments:
        text = _expanded(visible(raw), column)
        before, after = painter.codes(*names)
        while text:
            piece, used = _fitting(text, left)
            if not piece:
                if left == room:
                    piece, used = text[0], left  # wider than the screen: one a row
                else:
                    rows.append("")
                    left = room
                    continue
            rows[-1] += f"{before}{piece}{after}"
            text, left, column = text[len(piece) :], left - used, column + used
    if kind == "context" and not rows[0]:
        if not gutter:
            return [""]
        gutter, sign = gutter.rstrip(), ""
    number = painter.coded("dim", gutter)
    head = f"{' ' * indent}{number}{painter.coded(STYLES[kind], sign)}"
    return [f"{head}{rows[0]}", *(f"{' ' * hang}{row}" for row in rows[1:])]


def _expanded(text: str, column: int) -> str:
    if "\t" not in text:
        return text
    done: list[str] = []
    parts = text.split("\t")
    for part in parts[:-1]:
        column += cells(part)
        blanks = TAB - column % TAB
        done += [part, " " * blanks]
        column += blanks
    return "".join([*done, parts[-1]])


def _fitting(text: str, room: int) -> tuple[str, int]:
    """As much of a text as fits, and the columns that it takes."""
    if text.isascii():
        piece = text[:room]
        return piece, len(piece)
    used = 0
    for at, char in enumerate(text):
        width = cells(char)
        if used + width > room:
            return text[:at], used
        used += width
    return text, used


def cells(text: str) -> int:
    """The columns that a text takes; characters are counted one by one."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return sum(cell_len(char) for char in text)
