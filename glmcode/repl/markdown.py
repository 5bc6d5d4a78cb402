"""Markdown as this terminal shows it: rich's, without boxes, backgrounds and hidden links.

A link shows its address (a hyperlink escape would hide where it leads), headings stand at the
left, code keeps the terminal's own colours so that both light and dark ones work. What rich
cannot lay out (a nesting deeper than the screen is wide) is shown as it was written.
"""

from __future__ import annotations

from typing import ClassVar

from rich.console import Console, ConsoleOptions, RenderResult
from rich.markdown import CodeBlock, Heading, Markdown, MarkdownElement
from rich.padding import Padding
from rich.syntax import Syntax
from rich.text import Text

MAX_DEPTH = 8


class _Code(CodeBlock):
    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        code = str(self.text).rstrip("\n")
        syntax = Syntax(code, self.lexer_name, theme="ansi_dark", word_wrap=True)
        syntax.background_style = syntax.background_style.from_color()
        yield Padding(syntax, (0, 0, 0, 2)) if options.max_width >= 40 else syntax


class _Heading(Heading):
    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        text = self.text.copy()
        text.justify = "left"
        text.stylize("bold")
        yield text


class _Markdown(Markdown):
    elements: ClassVar[dict[str, type[MarkdownElement]]] = {
        **Markdown.elements,
        "fence": _Code,
        "code_block": _Code,
        "heading_open": _Heading,
    }


def as_renderable(block: str) -> Markdown | Text:
    """The block as markdown, or as plain text where its nesting is too deep to lay out."""
    markdown = _Markdown(block, hyperlinks=False)
    depth = max((token.level for token in markdown.parsed), default=0)
    return markdown if depth <= 2 * MAX_DEPTH else Text(block)
