"""Puts a question to the person and brings back what it was answered with.

First, where a message holds several, all of them at once; then, if they shall be looked at one by
one, the first. What is edited before it is answered is asked about again, as it then is. What was
answered stands in the scrollback afterwards. Must not decide permission.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from glmcode.agent import Approval
from glmcode.agent_edited import Draft, EditFault
from glmcode.core.events import ApprovalAsked
from glmcode.repl.paint import Spans
from glmcode.repl.question import Choice, Question
from glmcode.repl.screen import Live
from glmcode.repl.view import View

Revise: TypeAlias = Callable[[bytes], Awaitable[tuple[ApprovalAsked, str]]]
Lend: TypeAlias = Callable[[str, bytes], Awaitable[tuple[bytes, str]]]
EMPTIED = "nothing is left of it: that is a no"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """The hands of a conversation, as far as a question needs them.

    fault: why rules that a person wrote won't do for what is asked now; "" when they will. draft:
    what is asked about as a file to edit. revise: asks about that file as it was edited, gives the
    new question and a warning or "", raises EditFault. lend: the editor on a file (Screen.lend).
    """

    view: View
    live: Live
    refresh: Callable[[], None]
    commit: Callable[[Sequence[str]], None]
    fault: Callable[[str], str]
    draft: Callable[[], Draft | None] = lambda: None
    revise: Revise | None = None
    lend: Lend | None = None

    async def ask(self, asked: ApprovalAsked) -> Approval:
        """The answer to one question, or to all that stand in it."""
        if not asked.others:
            return await self._one(asked)
        choice, question, advice = await self._put(asked, several=True)
        if choice == "singly":
            alone = replace(asked, others=())
            self.commit(self.view.event(alone))
            return replace(await self._one(alone), singly=True)
        for other in asked.others if choice == "no" else ():
            self.view.calls.refused(other.call_id)
        self._said(asked, choice, question, advice)
        return Approval(allowed=choice == "yes", advice=advice, together=True)

    async def _one(self, asked: ApprovalAsked) -> Approval:
        text: bytes | None = None
        while True:
            choice, question, advice = await self._put(asked)
            if choice != "edit":
                break
            asked, text, emptied = await self._edited(asked, text)
            if emptied:
                choice, advice = "no", ""
                break
        self._said(asked, choice, question, advice)
        return Approval(
            allowed=choice != "no",
            session=question.rule if choice == "session" else "",
            always=question.rule if choice == "always" else "",
            advice=advice,
        )

    async def _edited(
        self, asked: ApprovalAsked, text: bytes | None
    ) -> tuple[ApprovalAsked, bytes | None, bool]:
        """What is asked then, what was saved if it would not do, and whether it was emptied.

        text: what was saved before and would not do: it is edited again.
        """
        draft = self.draft()
        if draft is None or self.lend is None or self.revise is None:
            return asked, None, False
        begun = draft.data if text is None else text
        saved, wrong = await self.lend(draft.name, begun)
        if wrong:
            self._note("warning", f"{wrong}: the proposal is as it was")
            return asked, text, False
        if not saved.strip() and draft.data.strip():
            self._note("warning", EMPTIED)
            return asked, None, True
        if saved in (draft.data, draft.data + b"\n"):
            self._note("dim", "unchanged: the proposal is as it was")
            return asked, None, False
        try:
            asked, warning = await self.revise(saved)
        except EditFault as fault:
            self._note("warning", f"{fault}. The proposal is as it was; e edits yours again")
            return asked, saved, False
        if warning:
            self._note("warning", warning)
        return asked, None, False

    def _note(self, style: str, text: str) -> None:
        self.commit(self.view.note([(style, text)]))

    async def _put(
        self, asked: ApprovalAsked, *, several: bool = False
    ) -> tuple[Choice, Question, str]:
        """The choice, the question with its rule as edited, and the words after a no."""
        question = Question(
            asked,
            time.monotonic(),
            cut=self.view.calls.is_cut(asked),
            several=several,
            fault=self.fault,
        )
        self.live.question = question
        self.refresh()
        try:
            choice = await question.chosen
            advice = ""
            if choice == "no" and not question.simple:  # the words may be there already
                self.refresh()
                advice = await question.advised
            return choice, question, advice
        finally:
            self.live.question = None
            self.refresh()

    def _said(self, asked: ApprovalAsked, choice: Choice, question: Question, advice: str) -> None:
        """What was answered, for good."""
        all_of = f" to all {question.count}" if question.count > 1 else ""
        spans: Spans
        match choice:
            case "session":
                spans = [("good", "yes, for this session "), ("", question.rule)]
            case "always":
                spans = [("good", "always, in this folder "), ("", question.rule)]
            case "no":
                spans = [("warning", f"no{all_of}"), ("", f": {advice}" if advice else "")]
            case _:
                spans = [("good", f"yes{all_of}")]
        goes_on = choice != "no" or bool(asked.question)
        self.commit(self.view.answered(asked.call_id, spans, goes_on=goes_on))
