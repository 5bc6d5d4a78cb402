from __future__ import annotations

from glmcode.context.compaction import (
    Carried,
    Sizes,
    carry,
    instruction,
    judged,
    segment,
    tail_start,
    touched,
)
from glmcode.core.messages import AssistantMessage, Message, ToolCall, ToolMessage, UserMessage
from tests.scripted import calls, says

KEYS = {"Read": "read", "Edit": "changed"}
SIZES = Sizes(whole=2_000, tail=60, most=3_000)


def count(message: Message) -> int:
    """One token a word: what is counted does not matter here, only that it is."""
    if isinstance(message, AssistantMessage):
        return len(message.text.split()) + 10 * len(message.calls)
    return len(message.text.split())


def step(number: int, path: str, name: str = "Read", answer: str = "fine") -> list[Message]:
    call = calls((name, {"file_path": path}), step=number)
    error = answer.startswith("error")
    return [call, ToolMessage(call_id=f"call_{number}_1", name=name, text=answer, is_error=error)]


def conversation() -> list[Message]:
    said: list[Message] = [UserMessage(text="Folder: /w\n\nFind the fault.")]
    said += step(1, "a.py") + step(2, "b.py", answer="error: no such file") + [says("Found.")]
    said += [UserMessage(text="Repair it."), *step(3, "a.py", "Edit", "word " * 30)]
    return said


def carried(messages: object) -> Carried:
    return carry(Carried(), messages, KEYS)  # type: ignore[arg-type]


def test_the_words_of_a_segment_are_these() -> None:
    todos = ["[completed] look", "[pending] repair"]
    sizes = Sizes(whole=2_000, tail=0, most=3_000)
    made, tail = segment(conversation(), carried, "## Done\nAll.", todos, count, sizes)
    assert tail == 0 and len(made) == 1
    assert isinstance(made[0], UserMessage) and made[0].origin == "glmcode"
    assert made[0].text == (
        "[This conversation was compacted: this message stands for all that was said before it.]"
        "\n\n## Done\nAll."
        "\n\n# What the user said before, oldest first\nFolder: /w\n\nFind the fault."
        "\n\n# Files that were touched, the last one last\na.py (changed)"
        "\n\n# The todo list\n[completed] look\n[pending] repair"
        "\n\n# The user's last request, word for word\nRepair it."
        "\n\nGo on with the work from here. The contents of files are not part of this message: "
        "read a file again before you change it."
    )


def test_a_tail_keeps_whole_steps_and_says_nothing_twice() -> None:
    made, tail = segment(conversation(), carried, "Short.", [], count, SIZES)
    assert made[1:] == conversation()[-tail:] and tail == 6
    assert isinstance(made[0], UserMessage) and "Repair it." not in made[0].text
    assert UserMessage(text="Repair it.") in made


def test_a_tail_never_begins_with_results_whose_call_is_gone() -> None:
    messages = conversation()
    for limit in range(80):
        start = tail_start(messages, count, limit)
        assert sum(map(count, messages[start:])) <= limit
        assert start == len(messages) or not isinstance(messages[start], ToolMessage)
    assert tail_start(messages, count, 10_000) == 0


def test_after_an_answer_nobody_is_told_to_go_on() -> None:
    made, _ = segment([*conversation(), says("Done.")], carried, "Short.", [], count, SIZES)
    assert isinstance(made[0], UserMessage) and "Go on with the work" not in made[0].text


def test_a_request_that_was_not_answered_yet_is_kept_whole_and_an_older_one_may_be_cut() -> None:
    long = UserMessage(text="please " * 1_500)
    sizes = Sizes(whole=1_000, tail=100, most=3_000)
    fresh, _ = segment([*conversation(), says("ok"), long], carried, "Short.", [], count, sizes)
    assert isinstance(fresh[0], UserMessage) and fresh[0].text.count("please") == 1_500
    later = [*conversation(), says("ok"), long, *step(4, "c.py", answer="word " * 200)]
    made, _ = segment(later, carried, "Short.", [], count, sizes)
    assert isinstance(made[0], UserMessage) and "characters left out" in made[0].text
    assert sum(map(count, made)) < 1_100


def test_a_mechanical_segment_holds_the_last_summary_and_the_person_s_words() -> None:
    known = Carried(requests=("Never touch the database.",), summary="It began well.")
    made, _ = segment(conversation(), lambda gone: carry(known, gone, KEYS), "", [], count, SIZES)
    text = made[0].text if isinstance(made[0], UserMessage) else ""
    assert "No summary could be made" in text and "It began well." in text
    assert "Never touch the database." in text and "Find the fault." in text


def test_files_are_those_of_calls_that_went_well_the_last_one_last() -> None:
    messages = [*step(1, "a"), *step(2, "b", "Edit"), *step(3, "a"), *step(4, "b")]
    messages += step(5, "c", answer="error: none") + step(6, "d", "Bash")
    assert list(touched(messages, KEYS).items()) == [("a", "read"), ("b", "changed")]


def test_an_answer_is_judged_by_its_end_and_its_text() -> None:
    call = ToolCall(id="c", name="Read", arguments={})
    assert judged(says(" Fine.\n")) == ("Fine.", "")
    assert judged(AssistantMessage(text="Fine.", calls=(call,), stop="calls")) == ("Fine.", "")
    assert judged(AssistantMessage(calls=(call,), stop="calls"))[1] == "the summary was empty"
    assert "longer" in judged(AssistantMessage(text="x", stop="length"))[1]
    assert "repeated" in judged(AssistantMessage(text="x", stop="repetition"))[1]


def test_the_question_says_how_long_and_what_the_person_cares_for() -> None:
    text = instruction(4_096, "the numbers")
    assert "## Request" in text and "## Done" in text and "## Files" in text and "## Left" in text
    assert text.endswith(
        "Write at most 2000 words.\n\nThe user asks to keep in particular: the numbers"
    )
    assert instruction(512).endswith("Write at most 250 words.")
    assert instruction(1).endswith("Write at most 50 words.")
