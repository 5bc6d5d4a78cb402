"""A diff as the model sees it: each line of the new file with its number, packed into parts.

A part holds whole files as far as they go in, then whole hunks, then pieces of a hunk; what
can't be shown (binary files, lines that are far too long) is named instead. Pure. Must not
count tokens itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from glmcode.review.diff import FileDiff, Hunk, one_name
from glmcode.review.findings import BINARY, SHORTENED, TOO_LARGE, TOO_LONG

MOST_LINE = 2_000
MOST_OVERVIEW = 8_000
"""Characters."""
CUT = " […]"
LATE = "no time was left"
MOST_CHARS_PER_TOKEN = 16
"""What has more is cut without being counted: counting megabytes again and again takes minutes."""


@dataclass(frozen=True, slots=True)
class Part:
    """What is judged in one request. text: as it is shown; files: what of them it holds."""

    files: tuple[FileDiff, ...]
    text: str


def overview(files: Sequence[FileDiff], most: int = 200) -> str:
    """A line for each file: what happened to it, and how many lines. It stands above each part,
    so names that are too long for that are left to the parts."""
    lines: list[str] = []
    room = MOST_OVERVIEW
    for file in files[:most]:
        line = _head(file)
        room -= len(line) + 1
        if room < 0:
            break
        lines.append(line)
    if len(files) > len(lines):
        lines.append(f"and {len(files) - len(lines)} more files")
    return "\n".join(lines)


def show_file(file: FileDiff) -> str:
    """One file's changes, with the numbers of the new file."""
    lines = [f"=== {_head(file)}"]
    for hunk in file.hunks:
        lines.append(f"@@ {hunk.heading}".rstrip())
        for line in hunk.lines:
            number = "" if line.new is None else str(line.new)
            text = line.text if len(line.text) <= MOST_LINE else line.text[:MOST_LINE] + CUT
            lines.append(f"{number:>6} {line.kind}{text}")
    return "\n".join(lines) + "\n"


def pack(
    files: Sequence[FileDiff],
    count: Callable[[str], int],
    limit: int,
    late: Callable[[], bool] = lambda: False,
) -> tuple[list[Part], list[str]]:
    """(parts of at most `limit` tokens, what is left out and why). late: to begin no further
    file, since counting takes time, too."""
    parts: list[Part] = []
    left: list[str] = []
    held: list[FileDiff] = []
    size = 0
    for file in files:
        if file.large:
            left.append(f"{file.shown_path} ({file.large} of its lines: {TOO_LARGE}")
        if file.binary:
            left.append(f"{file.shown_path} {BINARY}")
            continue
        if not file.hunks:
            continue  # a name or a mode: the overview tells it
        if late():
            left.append(f"{file.shown_path} ({LATE})")
            continue
        shortened = 0
        for piece in _pieces(file, count, limit):
            tokens = count(show_file(piece))
            if tokens > limit:
                left.append(f"{piece.shown_path} {TOO_LONG}")
                continue
            if held and size + tokens > limit:
                parts.append(_part(held))
                held, size = [], 0
            held.append(piece)
            size += tokens
            shortened += _shortened(piece)
        if shortened:
            left.append(f"{file.shown_path} ({shortened} of its lines: {SHORTENED}")
    if held:
        parts.append(_part(held))
    return parts, left


def _shortened(file: FileDiff) -> int:
    """How many of the lines that were added are not shown to their end."""
    added = (line for hunk in file.hunks for line in hunk.lines if line.kind == "+")
    return sum(len(line.text) > MOST_LINE for line in added)


def _part(files: Sequence[FileDiff]) -> Part:
    return Part(tuple(files), "\n".join(map(show_file, files)))


def _pieces(file: FileDiff, count: Callable[[str], int], limit: int) -> list[FileDiff]:
    """The file whole, or cut between hunks, or inside of one."""
    text = show_file(file)
    if len(text) <= MOST_CHARS_PER_TOKEN * limit and count(text) <= limit:
        return [file]
    if len(file.hunks) > 1:
        half = len(file.hunks) // 2
        halves = (file.hunks[:half], file.hunks[half:])
    else:
        (hunk,) = file.hunks
        half = len(hunk.lines) // 2
        if not half:
            return [file]
        halves = ((_cut(hunk, 0, half),), (_cut(hunk, half, len(hunk.lines)),))
    return [
        piece for hunks in halves for piece in _pieces(replace(file, hunks=hunks), count, limit)
    ]


def _cut(hunk: Hunk, begin: int, end: int) -> Hunk:
    lines = hunk.lines[begin:end]
    return replace(hunk, lines=lines)


def _head(file: FileDiff) -> str:
    name = file.shown_path
    match file.status:
        case "renamed" | "copied":
            name = f"{one_name(file.old_path)} -> {name} ({file.status})"
        case "added" | "deleted":
            name = f"{name} ({file.status})"
        case _:
            pass
    modes = f", mode {file.modes[0]} -> {file.modes[1]}" if file.modes else ""
    what = "binary" if file.binary else f"+{file.added} -{file.removed}"
    return f"{name}: {what}{modes}"
