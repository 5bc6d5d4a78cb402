"""/btw, /review and /commit: what is asked of the engine beside the conversation.

The session's messages stay as they are, whatever comes of it; Esc stops all three. A commit is
made only of what was staged when the person said yes. Must not stage or edit anything.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from glmcode.agent import Agent, Approval
from glmcode.agent_aside import ask_aside
from glmcode.core.events import ApprovalAsked, Event, RequestFinished
from glmcode.core.model import Emit, ModelError
from glmcode.core.tool import Preview
from glmcode.githooks.asking import NoAnswer, answered
from glmcode.githooks.committing import commit, staged_tree
from glmcode.githooks.messages import proposed
from glmcode.repl.feed import Feed
from glmcode.repl.paint import Painter, Spans
from glmcode.repl.slash import argument
from glmcode.review.diff import DiffError, parse_diff
from glmcode.review.formats import Told, shown
from glmcode.review.git import GitError, ask_git
from glmcode.review.judging import (
    Judge,
    Review,
    keep_review,
    kept_review,
    model_key,
    review_key,
)
from glmcode.review.source import Asked, Source, get_diff

FAULTS = (ModelError, GitError, DiffError, NoAnswer)
STYLES = {"pass": "good", "warn": "warning", "block": "error"}


class Host(Protocol):
    """The conversation, as far as this needs it."""

    painter: Painter
    feed: Feed

    def say(self, spans: Spans) -> None:
        """Print a line of ours."""

    def commit(self, lines: Sequence[str]) -> None:
        """Print finished lines."""

    def work_on(self) -> None:
        """The status line says that the model works."""

    async def confirm(self, asked: ApprovalAsked) -> Approval | None:
        """Show an action and ask a yes or no about it."""


async def ask(host: Host, agent: Agent, text: str) -> bool:
    """Do what `/btw`, `/review` or `/commit` asks; whether it went well."""
    name = text.split()[0].lower()
    does = {"/review": _review, "/commit": _commit}.get(name, _btw)
    host.work_on()
    try:
        return await does(host, agent, argument(text))
    except TimeoutError:
        host.say([("error", "no answer came in time")])
    except FAULTS as error:
        more = "; /commit MESSAGE takes yours" if name == "/commit" else ""
        host.say([("error", str(error)), ("dim", more)])
    return False


async def _btw(host: Host, agent: Agent, question: str) -> bool:
    if not question:
        host.say([("warning", "/btw QUESTION: what do you want to know?")])
        return False
    answer = await ask_aside(agent, question, _shown(host))
    host.commit(["", *host.painter.markdown(answer.strip() or "(no answer)")])
    host.say([("dim", "beside the conversation: the model does not remember it")])
    return True


async def _review(host: Host, agent: Agent, words: str) -> bool:
    """What is staged, else what is changed; words: a revision or range instead."""
    began = time.monotonic()
    source = await asyncio.to_thread(get_diff, Asked(base=words), agent.options.workspace)
    files = await asyncio.to_thread(parse_diff, source.data)
    if not files:
        host.say([("dim", "nothing to review: " + _nothing(words, source))])
        return True
    review, kept = await _judged(host, agent, source)
    told = Told(review.judged, source.what, review.files, kept, time.monotonic() - began, {})
    left_out = review.judged.verdict == "pass" and review.judged.left_out
    style = "warning" if left_out else STYLES[review.judged.verdict]
    first, _, rest = shown(told, "text").rstrip("\n").partition("\n")
    host.say([(style, first), ("", f"\n{rest}" if rest else "")])
    return True


def _nothing(words: str, source: Source) -> str:
    if words:
        return f"{source.what} has no change"
    return "nothing is staged or changed; a new file counts as soon as it is staged (git add)"


async def _judged(host: Host, agent: Agent, source: Source) -> tuple[Review, bool]:
    """The review, and whether it was known already."""
    client, files = agent.client, parse_diff(source.data)
    key = review_key(files, model_key(agent.options.engine))
    if (kept := kept_review(key)) is not None:
        return Review(kept, len(files), 0, type(agent.usage)()), True
    await agent.bring_back(beside=True)
    try:
        review = await Judge(client, _shown(host)).review(files)
    finally:
        client.turn_over()
    agent.usage = agent.usage.plus(review.usage)
    if review.judged.lasting:
        keep_review(key, review.judged)
    return review, False


async def _commit(host: Host, agent: Agent, words: str) -> bool:
    """Commit what is staged; words: the message, else one is proposed."""
    root = Path(await asyncio.to_thread(ask_git, agent.options.workspace, *_TOP))
    tree = await asyncio.to_thread(staged_tree, root)
    message = words or await _proposed(host, agent, root)
    if not message:
        host.say([("warning", "nothing is staged: git add what belongs into the commit")])
        return False
    subject = message.split("\n", 1)[0]
    approval = await host.confirm(
        ApprovalAsked(
            call_id=f"commit-{tree}",
            name="Commit",
            subject=subject,
            preview=Preview(kind="text", title=subject, body=message),
            question="Commit what is staged with this message?",
        )
    )
    if approval is None or not approval.allowed:
        host.say([("dim", "nothing was committed; /commit MESSAGE takes yours")])
        return False
    host.say([("good", f"committed {await asyncio.to_thread(commit, root, message, tree)}")])
    return True


_TOP = ("rev-parse", "--show-toplevel")


async def _proposed(host: Host, agent: Agent, root: Path) -> str:
    """A message for what is staged; "" where nothing is."""
    await agent.bring_back(beside=True)
    bridge = _Bridge(agent, _shown(host))
    try:
        return (await asyncio.to_thread(proposed, root, bridge)).strip()
    finally:
        bridge.stop()
        agent.client.turn_over()


@dataclass(slots=True)
class _Bridge:
    """messages.Asks for a thread, answered by the session's engine on the event loop."""

    agent: Agent
    emit: Emit
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)
    stop: Callable[[], Any] = lambda: None

    def structured(self, system: str, text: str, schema: Mapping[str, Any]) -> Any:
        """The answer to one question. Called in the thread. Raises NoAnswer."""
        asked = answered(self.agent.client, system, text, schema, self.emit)
        future = asyncio.run_coroutine_threadsafe(asked, self.loop)
        self.stop = future.cancel
        return future.result()


def _shown(host: Host) -> Emit:
    """Waits and retries are shown; the request is none of the conversation's."""

    def emit(event: Event) -> None:
        if not isinstance(event, RequestFinished):
            host.feed.put(event)

    return emit
