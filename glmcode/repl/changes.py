"""/diff: what this session changed, file by file, from its checkpoints.

From how each file was before the session's first change to how it stands now; what somebody else
changed since is in it and said. Must not change anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from glmcode.agent import Agent
from glmcode.repl.diff import counts, read_diff
from glmcode.repl.paint import Painter, Spans
from glmcode.repl.slash import argument
from glmcode.repl.undoing import SWITCHED_OFF

LINES = 200
"""Lines of one file that are shown, unless it was named."""


class Host(Protocol):
    """The conversation, as far as this needs it."""

    painter: Painter

    def say(self, spans: Spans) -> None:
        """Print a line of ours."""

    def commit(self, lines: Sequence[str]) -> None:
        """Print finished lines."""


async def show_changes(host: Host, agent: Agent, text: str) -> bool:
    """Do what `/diff [FILE]` asks; whether there was something to show."""
    from glmcode.checkpoints.recorder import CheckpointError
    from glmcode.checkpoints.store import StoreError
    from glmcode.checkpoints.undo import Undo, UndoError
    from glmcode.undo_text import changes

    if not agent.past.wanted:
        host.say([("warning", SWITCHED_OFF)])
        return False
    await agent.past.settled()
    try:
        undo = Undo(agent.past.checkpoints)
        plan = await asyncio.to_thread(undo.plan_since, 0.0)
        told = await asyncio.to_thread(changes, undo, plan) if plan is not None else []
    except (UndoError, StoreError, CheckpointError) as error:
        host.say([("warning", str(error))])
        return False
    wanted = argument(text)
    shown = [one for one in told if wanted in one[0]]
    if not shown:
        what = f"no changed file is called {wanted}" if told else "this session changed no file"
        host.say([("dim", what)])
        return False
    for path, what, body in shown:
        added, removed = counts(read_diff(body))
        many = f" +{added} -{removed}" if added or removed else ""
        host.say([("bold", host.painter.file(path, path)), ("dim", f"  {what}{many}")])
        host.commit(host.painter.diff(body, path, limit=None if wanted else LINES) if body else [])
    if len(shown) > 1:
        host.say([("dim", f"{len(shown)} files; /undo takes turns back, /diff FILE shows one")])
    return True
