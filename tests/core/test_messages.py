from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glmcode.core.messages import (
    AssistantMessage,
    MessageError,
    RejectedCall,
    ToolCall,
    ToolMessage,
    Usage,
    UserMessage,
    message_from_json,
    message_to_json,
)
from glmcode.core.transcript import Preamble, Transcript, TranscriptError


@given(st.text(), st.text(), st.lists(st.integers(0, 2**17)))
def test_every_message_comes_back_from_json_as_it_was(one: str, two: str, ids: list[int]) -> None:
    assistant = AssistantMessage(
        reasoning=one,
        text=two,
        calls=(ToolCall(id="a", name=one, arguments={"x": two, "y": [1, None, True]}),),
        rejected=(RejectedCall(id="r", reason="truncated", raw=two, name=one, before=1),),
        token_ids=tuple(ids),
        stop="length",
        usage=Usage(prompt_tokens=3, cached_tokens=2, output_tokens=1, prefill_s=0.5),
        reasoning_field="reasoning",
    )
    for message in (
        UserMessage(text=one, origin="glmcode"),
        ToolMessage(call_id=one, name=two, text=one, is_error=True),
        assistant,
    ):
        assert message_from_json(json.loads(json.dumps(message_to_json(message)))) == message


@pytest.mark.parametrize(
    "value", [{}, {"role": "user"}, {"role": "robot"}, {"role": "tool", "x": 1}]
)
def test_a_damaged_message_is_an_error_not_a_guess(value: dict[str, object]) -> None:
    with pytest.raises(MessageError):
        message_from_json(value)


def test_call_ids_stand_in_the_order_in_which_the_model_wrote_them() -> None:
    message = AssistantMessage(
        calls=tuple(ToolCall(id=i, name="n", arguments={}) for i in "abc"),
        rejected=(
            RejectedCall(id="r", reason="malformed", raw="", before=0),
            RejectedCall(id="s", reason="malformed", raw="", before=2),
            RejectedCall(id="t", reason="malformed", raw="", before=3),
        ),
    )
    assert message.call_ids() == ("r", "a", "b", "s", "c", "t")


def test_a_transcript_refuses_anything_but_the_answers_to_open_calls_in_order() -> None:
    transcript = Transcript(Preamble(specs=(), system=""))
    transcript.append(
        AssistantMessage(calls=tuple(ToolCall(id=i, name="n", arguments={}) for i in "ab"))
    )
    for wrong in (
        UserMessage(text="x"),
        AssistantMessage(text="x"),
        ToolMessage(call_id="b", name="n", text=""),
    ):
        with pytest.raises(TranscriptError):
            transcript.append(wrong)
    transcript.append(ToolMessage(call_id="a", name="n", text=""))
    transcript.append(ToolMessage(call_id="b", name="n", text=""))
    with pytest.raises(TranscriptError):
        transcript.append(ToolMessage(call_id="b", name="n", text=""))
    transcript.append(UserMessage(text="next"))


def test_a_message_whose_record_fails_is_not_appended() -> None:
    def record(message: object) -> None:
        raise OSError("no space")

    transcript = Transcript(Preamble(specs=(), system=""), record=record)
    with pytest.raises(OSError):
        transcript.append(UserMessage(text="x"))
    assert len(transcript) == 0
