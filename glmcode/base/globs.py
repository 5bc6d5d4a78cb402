"""Glob patterns as regular expressions over paths that are written with `/`.

`*`, `?` and `[...]` stay inside one part of a path, `**` crosses parts, braces are alternatives.
The expressions are built from atomic groups, so that no pattern (it may come from a model or
from a repository's ignore file) takes exponential time. Must not touch the disk.
"""

from __future__ import annotations

import re
from itertools import pairwise

_MAX_ALTERNATIVES = 256
_BRACKET = re.compile(r"(\\.)|\[", re.DOTALL)
_CLASSES = {
    "alnum": "A-Za-z0-9",
    "alpha": "A-Za-z",
    "blank": r" \t",
    "digit": "0-9",
    "lower": "a-z",
    "space": r"\s",
    "upper": "A-Z",
    "xdigit": "A-Fa-f0-9",
}


def has_wildcard(pattern: str) -> bool:
    """Whether a pattern can match anything but itself."""
    return any(char in pattern for char in "*?[{\\")


def unclosed(pattern: str) -> tuple[str, int] | None:
    """The bracket or brace that a pattern opens and never closes, and where (from 1)."""
    opened: tuple[str, int] | None = None
    spot = 0
    while spot < len(pattern):
        char = pattern[spot]
        if char == "\\":
            spot += 1
        elif opened is None and char in "[{":
            opened = char, spot + 1
        elif opened is not None and char == ("]" if opened[0] == "[" else "}"):
            opened = None
        spot += 1
    return opened


def with_literal(patterns: list[str]) -> list[str]:
    """The patterns, each that holds a bracket once more with its brackets meaning themselves.

    Folders are named `[id]` in some projects, and whoever asks for them escapes nothing.
    """
    literal = [_BRACKET.sub(lambda found: found[1] or r"\[", one) for one in patterns]
    return list(dict.fromkeys([*patterns, *literal]))


def expand_braces(pattern: str) -> list[str]:
    """`a.{py,pyi}` as `a.py` and `a.pyi`, nested ones too; unbalanced braces stay as they are."""
    done: list[str] = []
    waiting = [pattern]
    while waiting and len(done) + len(waiting) <= _MAX_ALTERNATIVES:
        current = waiting.pop()
        span = _first_braces(current)
        if span is None:
            done.append(current)
            continue
        start, end, parts = span
        waiting += [current[:start] + part + current[end:] for part in reversed(parts)]
    return done + waiting


def _first_braces(pattern: str) -> tuple[int, int, list[str]] | None:
    """Start, end and alternatives of the first balanced braces that hold something."""
    open_at: list[int] = []
    cuts: list[list[int]] = []
    index = 0
    while index < len(pattern):
        char = pattern[index]
        if char == "\\":
            index += 1
        elif char == "{":
            open_at.append(index)
            cuts.append([])
        elif char == "," and open_at:
            cuts[-1].append(index)
        elif char == "}" and open_at:
            start, commas = open_at.pop(), cuts.pop()
            if index > start + 1:
                edges = [start, *commas, index]
                parts = [pattern[a + 1 : b] for a, b in pairwise(edges)]
                return start, index + 1, parts
        index += 1
    return None


def glob_regex(pattern: str) -> re.Pattern[str]:
    """A model's glob for fullmatch on a relative path.

    Without a slash it matches the name at any depth, as ripgrep and .gitignore do; with one it
    is anchored at the start. `**` inside a part (`src/**.py`) means "at any depth" as well.
    """
    expressions = []
    for one in expand_braces(pattern):
        loose: list[str] = []
        for part in one.split("/"):
            if part.startswith("**") and len(part) > 2:
                loose += ["**", "*" + part.lstrip("*")]
            elif part not in ("", "."):
                loose.append(part)
        if "/" not in one.rstrip("/"):
            loose.insert(0, "**")
        expressions.append(path_expression(loose))
    return re.compile("|".join(f"(?:{one})" for one in expressions), re.DOTALL)


def path_expression(parts: list[str]) -> str:
    """The expression of a pattern that was cut at its slashes; `**` stands for any parts."""
    segments: list[list[str]] = [[]]
    for part in parts:
        if part != "**":
            segments[-1].append(name_expression(part))
        elif segments[-1] or len(segments) == 1:
            segments.append([])
    if len(segments) == 1:
        return "/".join(segments[0])
    first, *middle, last = ("/".join(segment) for segment in segments)
    out = f"{first}/" if first else ""
    out += "".join(f"(?>(?:.*?/)??{one}/)" for one in middle)
    return out + (f"(?:.*/)?{last}" if last else ".+")


def name_expression(part: str) -> str:
    """The expression of one part of a path, without `**`.

    The shortest text that fits is enough for every star but the last: hence atomic groups.
    """
    pieces = _pieces(part)
    if len(pieces) == 1:
        return pieces[0]
    first, *middle, last = pieces
    return first + "".join(f"(?>[^/]*?{one})" for one in middle if one) + f"[^/]*{last}"


def _pieces(part: str) -> list[str]:
    """The expressions between the stars of a part."""
    pieces, index = [""], 0
    while index < len(part):
        char = part[index]
        if char == "*":
            pieces.append("")
        elif char == "?":
            pieces[-1] += "[^/]"
        elif char == "\\" and index + 1 < len(part):
            index += 1
            pieces[-1] += re.escape(part[index])
        elif char == "[" and (found := _character_class(part, index)) is not None:
            expression, index = found
            pieces[-1] += expression
        else:
            pieces[-1] += re.escape(char)
        index += 1
    return pieces


def _character_class(part: str, start: int) -> tuple[str, int] | None:
    """The expression of the class at `start` and the index of its `]`; None if it is none."""
    index = start + 1
    negated = part[index : index + 1] in ("!", "^")
    index += negated
    body = ""
    while index < len(part):
        char = part[index]
        named = re.compile(r"\[:(\w+):\]").match(part, index)
        if char == "]" and body:
            sign = "^" if negated else ""
            return None if _is_bad(body) else (f"(?!/)[{sign}{body}]", index)
        if named is not None and named.group(1) in _CLASSES:
            body += _CLASSES[named.group(1)]
            index = named.end()
            continue
        if char == "\\" and index + 1 < len(part):
            index += 1
            body += re.escape(part[index])
        else:
            spans = char == "-" and body and not body.endswith("-")
            body += "-" if spans else re.escape(char)
        index += 1
    return None


def _is_bad(body: str) -> bool:
    """Whether a class such as [z-a] is none."""
    try:
        re.compile(f"[{body}]")
    except re.error:
        return True
    return False
