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
