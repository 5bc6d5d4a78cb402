"""Plain paragraphs, laid out as rich would lay them out, at a tenth of its cost.

Most of what a model writes is words with some `code` and **bold** in them, and a stream of
thousands of words a second must not cost a processor. Whatever else a block holds, however
harmless it looks, is rich's: then the answer is None. Pure. Must not clean text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import groupby

_LINE = r"[A-Za-z(\"'`*][\x20-\x7e]*"
_SIMPLE = re.compile(rf"{_LINE}(?:\n{_LINE})*")
_MARKUP = re.compile(r"[\[\]<>&\\|~#_$^]|  |```|``| \n| $|://|www\.|@")
_INLINE = re.compile(
    r"(?P<code>(?<![^ (\n])`[^`\n ](?:[^`\n]*[^`\n ])?`(?![^ .,;:!?)\n]))"
    r"|(?P<bold>(?<![^ (\n])\*\*[A-Za-z0-9](?:[^*`\n]*[A-Za-z0-9])?\*\*(?![^ .,;:!?)\n]))"
    r"|(?P<text>[^*`]+)"
)
_ITEM = re.compile(r"(?:(?P<number>[1-9][0-9]{0,3})(?P<end>[.)])|(?P<bullet>[-*+])) (?P<text>\S.*)")
LEAST = 20
"""Narrower lists are rich's: it may give up their shape."""
_WORD = re.compile(r"\S+\s*")


def prose(block: str, width: int, *, codes: Mapping[str, str]) -> list[str] | None:
    """Its lines, at most `width` columns each; None: it isn't a plain paragraph, ask rich.

    codes: the escape that begins "c" (code) and "b" (bold); without any nothing is styled.
    """
    if _MARKUP.search(block) or not _SIMPLE.fullmatch(block):
        return None
    text, styles, at = "", "", 0
    while at < len(block):
        part = _INLINE.match(block, at)
        if part is None:
            return None
        at = part.end()
        kind, shown = " ", part.group()
        if part["code"] is not None:
            kind, shown = "c", shown[1:-1]
        elif part["bold"] is not None:
            kind, shown = "b", shown[2:-2]
        text += shown
        styles += kind * len(shown)
    text = text.replace("\n", " ")
    cuts = _cuts(text, width)
    if cuts is None:
        return None
    ends = [*cuts[1:], len(text)]
    lines = [
        (start, start + len(text[start:end].rstrip()))
        for start, end in zip(cuts, ends, strict=True)
    ]
    if not codes or not styles.strip():
        return [text[start:end] for start, end in lines]
    return [_painted(text[start:end], styles[start:end], codes) for start, end in lines]


def items(block: str, width: int, *, codes: Mapping[str, str]) -> list[str] | None:
    """The lines of a flat list whose items are one plain line each; None: ask rich.

    codes: as in prose, and "u" for bullets, "n" for numbers.
    """
    rows = [_ITEM.fullmatch(row) for row in block.split("\n")]
    first = rows[0]
    if first is None or width < LEAST:
        return None
    number, room = int(first["number"] or 0), 3
    if first["number"]:
        room = len(str(number + len(rows))) + 2
    lines: list[str] = []
    for at, row in enumerate(rows):
        if row is None or any(row[kind] != first[kind] for kind in ("end", "bullet")):
            return None
        laid = prose(row["text"], width - room, codes=codes)
        if laid is None:
            return None
        mark = f"{number + at}".rjust(room - 1) + " " if first["number"] else " • "
        before = codes.get("n" if first["number"] else "u", "")
        mark = f"{before}{mark}\x1b[0m" if before else mark
        lines += [f"{' ' * room if later else mark}{line}" for later, line in enumerate(laid)]
    return lines


def _cuts(text: str, width: int) -> list[int] | None:
    """Where lines begin; None where a word is wider than a line."""
    cuts, begin = [0], 0
    for word in _WORD.finditer(text):
        length = len(word.group().rstrip())
        if length > width:
            return None
        if word.start() + length - begin > width:
            begin = word.start()
            cuts.append(begin)
    return cuts


def _painted(text: str, styles: str, codes: Mapping[str, str]) -> str:
    painted, at = "", 0
    for kind, run in groupby(styles):
        end = at + sum(1 for _ in run)
        part = text[at:end]
        painted += f"{codes[kind]}{part}\x1b[0m" if kind in codes else part
        at = end
    return painted
