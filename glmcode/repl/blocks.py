"""Cuts streaming markdown into blocks that can be printed once and for all.

CommonMark is read line by line, and a block that was closed is never opened again: so
everything before the last top-level block is final as soon as its lines are whole. The last
one is final when it closed itself (a heading, a fence with its end) or a blank line closed
it. What waits is read again only when it has grown by a share of itself, so that the time
stays linear. Pure. Must not render; must not hold more than LIMIT characters back.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import pairwise

from markdown_it import MarkdownIt
from markdown_it.token import Token

LIMIT = 32_768
MAX_OPENING = 200
_CLOSED_BY_BLANK = ("paragraph_open", "table_open", "heading_open")


@lru_cache(maxsize=1)
def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    parser.core.ruler.enableOnly(["normalize", "block"])
    return parser


class BlockSplitter:
    """Takes pieces of markdown, gives whole blocks; `pending` is what is not final yet."""

    def __init__(self) -> None:
        self.pending = ""
        self._read_again = 0

    def feed(self, text: str) -> list[str]:
        """Add a piece; returns the blocks that became final, in order, without blank ends."""
        self.pending += text
        if len(self.pending) > LIMIT:
            blocks = self._final()
            while len(self.pending) > LIMIT:
                blocks += self._force()
            return blocks
        if "\n" not in text or len(self.pending) < self._read_again:
            return []
        return self._final()

    def finish(self) -> list[str]:
        """The text is at its end: everything that is left, block by block."""
        blocks, used = _final_blocks(self.pending + "\n\n")
        rest = _trimmed(self.pending[used:])
        self.pending, self._read_again = "", 0
        return [*blocks, rest] if rest else blocks

    def _final(self) -> list[str]:
        whole = self.pending[: self.pending.rfind("\n") + 1]
        blocks, used = _final_blocks(whole)
        self.pending = self.pending[used:]
        waiting = len(self.pending)
        self._read_again = waiting + waiting // 16
        return blocks

    def _force(self) -> list[str]:
        """Let a huge block go at a line's end; a fence is opened again for its rest."""
        cut = self.pending.rfind("\n", 0, LIMIT) + 1 or LIMIT
        block, rest = self.pending[:cut], self.pending[cut:]
        fence = _open_fence(block)
        self.pending = fence + rest
        return [_trimmed(block)]


def _final_blocks(text: str) -> tuple[list[str], int]:
    """The final blocks of text that ends with a newline, and how many characters they take."""
    lines = text.split("\n")
    tokens = [token for token in _parser().parse(text) if token.level == 0 and token.map]
    if not tokens:
        return [], len(text) if not text.strip() else 0
    starts = [token.map[0] for token in tokens if token.map]
    starts[0] = 0
    if _is_closed(tokens[-1], lines):
        starts.append(len(lines) - 1)
    blocks = [_trimmed("\n".join(lines[start:end])) for start, end in pairwise(starts)]
    used = sum(len(line) + 1 for line in lines[: starts[-1]])
    return [block for block in blocks if block], used


def _trimmed(block: str) -> str:
    """Without blank lines at either end; the first line keeps its indentation."""
    return re.sub(r"\A(?:[ \t]*\n)+", "", block.rstrip())


def _is_closed(token: Token, lines: list[str]) -> bool:
    assert token.map is not None
    start, end = token.map
    if token.type == "fence":
        return token.content.count("\n") == end - start - 2
    if token.type == "hr" or (token.type == "heading_open" and token.markup.startswith("#")):
        return True
    blank = end < len(lines) - 1 and not lines[end].strip()
    return token.type in _CLOSED_BY_BLANK and blank


def _open_fence(block: str) -> str:
    """The opening line of the fence in which `block` ends, or ""."""
    tokens = [token for token in _parser().parse(block) if token.level == 0 and token.map]
    if not tokens or tokens[-1].type != "fence":
        return ""
    opening = f"{tokens[-1].markup}{tokens[-1].info}\n"
    return opening if len(opening) < MAX_OPENING else ""
