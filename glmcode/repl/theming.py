"""/theme: what each theme looks like here, and another one from now on.

What was printed stays as it is; what moves, and all that follows, has the new colours at once.
Must not write a setting: the line that tells how is enough.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Protocol

from glmcode.base.settings import THEMES
from glmcode.repl.clean import one_line
from glmcode.repl.paint import Painter, Spans
from glmcode.repl.screen import Live
from glmcode.repl.slash import argument
from glmcode.repl.theme import Theme, theme_of

SAMPLE = (
    (("person", "you"), ("tool", "Edit"), ("dim", "quiet"), ("good", "good"), ("error", "wrong"),
     ("warning", "mind"), ("diff.add", "+ new"), ("diff.remove", "- old")),
    (("code.keyword", "def"), ("code.function", "add"), ("code.builtin", "int"),
     ("code.string", "'text'"), ("code.number", "42"), ("code.comment", "# why"),
     ("diff.add.word", "+"), ("diff.remove.word", "-")),
)  # fmt: skip
FOR_GOOD = "for good: /config ui.theme"


class Host(Protocol):
    """The conversation, as far as this needs it."""

    painter: Painter
    live: Live

    def say(self, spans: Spans) -> None:
        """Print a line of ours."""

    def commit(self, lines: Sequence[str]) -> None:
        """Print finished lines."""


def change_theme(host: Host, text: str) -> None:
    """Do what `/theme` or `/theme NAME` asks."""
    wanted, now = argument(text).lower(), host.live.theme
    if not wanted:
        for name in THEMES:
            host.commit(_sample(host.painter, theme_of(name, os.environ), now))
        host.say([("dim", f"/theme NAME changes it; {FOR_GOOD} NAME{_limit(now)}")])
    elif wanted not in THEMES:
        there = ", ".join(THEMES)
        host.say([("warning", f"no theme is called {one_line(wanted, 40)}: there are {there}")])
    else:
        host.live.theme = host.painter.theme = theme_of(wanted, os.environ)
        told = f"; {FOR_GOOD} {wanted}{_limit(host.live.theme)}"
        host.say([("good", f"theme {wanted}"), ("dim", told)])


def _sample(painter: Painter, theme: Theme, now: Theme) -> list[str]:
    """A theme's name and some words in its colours."""
    other = Painter(painter.width, colour=painter.colour, unicode=painter.unicode, theme=theme)
    lines = other.spans([("bold", theme.name), ("dim", " (now)" if theme.name == now.name else "")])
    for words in SAMPLE:
        spans = [part for word in words for part in (word, ("", " "))]
        lines += other.spans(spans[:-1], indent=2)
    return lines


def _limit(theme: Theme) -> str:
    """Why themes look alike here, where they do."""
    match theme.depth:
        case "none":
            return "; without colours here (NO_COLOR, or this TERM has none)"
        case "16":
            return "; this terminal says that it has 16 colours, so all are its own"
        case _:
            return ""
