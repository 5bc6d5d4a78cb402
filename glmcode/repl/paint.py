"""Turns text into finished terminal lines: the one place that knows rich and colours.

Every text is cleaned here before it is styled, so that the lines hold no escape but the
colours (SGR) that rich writes. Lines fit the width that was current when they were made.
Must not print, and must not know events.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from glmcode.repl.clean import plain_output, visible
from glmcode.repl.diff import cut_diff, read_diff
from glmcode.repl.prose import prose

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

Spans = Sequence[tuple[str, str]]
"""(style, text) pairs; the text may be untrusted, the style is a name of STYLES."""

STYLES = {
    "": "none",
    "plain": "none",
    "dim": "dim",
    "reasoning": "dim italic",
    "bold": "bold",
    "person": "bold cyan",
    "tool": "bold",
    "bullet": "green",
    "error": "red",
    "warning": "yellow",
    "good": "green",
    "add": "green",
    "remove": "red",
    "hunk": "cyan dim",
    "key": "bold cyan",
}
THEME = {
    "markdown.code": "cyan",
    "markdown.code_block": "none",
    "markdown.block_quote": "dim",
    "markdown.h1": "bold underline",
    "markdown.h2": "bold",
    "markdown.h3": "bold",
    "markdown.link": "none",
    "markdown.link_url": "underline",
    "markdown.table.border": "dim",
    "markdown.table.header": "bold",
}
MIN_WIDTH = 10
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_TRAILING = re.compile(r" +((?:\x1b\[[0-9;]*m)*)$")


class Painter:
    """Paints for one terminal. `width` is in columns and may be changed at any time."""

    def __init__(self, width: int, *, colour: bool = True, unicode: bool = True) -> None:
        self.width = width
        self.colour = colour
        self.unicode = unicode
        self.marks = ("●", "└", "…", "✗") if unicode else ("*", "'-", "...", "x")
        self._console: Console | None = None

    def spans(self, spans: Spans, *, indent: int = 0, hang: int | None = None) -> list[str]:
        """Styled text, wrapped; later lines are indented by `hang` (default: as the first)."""
        from rich.text import Text

        text = Text(no_wrap=False, overflow="fold")
        for style, part in spans:
            text.append(visible(part).expandtabs(4), STYLES[style])
        hang = indent if hang is None else hang
        width = max(MIN_WIDTH, self.width)
        lines = self._lines(text, max(MIN_WIDTH // 2, width - max(indent, hang)))
        return [" " * (hang if number else indent) + line for number, line in enumerate(lines)]

    def output(self, text: str, *, indent: int = 2, style: str = "dim") -> list[str]:
        """What a command printed, without its own escapes, one wrapped line after the other."""
        return self.spans([(style, plain_output(text).rstrip("\n"))], indent=indent)

    def markdown(self, block: str) -> list[str]:
        """One or several blocks of markdown, without blank lines around."""
        width, text = max(MIN_WIDTH, self.width), visible(block)
        console = self._console or self._make_console()
        plain = None
        if not console.no_color:
            plain = prose(text, width, styled=console.color_system is not None)
        return self.laid_out(text, width) if plain is None else plain

    def laid_out(self, block: str, width: int) -> list[str]:
        """The same by rich, whatever the block holds; it must be clean already."""
        from glmcode.repl.markdown import as_renderable

        lines = self._lines(as_renderable(block, width), width)
        while lines and _is_blank(lines[-1]):
            lines.pop()
        while lines and _is_blank(lines[0]):
            lines.pop(0)
        return lines

    def diff(self, body: str, *, limit: int, indent: int = 2) -> list[str]:
        """A unified diff with line numbers and colours; more than `limit` lines are cut."""
        lines = read_diff(visible(body))
        numbers = [line.number for line in lines if line.number is not None]
        digits = len(str(max(numbers, default=0))) if self.width >= 40 else 0
        painted: list[str] = []
        for line in cut_diff(lines, limit):
            number = "" if line.number is None else str(line.number)
            gutter = f"{number:>{digits}} " if digits else ""
            hang = indent + len(gutter) + 2
            match line.kind:
                case "add" | "remove":
                    sign = "+ " if line.kind == "add" else "- "
                    parts = [("dim", gutter), (line.kind, sign + line.text)]
                case "context":
                    parts = [("dim", gutter), ("", "  " + line.text)]
                case "hunk":
                    parts = [("hunk", f"{self.marks[2]} {line.text}")]
                case "note":
                    parts = [("dim", line.text)]
            painted += self.spans(parts, indent=indent, hang=hang)
        return painted

    def _lines(self, renderable: RenderableType, width: int) -> list[str]:
        console = self._console or self._make_console()
        console.width = width
        with console.capture() as captured:
            console.print(renderable)
        return [_TRAILING.sub(r"\1", line) for line in captured.get().rstrip("\n").split("\n")]

    def _make_console(self) -> Console:
        from rich.console import Console
        from rich.theme import Theme

        self._console = Console(
            theme=Theme(THEME),
            file=io.StringIO(),
            force_terminal=self.colour,
            color_system="auto" if self.colour else None,
            width=self.width,
            height=100,
            emoji=False,
            markup=False,
            highlight=False,
            legacy_windows=False,
        )
        return self._console


def _is_blank(line: str) -> bool:
    return not _COLOUR.sub("", line).strip()
