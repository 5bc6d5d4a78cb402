"""Turns text into finished terminal lines: the one place that knows rich and colours.

Every text is cleaned here before it is styled, so that the lines hold no escape but the
colours (SGR) that rich writes. Lines fit the width that was current when they were made.
Must not print, and must not know events.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from glmcode.repl.clean import plain_output, visible
from glmcode.repl.fence import fence
from glmcode.repl.links import Linked, Links
from glmcode.repl.prose import items, prose
from glmcode.repl.theme import Depth, Theme, theme_of

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

Spans = Sequence[tuple[str, str]]
"""(style, text) pairs; the text may be untrusted, the style is a name of theme.py's table."""

SAID_BY = {
    "rule.line": "dim",
    "markdown.code": "markdown.code",
    "markdown.code_block": "plain",
    "markdown.block_quote": "markdown.quote",
    "markdown.item.number": "markdown.mark",
    "markdown.item.bullet": "markdown.mark",
    "markdown.list": "markdown.mark",
    "markdown.hr": "dim",
    "markdown.h6": "bold",
    "markdown.h7": "bold",
    "markdown.link": "plain",
    "markdown.table.border": "dim",
    "markdown.table.header": "bold",
}
"""rich's names, and ours that they are painted with."""
SHAPES = {
    "markdown.h1": "bold underline",
    "markdown.h2": "bold",
    "markdown.h3": "bold",
    "markdown.h4": "bold",
    "markdown.h5": "bold",
    "markdown.link_url": "underline",
}
MIN_WIDTH = 10
SYSTEMS: Mapping[Depth, Literal["standard", "256", "truecolor"]] = {
    "none": "standard",
    "16": "standard",
    "256": "256",
    "truecolor": "truecolor",
}
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_TRAILING = re.compile(r" +((?:\x1b\[[0-9;]*m)*)$")


