"""Whether commands that stay inside a complete sandbox run unasked: offered once, then remembered.

Stands before the choke point, and only while nobody has decided: the first command that would be
asked about for no other reason than its mode brings the offer. The answer is a person's, for all
folders; a setting goes before it. Must not judge, and must not offer where nobody can answer.
"""

from __future__ import annotations

import asyncio

from glmcode.agent_approval import Approvals
from glmcode.agent_options import Answer, nobody
from glmcode.agent_outside import whole
from glmcode.agent_rules import judged
from glmcode.base.answers import AUTO_ALLOW, CHOICES, keep
from glmcode.core.calls import Verdict
from glmcode.core.events import ApprovalAnswered, ApprovalAsked, Notice
from glmcode.core.messages import ToolCall
from glmcode.core.model import Emit
from glmcode.core.tool import Action, Preview, ToolSpec
from glmcode.sandbox import Sandbox
from glmcode.tools.context import ToolContext

QUESTION = "Let what stays inside the sandbox run unasked?"
MEANS = (
    "An offer that is made once, before this command is asked about. Commands run inside a sandbox "
    "here: they write only {where}, and reach {network} network.",
    "A yes lets them run unasked from now on, this one too. What rules deny or ask about stays so, "
    "and to leave the sandbox is always asked. /permissions changes it.",
)


def decide(context: ToolContext, wanted: bool) -> str:
    """Let confined commands run unasked, or not, in this session and later ones; "" or a line
    about why later ones won't know."""
    _sandbox(context).unasked = wanted
    try:
        keep(CHOICES, AUTO_ALLOW, wanted)
    except OSError as error:
        return f"this holds for this session only: the answer cannot be kept ({error})"
    return ""


def carry(old: ToolContext, new: ToolContext) -> None:
    """What a session decided holds for the one that follows it."""
    _sandbox(new).unasked = _sandbox(old).unasked


class Offer:
    """The authorize of a loop, with the offer before it."""

    def __init__(
        self, context: ToolContext, approvals: Approvals, emit: Emit, answer: Answer
    ) -> None:
        self._context = context
        self._approvals = approvals
        self._emit = emit
        self._answer = answer
        self._announced = False

    async def authorize(self, call: ToolCall, spec: ToolSpec, action: Action) -> Verdict:
        """As Approvals.authorize. Raises TurnStop."""
        if call.name == "Bash" and not self._announced:
            self._announced = True  # before a person allows what nothing would confine
            await asyncio.to_thread(_sandbox(self._context).announce)
        if self._is_due(call, action):
            await self._make(call)
        return await self._approvals.authorize(call, spec, action)

    def _is_due(self, call: ToolCall, action: Action) -> bool:
        """Whether nobody has decided yet, and the answer would decide about this command."""
        sandbox, policy = _sandbox(self._context), self._approvals.policy
        if call.name != "Bash" or sandbox.unasked is not None or self._answer is nobody:
            return False
        if policy.mode not in ("default", "acceptEdits") or not sandbox.complete:
            return False
        judgement = judged(policy, call.name, action)
        return judgement.decision == "ask" and judgement.rule is None and not judgement.firm

    async def _make(self, call: ToolCall) -> None:
        sandbox = _sandbox(self._context)
        command = str(call.arguments.get("command", ""))
        asked = ApprovalAsked(
            call_id=f"{AUTO_ALLOW}-{call.id}",
            name="Sandbox",
            subject=command,
            preview=Preview(kind="text", title=AUTO_ALLOW, body=whole(command) + _body(sandbox)),
            question=QUESTION,
        )
        self._emit(asked)
        approval = await self._answer(asked)
        if approval is None:
            return
        told = decide(self._context, approval.allowed)
        why = "a person, for all commands that stay inside the sandbox"
        allowed = approval.allowed
        answered = ApprovalAnswered(
            call_id=asked.call_id, name=asked.name, allowed=allowed, why=why
        )
        self._emit(answered)
        if told:
            self._emit(Notice(text=told))


def _body(sandbox: Sandbox) -> str:
    where = "in the workspace and in" if sandbox.mode == "workspace-write" else "in"
    network = "the" if sandbox.network else "no"
    return "\n".join(MEANS).format(where=f"{where} a temporary folder", network=network)


def _sandbox(context: ToolContext) -> Sandbox:
    assert isinstance(context.sandbox, Sandbox), "tool_context made it"
    return context.sandbox
