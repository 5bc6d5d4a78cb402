"""`/undo` and `/redo`: show what would happen, ask, do it, and say what happened.

The question is the one that actions are asked with, without "always". Files that are put back are
no longer known to the model, which learns of the undo with the next message. Must not decide what
may be overwritten: that takes the word `force`.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from glmcode.agent import Agent, Approval
from glmcode.core.events import ApprovalAsked
from glmcode.core.tool import Preview
from glmcode.repl.paint import Spans
from glmcode.repl.slash import argument

SWITCHED_OFF = "nothing is recorded: tools.checkpoints is false"
USAGE = "/undo [N] [force]: N turns (1); force: also what was changed since"


class Host(Protocol):
    """The conversation, as far as this needs it."""

    def say(self, spans: Spans) -> None:
        """Print a line of ours."""

    async def confirm(self, asked: ApprovalAsked) -> Approval | None:
        """Show an action and ask a yes or no about it."""


async def take_back(host: Host, agent: Agent, text: str) -> bool:
    """Undo or redo as the command line `text` says; whether something was changed."""
    from glmcode.checkpoints.recorder import CheckpointError
    from glmcode.checkpoints.store import StoreError
    from glmcode.checkpoints.undo import UndoError

    redo = text.split()[0].lower() == "/redo"
    words = argument(text).lower().split()
    force = "force" in words
    counts = [word for word in words if word != "force"]
    if len(counts) > 1 or not all(c.isascii() and c.isdigit() and int(c) > 0 for c in counts):
        host.say([("warning", USAGE)])
        return False
    if not agent.past.wanted:
        host.say([("warning", SWITCHED_OFF)])
        return False
    await agent.past.settled()
    try:
        return await _take_back(host, agent, int(counts[0]) if counts else 1, redo, force)
    except (UndoError, StoreError, CheckpointError) as error:
        host.say([("warning", str(error))])
        return False


async def _take_back(host: Host, agent: Agent, count: int, redo: bool, force: bool) -> bool:
    from glmcode.checkpoints.undo import Undo, refusal
    from glmcode.undo_text import described, outcome, title

    undo = Undo(agent.past.checkpoints)
    if await asyncio.to_thread(undo.finish) is not None:
        host.say([("warning", "an undo that had been interrupted was finished first")])
    plan = await asyncio.to_thread(undo.plan_redo if redo else lambda: undo.plan(count))
    body = await asyncio.to_thread(described, undo, plan)
    name = "Redo" if redo else "Undo"
    asked = ApprovalAsked(
        call_id=f"{name}-{plan.units[0].id}",
        name=name,
        subject=title(plan),
        preview=Preview(kind="diff", title=title(plan), body=body),
    )
    if plan.against and not force:
        host.say([("warning", refusal(plan))])
        host.say([("dim", "nothing was changed; /undo force does it all the same")])
        return False
    approval = await host.confirm(asked)
    if approval is None or not approval.allowed:
        host.say([("dim", "nothing was changed")])
        return False
    applied = await asyncio.to_thread(lambda: undo.apply(plan, force=force))
    agent.past.forget(applied.done)
    style = "warning" if applied.failed else "good"
    host.say([(style, outcome(plan, applied))])
    return True
