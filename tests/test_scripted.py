from __future__ import annotations

import asyncio

import pytest

from glmcode.core.events import Delta, Event
from glmcode.core.messages import AssistantMessage, UserMessage
from glmcode.core.model import Emit, ModelError
from glmcode.core.transcript import Preamble, Transcript
from tests.scripted import Keep, ScriptedModel, ScriptExhausted, calls, says


def transcript_of(*texts: str) -> Transcript:
    transcript = Transcript(Preamble(specs=(), system=""))
    for text in texts:
        transcript.append(UserMessage(text=text))
    return transcript


def ask(model: ScriptedModel, transcript: Transcript) -> tuple[AssistantMessage, list[Event]]:
    events: list[Event] = []
    message = asyncio.run(model(transcript, events.append, lambda message: None))
    return message, events


def test_messages_come_in_order_and_stream_as_deltas() -> None:
    model = ScriptedModel([says("two words", reasoning="hm"), calls(("Read", {"limit": 3}))])
    first, events = ask(model, transcript_of("a"))
    assert first.text == "two words"
    assert [(e.kind, e.text) for e in events if isinstance(e, Delta)] == [
        ("reasoning", "hm"),
        ("text", "two "),
        ("text", "words"),
    ]
    second, events = ask(model, transcript_of("a", "b"))
    assert second.call_ids() == ("call_1_1",)
    assert [e.argument for e in events if isinstance(e, Delta)] == ["", "limit"]
    assert [len(messages) for messages in model.asked] == [1, 2]


def test_exceptions_are_raised_and_functions_are_called() -> None:
    async def later(transcript: Transcript, emit: Emit, keep: Keep) -> AssistantMessage:
        keep(says("half"))
        return says(f"{len(transcript)} messages")

    script = [ModelError("gone", kind="unavailable"), later, lambda t, e, k: says("plain")]
    model = ScriptedModel(script)
    with pytest.raises(ModelError, match="gone"):
        ask(model, transcript_of("a"))
    assert ask(model, transcript_of("a", "b"))[0].text == "2 messages"
    assert ask(model, transcript_of("a"))[0].text == "plain"


def test_one_request_too_many_is_a_failed_test() -> None:
    with pytest.raises(ScriptExhausted):
        ask(ScriptedModel([]), transcript_of("a"))
