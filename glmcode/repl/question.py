"""A question about an action, and which key strokes are an answer to it.

What a person was typing when the question appeared must never answer it: a key counts only
after a pause without key strokes (longer, and digits only, while an unsent draft stands in
the input), and not while a message is being typed. Every other key belongs to the draft.
Pure: time comes in as seconds. Must not decide permission; it only carries the choice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Literal, TypeAlias

from glmcode.core.events import ApprovalAsked

Choice: TypeAlias = Literal["yes", "always", "no"]

ANSWERS: Mapping[str, Choice] = {
    "1": "yes",
    "y": "yes",
    "2": "always",
    "a": "always",
    "3": "no",
    "n": "no",
}
GRACE_S = 0.3
DRAFT_GRACE_S = 1.0


class Question:
    """One open question. `chosen` gets the choice; then, for a "no", `advised` the words."""

    def __init__(self, asked: ApprovalAsked, rule: str, now: float, *, cut: bool = False) -> None:
        """rule: what "always" would allow; "" where there is no always."""
        self.asked = asked
        self.rule = rule
        self.cut = cut
        self.chosen: asyncio.Future[Choice] = asyncio.get_running_loop().create_future()
        self.advised: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._last_key = now
        self._typing = False

    @property
    def advising(self) -> bool:
        """Whether the answer was no and a word of advice is awaited."""
        said_no = (
            self.chosen.done() and not self.chosen.cancelled() and self.chosen.result() == "no"
        )
        return said_no and not self.advised.done()

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

    def meant(self, word: str) -> Choice | None:
        """The answer that a key or a line stands for, whenever it comes."""
        choice = ANSWERS.get(word.lower())
        return None if choice == "always" and not self.rule else choice

    def choose(self, choice: Choice) -> None:
        """Answer it, once; later answers change nothing."""
        if not self.chosen.done():
            self.chosen.set_result(choice)

    def advise(self, words: str) -> None:
        """Give the word of advice that follows a no."""
        if not self.advised.done():
            self.advised.set_result(words)


def question_spans(question: Question, width: int, draft: str = "") -> list[tuple[str, str]]:
    """The line that asks, as (style, text) pairs; draft is what stands unsent in the input."""
    if question.advising:
        return [("warning", "no."), ("dim", " What instead? Enter sends it (empty: just no).")]
    room = max(12, width - 12)
    rule = question.rule if len(question.rule) <= room else question.rule[: room - 1] + "…"
    always = [("key", "2"), ("", " always "), ("bold", rule), ("", "  ")] if rule else []
    ask = question.asked.question or "Allow it?"
    spans = [("warning", f"{ask} "), ("key", "1"), ("", " yes  "), *always]
    spans += [("key", "3"), ("", " no, with advice  " if rule else " no  ")]
    if question.cut:
        spans += [("key", "Ctrl-O"), ("", " all of it  ")]
    if draft:
        spans += [("dim", "(digits only: a draft stands below)  ")]
    return [*spans, ("key", "Esc"), ("", " no, and stop")]
