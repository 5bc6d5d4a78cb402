"""Questions to a caller that answers over stream-json: what is open, until when, and what counts.

A question is open until it is answered, withdrawn (its turn was stopped), too old, or nobody can
answer any more because standard input ended; whichever comes first counts, and the caller is told
when it was not its answer. What nobody answers is denied as in any run without a person. Must not
decide anything by itself, and must not read or write.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from glmcode.agent_options import Approval
from glmcode.core.events import ApprovalAsked
from glmcode.core.messages import AssistantMessage, Message
from glmcode.stream_input import Answered, Remember
from glmcode.stream_json import Withdrawn, cancel_line, question_line

WAIT_S = 600.0
"""Seconds that an answer is waited for where the caller does not say."""


@dataclass(slots=True)
class _Open:
    asked: ApprovalAsked
    answer: asyncio.Future[Approval | None]


@dataclass(slots=True, kw_only=True)
class Questions:
    """tell: takes a line for the caller. input_of: a call's arguments by its id. fault: why rules
    do not allow what is asked now, or "". wanted: whether the caller answers. closed: it can't
    any more."""

    tell: Callable[[dict[str, Any]], None]
    input_of: Callable[[str], Mapping[str, Any]]
    fault: Callable[[str], str]
    session_id: str = ""
    wanted: bool = False
    wait_s: float = WAIT_S
    closed: bool = False
    _count: int = 0
    _open: dict[str, _Open] = field(default_factory=dict)

    async def ask(self, asked: ApprovalAsked) -> Approval | None:
        """agent_options.Answer."""
        if not self.wanted or self.closed:
            return None
        self._count += 1
        request_id = f"ask_{self._count}"
        answer: asyncio.Future[Approval | None] = asyncio.get_running_loop().create_future()
        self._open[request_id] = _Open(asked, answer)
        arguments = self.input_of(asked.call_id)
        self.tell(question_line(asked, arguments, request_id, self.session_id))
        withdrawn: Withdrawn | Literal[""] = "interrupted"
        try:
            async with asyncio.timeout(self.wait_s):
                approval = await answer
            withdrawn = "input_closed" if self.closed and approval is None else ""
            return approval
        except TimeoutError:
            withdrawn = "timeout"
            return None
        finally:
            del self._open[request_id]
            if withdrawn:
                self.tell(cancel_line(request_id, withdrawn, self.session_id))

    def take(self, given: Answered) -> str:
        """Take an answer; what is wrong with it, the question staying open then, or ""."""
        found = self._open.get(given.request_id)
        if found is None or found.answer.done():
            return (
                f"no question {given.request_id} is open: it was answered or withdrawn before, "
                "or there never was one"
            )
        rules, wrong = self._rules(found.asked, given)
        if wrong:
            return wrong
        approval = Approval(
            allowed=given.allowed,
            advice=given.reason,
            session=rules if given.remember == "session" else "",
            always=rules if given.remember == "always" else "",
        )
        found.answer.set_result(None if given.error else approval)
        return ""

    def close(self) -> None:
        """Nobody answers from now on; what is open counts as not answered."""
        self.closed = True
        for one in self._open.values():
            if not one.answer.done():
                one.answer.set_result(None)

    def _rules(self, asked: ApprovalAsked, given: Answered) -> tuple[str, str]:
        """The rules to remember, separated by commas, and what is wrong with the answer."""
        if given.changed is not None and given.changed != self.input_of(asked.call_id):
            return "", "updatedInput differs from the input: deny with a message instead"
        return remembered(asked, given.remember, given.rules, self.fault)


def remembered(
    asked: ApprovalAsked, remember: Remember, rules: Sequence[str], fault: Callable[[str], str]
) -> tuple[str, str]:
    """The rules that an answer shall leave behind, separated by commas, and what is wrong with it.

    rules: the caller's own, none: those of the question. fault: as in Questions.
    """
    if not remember:
        return "", ""
    if asked.question:
        return "", "this question is answered by yes or no, and nothing is remembered of it"
    if not rules and not asked.rules:
        return "", f"no rule can allow this: {asked.why}; leave remember out"
    text = ", ".join(rules or asked.rules)
    if rules and (why := fault(text)):
        return "", f"these rules do not allow what is asked: {why}"
    return text, ""


def input_of(messages: Sequence[Message], call_id: str) -> Mapping[str, Any]:
    """The arguments of a call that the model made."""
    for message in reversed(messages):
        if isinstance(message, AssistantMessage):
            for call in message.calls:
                if call.id == call_id:
                    return call.arguments
    return {}
