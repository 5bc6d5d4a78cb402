"""Questions to a caller that answers over stream-json: what is open, until when, and what counts.

A question is open until it is answered, withdrawn (its turn was stopped), too old, or nobody can
answer any more because standard input ended; whichever comes first counts, and the caller is told
when it was not its answer. What nobody answers is denied as in any run without a person. Must not
decide anything by itself, and must not read or write.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from glmcode.agent_edited import EditFault
from glmcode.agent_options import Approval
from glmcode.core.events import ApprovalAsked
from glmcode.core.messages import AssistantMessage, Message
from glmcode.stream_input import Answered, Remember
from glmcode.stream_json import Withdrawn, cancel_line, question_line

WHOLE = {"Bash": "command", "Write": "content"}
"""The argument of a tool that is all of what a person would edit."""
NO_INPUT = (
    "updatedInput may change the command of Bash or the content of Write: send the whole text of "
    "the file, or the command, as edited instead"
)
WAIT_S = 600.0
"""Seconds that an answer is waited for where the caller does not say."""


@dataclass(frozen=True, slots=True)
class _Given:
    """An answer that counts. data: what the caller made of the proposal; None: as it was."""

    approval: Approval | None
    data: bytes | None
    line: int


@dataclass(slots=True)
class _Open:
    asked: ApprovalAsked
    answer: asyncio.Future[_Given]


@dataclass(slots=True, kw_only=True)
class Questions:
    """tell: takes a line for the caller, and refuse what is wrong with an answer and its line's
    number. input_of: a call's arguments by its id. fault: why rules do not allow what is asked now,
    or "". revise: asks about the proposal as it was edited, or raises EditFault. wanted: whether
    the caller answers. closed: it can't any more."""

    tell: Callable[[dict[str, Any]], None]
    refuse: Callable[[str, int], None]
    input_of: Callable[[str], Mapping[str, Any]]
    fault: Callable[[str], str]
    revise: Callable[[bytes], Awaitable[object]]
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
        loop = asyncio.get_running_loop()
        opened = self._open[request_id] = _Open(asked, loop.create_future())
        arguments = self.input_of(asked.call_id)
        self.tell(question_line(asked, arguments, request_id, self.session_id))
        withdrawn: Withdrawn | Literal[""] = "interrupted"
        try:
            async with asyncio.timeout(self.wait_s):
                approval = await self._answer(opened)
            withdrawn = "input_closed" if self.closed and approval is None else ""
            return approval
        except TimeoutError:
            withdrawn = "timeout"
            return None
        finally:
            del self._open[request_id]
            if withdrawn:
                self.tell(cancel_line(request_id, withdrawn, self.session_id))

    async def _answer(self, opened: _Open) -> Approval | None:
        """The first answer that can be used."""
        while True:
            given = await opened.answer
            if given.data is None:
                return given.approval
            opened.answer = asyncio.get_running_loop().create_future()
            try:
                await self.revise(given.data)
            except EditFault as fault:
                self.refuse(str(fault), given.line)
                if self.closed:
                    return None
            else:
                return given.approval

    def take(self, given: Answered, line: int) -> str:
        """Take an answer; what is wrong with it, the question staying open then, or ""."""
        found = self._open.get(given.request_id)
        if found is None or found.answer.done():
            return (
                f"no question {given.request_id} is open: it was answered or withdrawn before, "
                "or there never was one"
            )
        data, wrong = self._edited(found.asked, given)
        rules = ""
        if not wrong:
            rules, wrong = remembered(found.asked, given.remember, given.rules, self.fault)
        if wrong:
            return wrong
        approval = Approval(
            allowed=given.allowed,
            advice=given.reason,
            session=rules if given.remember == "session" else "",
            always=rules if given.remember == "always" else "",
        )
        found.answer.set_result(_Given(None if given.error else approval, data, line))
        return ""

    def close(self) -> None:
        """Nobody answers from now on; what is open counts as not answered."""
        self.closed = True
        for one in self._open.values():
            if not one.answer.done():
                one.answer.set_result(_Given(None, None, 0))

    def _edited(self, asked: ApprovalAsked, given: Answered) -> tuple[bytes | None, str]:
        """What the caller made of the proposal, if it changed it, and what is wrong with that."""
        text, before = given.edited, self.input_of(asked.call_id)
        if given.changed is not None and given.changed != before:
            key = WHOLE.get(asked.name, "")
            others = {**given.changed, key: before.get(key)}
            text = given.changed.get(key)
            if not isinstance(text, str) or others != before or given.edited is not None:
                return None, NO_INPUT
        if text is not None and (given.remember or asked.question):
            return None, "what was edited is allowed once: leave remember out"
        return (None, "") if text is None else (text.encode("utf-8", "replace"), "")


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
