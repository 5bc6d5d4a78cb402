"""The colours of code: pygments' kinds of tokens, painted with the names of theme.py.

pygments' own styles each assume one background and many are too faint on it; here code follows
the theme as everything does. Imported only where code is painted. Must not choose a colour.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

from rich.style import Style
from rich.syntax import ANSISyntaxTheme

from glmcode.repl.theme import Theme

KINDS: Mapping[tuple[str, ...], str] = {
    ("Comment",): "code.comment",
    ("Comment", "Preproc"): "code.builtin",
    ("Keyword",): "code.keyword",
    ("Keyword", "Type"): "code.class",
    ("Keyword", "Constant"): "code.number",
    ("Operator", "Word"): "code.keyword",
    ("Name", "Builtin"): "code.builtin",
    ("Name", "Builtin", "Pseudo"): "code.tag",
    ("Name", "Function"): "code.function",
    ("Name", "Class"): "code.class",
    ("Name", "Exception"): "code.class",
    ("Name", "Decorator"): "code.function",
    ("Name", "Attribute"): "code.function",
    ("Name", "Tag"): "code.tag",
    ("Name", "Constant"): "code.number",
    ("Literal", "String"): "code.string",
    ("Literal", "Number"): "code.number",
    ("Generic", "Deleted"): "diff.remove",
    ("Generic", "Inserted"): "diff.add",
    ("Generic", "Heading"): "bold",
    ("Generic", "Subheading"): "hunk",
    ("Error",): "code.error",
}
"""A kind that is not named here is painted as the nearest one above it."""


@lru_cache(maxsize=8)
def _made(styles: tuple[str, ...]) -> ANSISyntaxTheme:
    return ANSISyntaxTheme(
        {kind: Style.parse(one) for kind, one in zip(KINDS, styles, strict=True)}
    )


def syntax_theme(theme: Theme) -> ANSISyntaxTheme:
    """The theme for rich.syntax.Syntax; without a background of its own."""
    return _made(tuple(theme.styles[name] for name in KINDS.values()))


def style_of(kind: Sequence[str]) -> str:
    """The name in the table of themes for a kind of pygments' tokens; "" for plain text."""
    for length in range(len(kind), 0, -1):
        if (name := KINDS.get(tuple(kind[:length]))) is not None:
            return name
    return ""
