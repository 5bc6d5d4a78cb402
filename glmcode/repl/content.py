"""Windows of the live part that are as high as what they hold. Must not know what that is."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from typing import TYPE_CHECKING

from prompt_toolkit.filters import Condition
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.layout import (
    AnyContainer,
    ConditionalContainer,
    Dimension,
    FormattedTextControl,
    Window,
)

if TYPE_CHECKING:
    from glmcode.repl.paint import Spans


def lines(content: Callable[[], StyleAndTextTuples], *, wrap: bool = False) -> AnyContainer:
    """A window that is as high as its content, and absent without any."""
    control = FormattedTextControl(content)
    window = Window(control, wrap_lines=wrap, dont_extend_height=True, height=Dimension(min=0))
    filled = Condition(lambda: any(fragment[1] for fragment in content()))
    return ConditionalContainer(window, filled)


def merged(fragments: StyleAndTextTuples) -> StyleAndTextTuples:
    """The same with neighbours of one style as one: each of them costs at every drawing."""
    made: StyleAndTextTuples = []
    for style, group in groupby(fragments, key=lambda one: one[0]):
        made.append((style, "".join(one[1] for one in group)))
    return made


def fragments(spans: Spans) -> StyleAndTextTuples:
    """Spans of ours as prompt_toolkit has them."""
    return [(f"class:{style}" if style else "", text) for style, text in spans]