class Painter:
    """Paints for one terminal. `width` is in columns and may be changed at any time.

    unfolds: which key shows what was left out, in words; "" where none does. links: where paths
    lead; None: nowhere.
    """

    def __init__(
        self,
        width: int,
        *,
        colour: bool = True,
        unicode: bool = True,
        theme: Theme | None = None,
    ) -> None:
        """theme: whose colours; as the setting is where nobody sets it, if not given."""
        self.width = width
        self.colour = colour
        self.unicode = unicode
        self.unfolds = ""
        self.links: Links | None = None
        self.marks = ("●", "└", "…", "✗") if unicode else ("*", "'-", "...", "x")
        self._console: Console | None = None
        self._theme = theme or theme_of("auto", os.environ)
        self._codes: dict[str, str] = {}
        self._around: dict[tuple[str, ...], tuple[str, str]] = {}
        self._kinds: dict[Any, tuple[str, str]] = {}

    @property
    def theme(self) -> Theme:
        """Whose colours; what is painted from then on follows a new one."""
        return self._theme

    @theme.setter
    def theme(self, theme: Theme) -> None:
        self._theme, self._console = theme, None
        self._codes, self._around, self._kinds = {}, {}, {}

    def spans(self, spans: Spans, *, indent: int = 0, hang: int | None = None) -> list[str]:
        """Styled text, wrapped; later lines are indented by `hang` (default: as the first)."""
        from rich.style import Style
        from rich.text import Text

        text, styles = Text(no_wrap=False, overflow="fold"), self._theme.styles
        for style, part in spans:
            shown = visible(part).expandtabs(4)
            if self.links is not None and isinstance(part, Linked) and part.address:
                text.append(shown, Style.parse(styles[style]) + Style(link=part.address))
            else:
                text.append(shown, styles[style])
        hang = indent if hang is None else hang
        width = max(MIN_WIDTH, self.width)
        lines = self._lines(text, max(MIN_WIDTH // 2, width - max(indent, hang)))
        return [" " * (hang if number else indent) + line for number, line in enumerate(lines)]

    def file(self, text: str, path: str) -> str:
        """A text that leads to a file, where links are wanted."""
        return self.links.file(text, path) if self.links is not None else text

    def output(self, text: str, *, indent: int = 2, style: str = "dim") -> list[str]:
        """What a command printed, without its own escapes, one wrapped line after the other."""
        return self.spans([(style, plain_output(text).rstrip("\n"))], indent=indent)

    def markdown(self, block: str) -> list[str]:
        """One or several blocks of markdown, without blank lines around."""
        width, text = max(MIN_WIDTH, self.width), visible(block)
        console = self._console or self._make_console()
        plain = None
        if not console.no_color:
            plain = prose(text, width, codes=self._codes)
            plain = items(text, width, codes=self._codes) if plain is None else plain
            plain = fence(text, width, self._around_code) if plain is None else plain
        return self.laid_out(text, width) if plain is None else plain

    def laid_out(self, block: str, width: int) -> list[str]:
        """The same by rich, whatever the block holds; it must be clean already."""
        from glmcode.repl.markdown import as_renderable

        lines = self._lines(as_renderable(block, width, self._theme), width)
        while lines and _is_blank(lines[-1]):
            lines.pop()
        while lines and _is_blank(lines[0]):
            lines.pop(0)
        return lines

    def _around_code(self, kind: Any) -> tuple[str, str]:
        from glmcode.repl.highlight import style_of

        known = self._kinds.get(kind)
        if known is None:
            name = style_of(kind)
            known = self._kinds[kind] = self.codes(name) if name else ("", "")
        return known

    def diff(
        self, body: str, name: str = "", *, limit: int | None = None, indent: int = 2
    ) -> list[str]:
        """A unified diff of the file `name`, with line numbers and colours; more than `limit`
        lines are cut."""
        from glmcode.repl.diff_paint import diff_lines

        return diff_lines(self, body, name, limit=limit, indent=indent)

    @property
    def coloured(self) -> bool:
        """Whether anything is written in colour."""
        return self.colour and self._theme.depth != "none"

    def codes(self, *names: str) -> tuple[str, str]:
        """What is written before and after text in these styles, one laid over the other."""
        if not self.colour:
            return "", ""
        known = self._around.get(names)
        if known is None:
            from rich.style import Style
            from rich.text import Text

            style = Style.combine([Style.parse(self._theme.styles[name]) for name in names])
            before, _, after = self._lines(Text("x", style), MIN_WIDTH)[0].partition("x")
            known = self._around[names] = before, after
        return known

    def coded(self, name: str, text: str) -> str:
        """Text in a style. It must be clean already."""
        before, after = self.codes(name)
        return f"{before}{text}{after}" if text else ""

    def _lines(self, renderable: RenderableType, width: int) -> list[str]:
        console = self._console or self._make_console()
        console.width = width
        with console.capture() as captured:
            console.print(renderable)
        return [_TRAILING.sub(r"\1", line) for line in captured.get().rstrip("\n").split("\n")]

    def _make_console(self) -> Console:
        from rich.console import Console
        from rich.style import Style
        from rich.theme import Theme as RichTheme

        styles, depth = self._theme.styles, self._theme.depth
        named = {name: styles[ours] for name, ours in SAID_BY.items()}
        self._console = Console(
            theme=RichTheme({**named, **SHAPES}),
            file=io.StringIO(),
            force_terminal=self.colour,
            color_system=SYSTEMS[depth] if self.colour else None,
            no_color=depth == "none",
            width=self.width,
            height=100,
            emoji=False,
            markup=False,
            highlight=False,
            legacy_windows=False,
        )
        if self.colour:
            for kind, style in (("c", named["markdown.code"]), ("b", "bold")):
                painted = Style.parse(style).render("x", color_system=self._console._color_system)
                self._codes[kind] = painted.partition("x")[0]
            for kind, of in (("u", "markdown.item.bullet"), ("n", "markdown.item.number")):
                mark = self._console.get_style(of, default="none")
                painted = mark.render("x", color_system=self._console._color_system)
                self._codes[kind] = painted.partition("x")[0]
        return self._console


def _is_blank(line: str) -> bool:
    return not _COLOUR.sub("", line).strip()
