"""What a session begins with: three lines at most, each of one row even on a narrow terminal.

The first two stand as soon as the folder is known, the third when the engine was reached. What
has no room is left out from the right: /status tells all of it. Must not ask the engine.
"""

from __future__ import annotations

from pathlib import Path

from glmcode import __version__
from glmcode.agent_options import AgentOptions
from glmcode.base.trust import asks_for_trust
from glmcode.repl.branch import branch_of
from glmcode.repl.clean import one_line
from glmcode.repl.columns import columns, cut, cut_path
from glmcode.repl.paint import Spans

APART = " · "
LEAST = 12
"""Columns below which the beginning of a text tells nothing."""


def greeting(options: AgentOptions, width: int) -> tuple[Spans, Spans]:
    """Who this is; and where: the folder, its branch, whether its own settings count."""
    title = cut(f"glmcode {__version__}", width)
    help_there = "  /help" if columns(title) + 7 <= width else ""
    trust = ("dim", "trusted") if options.trusted else ("warning", "not trusted")
    if not options.trusted and not asks_for_trust(options.workspace):
        trust = ("", "")
    branch = one_line(branch_of(options.workspace), 40)
    more = [part for part in (("dim", branch), trust) if part[1]]
    folder = one_line(near(options.workspace), 4_096)
    room = width - sum(columns(APART + text) for _, text in more)
    while more and room < min(columns(folder), LEAST):
        room += columns(APART + more.pop(0)[1])
    spans = [("", cut_path(folder, room))]
    for style, text in more:
        spans += [("dim", APART), (style, text)]
    return [("bold", title), ("dim", help_there)], spans


def reached(model: str, window: int, protocol: str, width: int) -> Spans:
    """What answers: the model, its window in tokens (0: not known), the protocol and why."""
    tokens = f"{APART}{window:,} tokens" if window else ""
    if width - columns(tokens) < LEAST:
        tokens = ""
    shown = cut(one_line(model), width - columns(tokens)) + tokens
    room = width - columns(shown) - columns(APART)
    if room >= LEAST:
        shown += APART + cut(one_line(protocol), room)
    return [("dim", shown)]


def near(folder: Path) -> str:
    """The folder, with the person's own as ~."""
    try:
        home = Path.home()
    except RuntimeError:
        return str(folder)
    if folder == home or not folder.is_relative_to(home):
        return "~" if folder == home else str(folder)
    return f"~/{folder.relative_to(home)}"
