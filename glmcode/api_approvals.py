"""Questions that a caller's function answers: `approve=` of the Python API.

One question at a time, while the turn waits. A function that fails is no answer: its turn ends with
what it raised, because a fault that looked like a no would never be found. Must not decide.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from glmcode.agent_edited import EditFault
from glmcode.agent_options import Answer as Asking
from glmcode.agent_options import Approval
from glmcode.api_values import Allow, Answer, ApprovalRequest, Approve, Deny
from glmcode.asking_callers import input_of, remembered
from glmcode.base.unwaited import in_own_thread
from glmcode.core.calls import TurnStop
from glmcode.core.events import ApprovalAsked

if TYPE_CHECKING:
    from glmcode.agent import Agent

LINGER_S = 1.0
"""How long a coroutine may take to end after its turn was stopped."""


def answering(
    approve: Approve, agent: Callable[[], Agent | None], stop: Callable[[], object]
) -> Asking:
    """agent_options.Answer of a caller's function. stop: ends the running turn."""

    async def ask(asked: ApprovalAsked) -> Approval | None:
        conversation = agent()
        assert conversation is not None, "who asks is open"
        arguments = input_of(conversation.transcript.messages, asked.call_id)
        request = ApprovalRequest(
            tool_name=asked.name,
            input=dict(arguments),
            tool_use_id=asked.call_id,
            subject=asked.subject,
            kind=asked.preview.kind,
            title=asked.preview.title,
            preview=asked.preview.body,
            rules=asked.rules,
            why=asked.why,
            question=asked.question,
        )
        answer = await _called(approve, request)
        if wrong := _wrong(answer):
            raise TurnStop(f"approve returned {wrong}")
        match answer:
            case None:
                return None
            case bool() as allowed:
                return Approval(allowed=allowed)
            case Deny() as no:
                if no.interrupt:
                    stop()
                return Approval(allowed=False, advice=no.reason)
            case Allow() as yes:
                fault = conversation.approvals.fault
                rules, wrong = remembered(asked, yes.remember, tuple(yes.rules), fault)
                if wrong:
                    raise TurnStop(f"approve cannot remember this: {wrong}")
                if yes.edited is not None:
                    await _revise(conversation, yes.edited)
                return Approval(
                    allowed=True,
                    session=rules if yes.remember == "session" else "",
                    always=rules if yes.remember == "always" else "",
                )

    return ask


def _wrong(answer: object) -> str:
    """Why an answer cannot be one, beginning with what it is; "": it can."""
    match answer:
        case None | bool() | Deny(reason=str()):
            return ""
        case Allow(remember="" | "session" | "always", rules=rules, edited=None | str()):
            if not isinstance(rules, str) and all(isinstance(one, str) for one in rules):
                return ""
            return f"rules {rules!r:.200}: a list of rules"
        case Allow() | Deny():
            return f'{answer!r:.200}: texts, and remember is "", "session" or "always"'
    return f"{answer!r:.200}: Allow, Deny, True, False or None"


async def _revise(conversation: Agent, text: str) -> None:
    """Ask about the proposal as it was edited. Raises TurnStop."""
    try:
        await conversation.approvals.revise(text.encode("utf-8", "replace"))
    except EditFault as error:
        raise TurnStop(f"approve edited what was proposed: {error}") from error


async def _called(approve: Approve, request: ApprovalRequest) -> Answer:
    """Raises TurnStop for what it raises."""
    task = asyncio.ensure_future(_answer(approve, request))
    try:
        await asyncio.wait({task})
    except asyncio.CancelledError:
        task.cancel()
        await asyncio.wait({task}, timeout=LINGER_S)
        raise
    if task.cancelled():
        raise TurnStop("approve was cancelled by itself")
    if (error := task.exception()) is not None:
        raise TurnStop(f"approve failed: {type(error).__name__}: {error}") from error
    return task.result()


async def _answer(approve: Approve, request: ApprovalRequest) -> Answer:
    function: Callable[[ApprovalRequest], Answer | Awaitable[Answer]] = approve
    if inspect.iscoroutinefunction(approve):
        found = function(request)
    else:
        found = await in_own_thread("approve", lambda: function(request))
    return await found if isinstance(found, Awaitable) else found
