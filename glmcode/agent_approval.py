"""The one choke point between a proposed action and its commit: rules, then perhaps a person.

Every call of a message passes `authorize`, in the loop's order. What is allowed is in the journal
before it happens; what is not allowed is answered with the reason. Must not prepare or commit
what it judges, and must not know how a person is asked.
"""

from __future__ import annotations

from typing import Any

from glmcode.agent_options import AgentOptions, Answer
from glmcode.agent_rules import first_policy, granted, judged, question
from glmcode.agent_setup import runs_unasked
from glmcode.core.calls import Verdict
from glmcode.core.events import ApprovalAnswered
from glmcode.core.messages import ToolCall
from glmcode.core.model import Emit
from glmcode.core.tool import Action, Effect, ToolSpec
from glmcode.sessions import Journal
from glmcode.tools.context import ToolContext

NOBODY = (
    "permission was not given, because {why} and nobody can answer here. Go on without it, "
    "or say what should be allowed"
)


class Approvals:
    """One conversation's rules, and what was asked under them.

    policy: what holds now. denials: what was not allowed, for the person. unanswered: how many
    of them nobody could answer. journal: where intents and grants go; set before the first call.
    """

    journal: Journal

    def __init__(
        self, options: AgentOptions, context: ToolContext, emit: Emit, answer: Answer
    ) -> None:
        self.policy = first_policy(options, context)
        self.denials: list[dict[str, Any]] = []
        self.unanswered = 0
        self._options = options
        self._context = context
        self._emit = emit
        self._answer = answer

    async def authorize(self, call: ToolCall, spec: ToolSpec, action: Action) -> Verdict:
        """Whether an action may be committed (calls.Loop). Raises TurnStop."""
        judgement = judged(self.policy, call.name, action)
        if judgement.decision == "allow":
            self._intend(call, action)
            return Verdict(allowed=True)
        if judgement.decision == "deny":
            return self._denied(call, judgement.why, asked=False)
        unasked = judgement.rule is None and not judgement.firm
        if unasked and runs_unasked(self._options, self._context, action):
            self._intend(call, action)
            return Verdict(allowed=True)
        if self.policy.mode == "dontAsk":
            return self._denied(call, judgement.why)
        asked = question(self.policy, call, action)
        self._emit(asked)
        approval = await self._answer(asked)
        if approval is None:
            return self._denied(call, NOBODY.format(why=judgement.why))
        if not approval.allowed:
            advice = f": {approval.advice}" if approval.advice else ""
            self._tell(call, False, "a person")
            return Verdict(allowed=False, why=f"the user said no{advice}")
        if approval.always:
            self.policy = granted(self.policy, self.journal, approval.always)
        self._tell(call, True, "a person")
        self._intend(call, action)
        return Verdict(allowed=True)

    def _intend(self, call: ToolCall, action: Action) -> None:
        """Journal what is about to happen; a full disk stops the turn here, before the edit."""
        if action.effect is not Effect.READ:
            self.journal.intent(call.id, call.name, action.subject, action.changes)

    def _denied(self, call: ToolCall, why: str, *, asked: bool = True) -> Verdict:
        self.denials.append(
            {
                "tool_name": call.name,
                "tool_use_id": call.id,
                "tool_input": dict(call.arguments),
                "reason": why,
            }
        )
        self.unanswered += asked
        self._tell(call, False, why)
        return Verdict(allowed=False, why=why)

    def _tell(self, call: ToolCall, allowed: bool, why: str) -> None:
        self._emit(ApprovalAnswered(call_id=call.id, name=call.name, allowed=allowed, why=why))
