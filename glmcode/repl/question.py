"""A question about an action, and which key strokes are an answer to it.

What a person was typing when the question appeared must never answer it: a key counts only
after a pause without key strokes (longer, and digits only, while an unsent draft stands in
the input), and not while a message is being typed. Every other key belongs to the draft.
"always" first shows its rules in the input, where they can be edited. Several questions of one
message are one, about all of them. Pure: time comes in as seconds. Must not decide permission;
it only carries the choice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Literal, TypeAlias

from glmcode.repl.clean import one_line

if TYPE_CHECKING:
    from glmcode.core.events import ApprovalAsked

Choice: TypeAlias = Literal["yes", "session", "always", "no", "singly", "edit"]

ANSWERS: Mapping[str, Choice] = {
    "1": "yes",
    "y": "yes",
    "2": "session",
    "s": "session",
    "3": "always",
    "a": "always",
    "4": "no",
    "n": "no",
    "5": "edit",
    "e": "edit",
}
SEVERAL: Mapping[str, Choice] = {
    "1": "yes",
    "y": "yes",
    "2": "singly",
    "o": "singly",
    "4": "no",
    "n": "no",
}
GRACE_S = 0.3
DRAFT_GRACE_S = 1.0


class Question:
    """One open question. `chosen` gets the choice; then, for a "no", `advised` the words."""

    def __init__(
        self,
        asked: ApprovalAsked,
        now: float,
        *,
        cut: bool = False,
        several: bool = False,
        fault: Callable[[str], str] = lambda text: "",
    ) -> None:
        """several: about `asked.others` as well.

        fault: why rules that a person wrote won't do; "" when they will.
        """
        self.asked = asked
        simple = bool(asked.question)
        self.rule = "" if simple or several else ", ".join(asked.rules)
        self.cut = cut
        self.simple = simple
        self.editable = asked.editable and not simple and not several
        self.count = 1 + len(asked.others) if several else 1
        self.ask = asked.question or (f"Allow all {self.count}?" if several else "Allow it?")
        self.wrong = ""
        self.editing = False
        self.chosen: asyncio.Future[Choice] = asyncio.get_running_loop().create_future()
        self.advised: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._fault = fault
        self._last_key = now
        self._typing = False

    @property
    def choosing(self) -> bool:
        """Whether a key may answer it now."""
        return not self.chosen.done() and not self.editing

    @property
    def advising(self) -> bool:
        """Whether the answer was no and a word of advice is awaited."""
        said_no = (
            self.chosen.done() and not self.chosen.cancelled() and self.chosen.result() == "no"
        )
        return said_no and not self.simple and not self.advised.done()

    def press(self, key: str, now: float, draft: str) -> Choice | None:
        """The answer that a key stands for, or None: then it belongs to the draft.

        draft is what the input holds before this key; now is a monotonic time in seconds.
        """
        if not draft:
            self._typing = False
        quiet = now - self._last_key >= (DRAFT_GRACE_S if draft else GRACE_S)
        choice = self.meant(key)
        if choice is not None and quiet and not self._typing and (not draft or key.isdigit()):
            return choice
        self._typing = self._typing or (quiet and choice is None)
        self._last_key = now
        return None

    def typed(self, now: float) -> None:
        """Something was pasted into the draft: what follows it is typing, and no answer."""
        self._typing, self._last_key = True, now

    def meant(self, word: str) -> Choice | None:
        """The answer that a key or a line stands for, whenever it comes."""
        if self.simple and word == "3":
            return "no"
        choice = (SEVERAL if self.count > 1 else ANSWERS).get(word.lower())
        if choice == "edit" and not self.editable:
            return None
        return None if choice in ("session", "always") and not self.rule else choice

    def choose(self, choice: Choice) -> None:
        """Answer it, once; later answers change nothing. "always" is edited first."""
        if choice == "always" and not self.chosen.done():
            self.editing = True
        elif not self.chosen.done():
            self.chosen.set_result(choice)

    def accept(self, rule: str) -> bool:
        """Take the edited rules for "always"; False when they won't do: `wrong` says why."""
        self.wrong = self._fault(rule)
        if self.wrong:
            return False
        self.rule, self.editing = rule, False
        if not self.chosen.done():
            self.chosen.set_result("always")
        return True

    def back(self) -> None:
        """From editing to the question."""
        self.editing, self.wrong = False, ""

    def advise(self, words: str) -> None:
        """Give the word of advice that follows a no."""
        if not self.advised.done():
            self.advised.set_result(words)


def fitted(spans: list[tuple[str, str]], width: int) -> list[tuple[str, str]]:
    """The same, with a new line before an answer that would be cut in two; an answer ends with two
    spaces."""
    lines: list[tuple[str, str]] = []
    answer: list[tuple[str, str]] = []
    at = 0
    for number, (style, text) in enumerate(spans):
        answer.append((style, text))
        if not text.endswith("  ") and number < len(spans) - 1:
            continue
        length = sum(len(part) for _, part in answer)
        if at and at + len("".join(part for _, part in answer).rstrip()) > width:
            last_style, last = lines[-1]
            lines[-1] = (last_style, f"{last.rstrip()}\n  ")
            at = 2
        lines += answer
        at, answer = at + length, []
    return lines


def question_spans(question: Question, width: int, draft: str = "") -> list[tuple[str, str]]:
    """The line that asks, as (style, text) pairs; draft is what stands unsent in the input."""
    if question.advising:
        return [("warning", "no."), ("dim", " What instead? Enter sends it (empty: just no).")]
    if question.editing:
        return _editing(question, width)
    spans = [("warning", f"{question.ask} "), ("key", "1")]
    if question.count > 1:
        spans += [("", " yes, all  "), ("key", "2"), ("", " one by one  ")]
        spans += [("key", "4"), ("", " none, with advice  ")]
    else:
        spans += [("", " yes  "), *_lasting(question, width)]
        spans += [("key", "4"), ("", " no  " if question.simple else " no, with advice  ")]
        spans += [("key", "5" if draft else "e"), ("", " edit  ")] if question.editable else []
    if question.cut:
        spans += [("key", "Ctrl-O"), ("", " all of it  ")]
    if draft:
        spans += [("dim", "(digits only: a draft stands below)  ")]
    return [*spans, ("key", "Esc"), ("", " no, and stop")]


def _lasting(question: Question, width: int) -> list[tuple[str, str]]:
    """The answers that outlast the action, where rules can say them."""
    if not question.rule:
        return []
    room = max(12, width - 12)
    shown = one_line(question.rule, room)
    session = [("key", "2"), ("", " for this session  ")]
    return [*session, ("key", "3"), ("", " always "), ("bold", shown), ("", "  ")]


def _editing(question: Question, width: int) -> list[tuple[str, str]]:
    wrong = one_line(question.wrong, max(40, 3 * width))
    spans = [("error", f"{wrong}\n")] if wrong else []
    spans += [("warning", "always, in this folder: "), ("dim", "edit the rule;  ")]
    return [*spans, ("key", "Enter"), ("", " takes it  "), ("key", "Esc"), ("", " back")]
