"""The one choke point between a proposed action and its commit: rules, then perhaps a person.

Every call of a message passes `authorize`, in the loop's order. What is allowed is in the journal
before it happens; what is not allowed is answered with the reason. What else of the same message
will have to be asked about is prepared ahead, which changes nothing, and put beside the question;
an answer for all holds only for what still looks the same when its turn has come. Must not commit
what it judges, and must not know how a person is asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from glmcode.agent_edited import Draft, EditFault, broken, draft_of, edited, told
from glmcode.agent_options import AgentOptions, Answer, Approval, nobody
from glmcode.agent_rules import first_policy, granted, judged, question
from glmcode.agent_setup import runs_unasked
from glmcode.base.grants import GrantFault, keep_rules
from glmcode.core.calls import Verdict
from glmcode.core.events import ApprovalAnswered, ApprovalAsked, Notice, ToolOutput
from glmcode.core.messages import ToolCall
from glmcode.core.model import Emit
from glmcode.core.tool import Action, Effect, Tool, ToolSpec
from glmcode.permissions import Judgement, Rule
from glmcode.sessions import Journal
from glmcode.tools.context import ToolContext

NOBODY = (
    "permission was not given, because {why} and nobody can answer here. Go on without it, "
    "or say what should be allowed"
)


MOST_TOGETHER = 12
"""Questions that are put together; what is beyond them is asked about later."""
LONGEST = 120
"""Characters of an action that a notice names."""
DIFFERENT = "{what}: it looks different now than when it was allowed, so it is asked again"
OWN = "a rule for a tool of the caller cannot be kept in the settings"
NOT_KEPT = "{error}: the rule holds for this session only"


@dataclass(frozen=True, slots=True)
class _Shown:
    """What a person was shown of an action; it must be the same when it is done."""

    asked: ApprovalAsked
    paths: tuple[str, ...]
    given: tuple[str, ...]


@dataclass(slots=True)
class _Open:
    """What a person is asked about now. proposed: as the model had it; action: as it is shown."""

    call: ToolCall
    proposed: Action
    action: Action


class Approvals:
    """One conversation's rules, and what was asked under them.

    policy: what holds now. denials: what was not allowed, for the person. unanswered: how many
    of them nobody could answer. kept: rules that were allowed always. journal: where intents and
    grants go, and tools: what may be prepared; both are set before the first call.
    """

    journal: Journal
    tools: Mapping[str, Tool]

    def __init__(
        self, options: AgentOptions, context: ToolContext, emit: Emit, answer: Answer
    ) -> None:
        self.policy = first_policy(options, context)
        self.denials: list[dict[str, Any]] = []
        self.unanswered = 0
        self.kept: tuple[Rule, ...] = ()
        self._options = options
        self._context = context
        self._emit = emit
        self._answer = answer
        self._asking = asyncio.Lock()
        self._coming: Sequence[ToolCall] = ()
        self._ahead: dict[str, tuple[_Shown, Approval]] = {}
        self._open: _Open | None = None

    def foresee(self, calls: Sequence[ToolCall]) -> None:
        """The calls of a message whose answering begins (calls.Loop)."""
        self._coming = calls if self._answer is not nobody else ()
        self._ahead.clear()
        self._context.edited.clear()

    def fault(self, text: str) -> str:
        """Why rules that a person wrote do not allow what is asked now; "" when they do."""
        from glmcode.permissions.propose import fault_of

        if self._open is None:
            return "nothing is asked any more"
        return fault_of(self.policy, self._open.call.name, self._open.action, text)

    def draft(self) -> Draft | None:
        """What is asked about now as a file that a person may edit; None: it can't be."""
        return draft_of(self._open.action) if self._open is not None else None

    async def revise(self, data: bytes) -> tuple[ApprovalAsked, str]:
        """What is asked about now, as a person edited it, and a warning or "". The question then
        is about that. Raises EditFault: it stays as it was."""
        opened = self._open
        if opened is None:
            raise EditFault("nothing is asked any more")
        call = opened.call

        def denial(action: Action) -> str:
            judgement = judged(self.policy, call.name, action)
            return judgement.why if judgement.decision == "deny" else ""

        fresh = await edited(
            self._context, self.tools[call.name], call, data, self._output(call), denial
        )
        warning = await broken(self._context, opened.proposed, fresh)
        opened.action = fresh
        asked = question(self.policy, call, fresh)
        self._emit(asked)
        return asked, warning

    def _output(self, call: ToolCall) -> Callable[[str], None]:
        return lambda text: self._emit(ToolOutput(call_id=call.id, text=text))

    async def authorize(self, call: ToolCall, spec: ToolSpec, action: Action) -> Verdict:
        """Whether an action may be committed (calls.Loop). Raises TurnStop."""
        verdict = self._unasked(call, action)
        if verdict is not None:
            return verdict
        async with self._asking:
            verdict = self._unasked(call, action)  # the answer before may have brought a rule
            return verdict if verdict is not None else await self._ask(call, action)

    def _unasked(self, call: ToolCall, action: Action) -> Verdict | None:
        """The verdict where nobody is to be asked."""
        judgement = judged(self.policy, call.name, action)
        if judgement.decision == "deny":
            return self._denied(call, judgement.why, asked=False)
        if not self._must_ask(judgement, action):
            self._intend(call, action)
            return Verdict(allowed=True)
        return self._denied(call, judgement.why) if self.policy.mode == "dontAsk" else None

    def _must_ask(self, judgement: Judgement, action: Action) -> bool:
        if judgement.decision != "ask":
            return False
        unasked = judgement.rule is None and not judgement.firm
        return not (unasked and runs_unasked(self._context, action))

    async def _ask(self, call: ToolCall, action: Action) -> Verdict:
        asked = question(self.policy, call, action)
        shown, given = self._ahead.pop(call.id, (None, None))
        if given is not None:
            if not given.allowed or shown == _Shown(asked, action.paths, action.given):
                return await self._answered(call, action, given)
            what = f"{call.name} {action.subject}"[:LONGEST]
            self._emit(Notice(text=DIFFERENT.format(what=what)))
        others = await self._foreseen(call)
        asked = replace(asked, others=tuple(one.asked for one in others))
        opened = self._open = _Open(call, action, action)
        self._emit(asked)
        try:
            approval = await self._answer(asked)
        finally:
            self._open = None
        if opened.action is not action:
            action = told(self._context, action, opened.action)
        judgement = judged(self.policy, call.name, action)
        if approval is None:
            return self._denied(call, NOBODY.format(why=judgement.why))
        if approval.allowed and judgement.decision == "deny":
            return self._denied(call, judgement.why, asked=False)  # the mode was changed meanwhile
        if approval.together:
            same = replace(approval, session="", always="")
            self._ahead |= {one.asked.call_id: (one, same) for one in others}
        if approval.singly:
            self._coming = ()
        return await self._answered(
            call, action, approval, edited=opened.action is not opened.proposed
        )

    async def _answered(
        self, call: ToolCall, action: Action, approval: Approval, *, edited: bool = False
    ) -> Verdict:
        """What a person's answer means; edited: the action is theirs. Raises TurnStop."""
        if not approval.allowed:
            advice = f": {approval.advice}" if approval.advice else ""
            self._tell(call, False, "a person")
            return Verdict(allowed=False, why=f"the user said no{advice}")
        await self._grant(approval)
        self._tell(call, True, "a person, who edited it" if edited else "a person")
        self._intend(call, action)
        return Verdict(allowed=True, instead=action if edited else None)

    async def _foreseen(self, call: ToolCall) -> list[_Shown]:
        """What comes after a call in its message and would be asked about, as things are now."""
        ids = [one.id for one in self._coming]
        at = ids.index(call.id) + 1 if call.id in ids else len(ids)
        later = [
            one for one in self._coming[at:] if one.id not in self._ahead and self._is_whole(one)
        ]
        actions = await asyncio.gather(
            *(self.tools[one.name].prepare(one.id, one.arguments, _nowhere) for one in later),
            return_exceptions=True,
        )
        found: list[_Shown] = []
        for one, action in zip(later, actions, strict=True):
            if not isinstance(action, Action):
                continue  # it can't be done as things are: its turn will tell
            if self._must_ask(judged(self.policy, one.name, action), action):
                asked = question(self.policy, one, action)
                found.append(_Shown(asked, action.paths, action.given))
        return found[:MOST_TOGETHER]

    def _is_whole(self, call: ToolCall) -> bool:
        tool = self.tools.get(call.name)
        return tool is not None and tool.check(call.arguments) is None

    async def _grant(self, approval: Approval) -> None:
        """Take over the rules of an answer. Raises TurnStop."""
        from glmcode.permissions.propose import rules_of

        own = tuple(tool.spec.name for tool in self._options.own_tools)
        always = rules_of(approval.always, own) if approval.always else ()
        session = rules_of(approval.session, own) if approval.session else ()
        if any(rule.tool in own for rule in always):  # in a settings file it would name no tool
            self._emit(Notice(text=NOT_KEPT.format(error=OWN)))
            session, always = (*session, *always), ()
        if always:
            try:
                texts = [rule.text for rule in always]
                await asyncio.to_thread(keep_rules, self._options.workspace, texts)
            except GrantFault as error:
                self._emit(Notice(text=NOT_KEPT.format(error=error)))
                session, always = (*session, *always), ()
        self.kept = (*self.kept, *always)
        self.policy = granted(self.policy, always, None)
        self.policy = granted(self.policy, session, self.journal)

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


def _nowhere(text: str) -> None:
    """What a call prints while it is only prepared: nothing."""
