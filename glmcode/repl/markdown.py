"""Markdown as this terminal shows it: rich's, without boxes, backgrounds and hidden links.

A link shows its address (a hyperlink escape would hide where it leads), headings stand at the
left, code has the theme's colours and no background. Nothing is
swallowed: tags such as <T> are text, narrow tables fold, and what rich cannot lay out (a
nesting deeper than the screen is wide) is shown as it was written. Characters that a numeric
entity stands for are cleaned too.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any, ClassVar

from markdown_it import MarkdownIt
from markdown_it.token import Token
from rich.console import Console, ConsoleOptions, RenderResult
from rich.markdown import CodeBlock, Heading, Markdown, MarkdownElement, TableElement
from rich.padding import Padding
from rich.syntax import Syntax, SyntaxTheme
from rich.table import Table
from rich.text import Text

from glmcode.repl.clean import visible
from glmcode.repl.highlight import syntax_theme
from glmcode.repl.theme import Theme

ROOM = 10
"""Columns that must be left for words inside the deepest nesting."""
COSTS = {"blockquote_open": 4, "list_item_open": 4}


class _Code(CodeBlock):
    colours: SyntaxTheme

    @classmethod
    def create(cls, markdown: Markdown, token: Token) -> _Code:
        made = cls((token.info or "").partition(" ")[0] or "text", "")
        assert isinstance(markdown, _Markdown)
        made.colours = markdown.colours
        return made

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        code = str(self.text).rstrip("\n")
        syntax = Syntax(code, self.lexer_name, theme=self.colours, word_wrap=True)
        yield Padding(syntax, (0, 0, 0, 2)) if options.max_width >= 40 else syntax


class _Heading(Heading):
    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        text = self.text.copy()
        text.justify = "left"
        text.stylize("bold")
        yield text


class _Table(TableElement):
    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for table in super().__rich_console__(console, options):
            if isinstance(table, Table):
                for column in table.columns:
                    column.overflow = "fold"
            yield table


class _Markdown(Markdown):
    elements: ClassVar[dict[str, type[MarkdownElement]]] = {
        **Markdown.elements,
        "fence": _Code,
        "code_block": _Code,
        "heading_open": _Heading,
        "table_open": _Table,
    }

    def __init__(self, block: str, colours: SyntaxTheme) -> None:
        vars(self).update(_blank())  # rich's own would make a parser each time
        self.colours = colours
        self.markup = block
        self.parsed = _parser().parse(block)
        _clean(self.parsed)


def as_renderable(block: str, width: int, theme: Theme) -> Markdown | Text:
    """The block as markdown, or as plain text where it does not fit `width` columns."""
    markdown = _Markdown(block, syntax_theme(theme))
    return markdown if _fits(markdown.parsed, width) else Text(block, overflow="fold")


@lru_cache(maxsize=1)
def _blank() -> dict[str, Any]:
    """What rich's Markdown holds beside its text."""
    return vars(Markdown("", hyperlinks=False))


@lru_cache(maxsize=1)
def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False}).enable(["strikethrough", "table"])
    return parser.disable("image")  # shown as a link: there are no pictures here


def _fits(tokens: Iterable[Token], width: int) -> bool:
    """Whether words still have room inside every list, quote and table."""
    used, cells = 0, 0
    for token in tokens:
        opened = COSTS.get(token.type, 0)
        used += opened - COSTS.get(token.type.replace("_close", "_open"), 0) * (not opened)
        cells = 0 if token.type == "tr_open" else cells + 4 * (token.type == "th_open")
        if used + max(opened and ROOM, cells) > width:
            return False
    return True


def _clean(tokens: Iterable[Token]) -> None:
    """An entity such as &#x202E; was harmless as text and is a character now."""
    for token in tokens:
        token.content = visible(token.content)
        for name, value in token.attrs.items():
            if isinstance(value, str):
                token.attrs[name] = visible(value)
        _clean(token.children or ())
