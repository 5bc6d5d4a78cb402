from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from glmcode.core.events import ApprovalAsked
from glmcode.core.tool import Preview
from glmcode.repl.question import DRAFT_GRACE_S, GRACE_S, Question, question_spans

ASKED = ApprovalAsked(
    call_id="1",
    name="Bash",
    subject="id",
    preview=Preview(kind="command", title="id"),
    rules=("Bash(id)",),
)
LATER = GRACE_S + 0.01


def with_question(body: Callable[[Question], None]) -> None:
    async def run() -> None:
        body(Question(ASKED, 100.0))

    asyncio.run(run())


@pytest.mark.parametrize(
    ("key", "choice"),
    [
        ("1", "yes"),
        ("y", "yes"),
        ("Y", "yes"),
        ("2", "session"),
        ("s", "session"),
        ("3", "always"),
        ("a", "always"),
        ("4", "no"),
        ("n", "no"),
    ],
)
def test_after_the_pause_each_key_answers(key: str, choice: str) -> None:
    with_question(lambda question: check(question.press(key, 100 + LATER, "") == choice))


def check(truth: bool) -> None:
    assert truth


def test_a_key_within_the_pause_belongs_to_the_draft_and_starts_it_anew() -> None:
    def body(question: Question) -> None:
        assert question.press("y", 100.1, "") is None
        assert question.press("1", 100.35, "y") is None
        assert question.press("1", 100.35 + DRAFT_GRACE_S - 0.01, "y1") is None
        assert question.press("1", 110.0, "y11") == "yes"

    with_question(body)


def test_with_a_draft_only_digits_answer_and_only_after_a_longer_pause() -> None:
    def body(question: Question) -> None:
        assert question.press("1", 100 + LATER, "draft") is None
        assert question.press("y", 103.0, "draft1") is None
        assert question.press("1", 103.0 + DRAFT_GRACE_S + 0.01, "draft1y") == "yes"

    with_question(body)


def test_typing_a_message_shuts_the_answers_off_until_the_input_is_empty_again() -> None:
    def body(question: Question) -> None:
        assert question.press("p", 101.0, "") is None
        assert question.press("1", 105.0, "p") is None
        assert question.press("y", 110.0, "") == "yes"

    with_question(body)


def test_the_first_answer_counts_and_a_no_waits_for_advice() -> None:
    def body(question: Question) -> None:
        assert not question.advising
        question.choose("no")
        question.choose("yes")
        assert question.chosen.result() == "no" and question.advising
        question.advise("because")
        question.advise("again")
        assert question.advised.result() == "because" and not question.advising

    with_question(body)


def test_the_line_that_asks_names_the_rule_and_fits_narrow_screens() -> None:
    async def run() -> None:
        question = Question(replace(ASKED, rules=("Bash(" + "x" * 200 + ")",)), 0.0, cut=True)
        text = "".join(part for _, part in question_spans(question, 40))
        assert "1 yes" in text and "4 no" in text and "Ctrl-O" in text and "Esc" in text
        assert max(map(len, text.split())) < 40
        question.choose("no")
        assert "instead" in "".join(part for _, part in question_spans(question, 40))

    asyncio.run(run())


def test_without_a_rule_neither_session_nor_always_is_an_answer() -> None:
    async def run() -> None:
        question = Question(replace(ASKED, rules=()), 0.0)
        assert [question.meant(word) for word in "123ysan"] == [
            "yes",
            None,
            None,
            "yes",
            None,
            None,
            "no",
        ]
        text = "".join(part for _, part in question_spans(question, 80))
        assert "always" not in text and "session" not in text and "4 no, with advice" in text
        question.choose("no")
        assert question.advising

    asyncio.run(run())


def test_always_is_edited_until_its_rule_will_do_and_can_be_gone_back_from() -> None:
    async def run() -> None:
        faults = {"Bash(ls)": "it would not allow this", "Bash(i*)": ""}
        question = Question(ASKED, 0.0, fault=lambda text: faults[text])
        question.choose("always")
        assert question.editing and not question.chosen.done() and not question.choosing
        assert not question.accept("Bash(ls)")
        assert "it would not allow this" in "".join(p for _, p in question_spans(question, 80))
        question.back()
        assert question.choosing and question.wrong == ""
        question.choose("always")
        assert question.accept("Bash(i*)")
        assert question.chosen.result() == "always" and question.rule == "Bash(i*)"

    asyncio.run(run())


def test_several_questions_have_answers_for_all_and_no_rule() -> None:
    async def run() -> None:
        others = (replace(ASKED, call_id="2"), replace(ASKED, call_id="3"))
        question = Question(replace(ASKED, others=others), 0.0, several=True)
        assert [question.meant(word) for word in "1234yosan"] == [
            *("yes", "singly", None, "no", "yes", "singly", None, None, "no")
        ]
        text = "".join(part for _, part in question_spans(question, 80))
        assert "Allow all 3?" in text and "one by one" in text and "always" not in text

    asyncio.run(run())
