"""`/undo`, `/redo` and `/rewind`: show what would happen, ask, do it, and say what happened.

The question is the one that actions are asked with, without "always". Files that are put back are
no longer known to the model, which learns of an undo with the next message; a rewind takes the
conversation back as well, and gives the text of the turn back to the input. Must not decide what
may be overwritten: that takes the word `force`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from glmcode.agent import Agent, Approval
from glmcode.core.events import ApprovalAsked
from glmcode.core.tool import Preview
from glmcode.repl.paint import Spans
from glmcode.repl.screen import Screen
from glmcode.repl.slash import argument
from glmcode.sessions import JournalError

if TYPE_CHECKING:
    from glmcode.agent_rewind import Mark
    from glmcode.checkpoints.undo import Plan, Undo

UNDOES = ("/undo", "/redo", "/rewind")
SWITCHED_OFF = "nothing is recorded: tools.checkpoints is false"
USAGE = "{command} [N] [force]: N turns (1); force: also what was changed since"
NO_TURN = (
    "there is no such turn to go back to: those of an earlier run of the session and those before "
    "a compaction stay (/undo takes back what they changed)"
)


class Host(Protocol):
    """The conversation, as far as this needs it."""

    screen: Screen

    def say(self, spans: Spans) -> None:
        """Print a line of ours."""

    async def confirm(self, asked: ApprovalAsked) -> Approval | None:
        """Show an action and ask a yes or no about it."""


async def take_back(host: Host, agent: Agent, text: str) -> bool:
    """Do what the command line `text` asks; whether something was changed."""
    from glmcode.checkpoints.recorder import CheckpointError
    from glmcode.checkpoints.store import StoreError
    from glmcode.checkpoints.undo import UndoError

    command = text.split()[0].lower()
    words = argument(text).lower().split()
    force = "force" in words
    counts = [word for word in words if word != "force"]
    if len(counts) > 1 or not all(c.isascii() and c.isdigit() and int(c) > 0 for c in counts):
        host.say([("warning", USAGE.format(command=command))])
        return False
    count = int(counts[0]) if counts else 1
    if command != "/rewind" and not agent.past.wanted:
        host.say([("warning", SWITCHED_OFF)])
        return False
    await agent.past.settled()
    try:
        if command == "/rewind":
            return await _rewind(host, agent, count, force)
        return await _undo(host, agent, count, command == "/redo", force)
    except (UndoError, StoreError, CheckpointError, JournalError) as error:
        host.say([("warning", str(error))])
        return False


async def _undo(host: Host, agent: Agent, count: int, redo: bool, force: bool) -> bool:
    from glmcode.undo_text import described, title

    undo = await _undo_of(host, agent)
    plan = await asyncio.to_thread(undo.plan_redo if redo else lambda: undo.plan(count))
    if _refused(host, plan, force):
        return False
    body = await asyncio.to_thread(described, undo, plan)
    if not await _confirmed(host, "Redo" if redo else "Undo", title(plan), body):
        return False
    await _apply(host, agent, undo, plan, force)
    return True


async def _rewind(host: Host, agent: Agent, count: int, force: bool) -> bool:
    from glmcode.undo_text import described

    marks = agent.marks.known()
    if count > len(marks):
        host.say([("warning", NO_TURN)])
        return False
    mark = marks[-count]
    plan: Plan | None = None
    body = "no file was changed since" if agent.past.wanted else f"files stay: {SWITCHED_OFF}"
    if agent.past.wanted:
        undo = await _undo_of(host, agent)
        plan = await asyncio.to_thread(undo.plan_since, mark.at)
        if plan is not None:
            if _refused(host, plan, force):
                return False
            body = await asyncio.to_thread(described, undo, plan)
    if not await _confirmed(host, "Rewind", f'to before "{mark.text[:60]}"', body):
        return False
    earlier = await asyncio.to_thread(agent.past.pending)
    if plan is not None:
        await _apply(host, agent, undo, plan, force)
    pending = await asyncio.to_thread(agent.past.pending)
    _cut(host, agent, mark)
    agent.past.tell_not([number for number in pending if number not in earlier])
    return True


def _cut(host: Host, agent: Agent, mark: Mark) -> None:
    """The conversation's part. Raises JournalError."""
    before = len(agent.transcript)
    agent.rewind(mark)
    tokens, _ = agent.context_tokens()
    whose = "the engine has computed" if agent.client.protocol == "tokens" else "was sent"
    host.say(
        [
            (
                "good",
                f"{before - mark.place} messages are gone; the {tokens:,} tokens that are left are "
                f"the beginning of what {whose}, so nothing of it is computed again while it is "
                "cached",
            )
        ]
    )
    host.screen.put_back(mark.text)


async def _undo_of(host: Host, agent: Agent) -> Undo:
    from glmcode.checkpoints.undo import Undo

    undo = Undo(agent.past.checkpoints)
    if await asyncio.to_thread(undo.finish) is not None:
        host.say([("warning", "an undo that had been interrupted was finished first")])
    return undo


def _refused(host: Host, plan: Plan, force: bool) -> bool:
    from glmcode.checkpoints.undo import refusal

    if not plan.against or force:
        return False
    host.say([("warning", refusal(plan))])
    host.say([("dim", "nothing was changed; with the word force it is done all the same")])
    return True


async def _confirmed(host: Host, name: str, subject: str, body: str) -> bool:
    asked = ApprovalAsked(
        call_id=f"{name}-{subject}",
        name=name,
        subject=subject,
        preview=Preview(kind="diff", title=subject, body=body),
        question="Do it?",
    )
    approval = await host.confirm(asked)
    if approval is None or not approval.allowed:
        host.say([("dim", "nothing was changed")])
        return False
    return True


async def _apply(host: Host, agent: Agent, undo: Undo, plan: Plan, force: bool) -> None:
    from glmcode.undo_text import outcome

    applied = await asyncio.to_thread(lambda: undo.apply(plan, force=force))
    agent.past.forget(applied.done)
    host.say([("warning" if applied.failed else "good", outcome(plan, applied))])
