from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glmcode.core.messages import (
    AssistantMessage,
    Message,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from glmcode.core.tool import Effect, ToolSpec
from glmcode.core.transcript import Preamble
from glmcode.glm.pieces import CONTROL_NAMES, Control, Text, pieces_text
from glmcode.glm.prompt import TokenPrompt
from glmcode.glm.template import render
from glmcode.glm.tokenizer import GlmTokenizer
from tests.glm.samples import golden_render

PREAMBLE = Preamble(specs=(), system="Be brief.")
TEXT = st.lists(st.one_of(st.sampled_from(CONTROL_NAMES), st.text(max_size=5)), max_size=3).map(
    "".join
)
TOOL = st.builds(lambda text: ToolMessage(call_id="c", name="Now", text=text), TEXT)
ROUND = st.tuples(
    st.lists(st.one_of(TOOL, st.builds(lambda text: UserMessage(text=text), TEXT)), max_size=4),
    st.lists(st.integers(0, 800), max_size=12),
)


def as_text(tokenizer: GlmTokenizer, ids: Sequence[int]) -> str:
    return b"".join(map(tokenizer.token_bytes, ids)).decode()


@settings(max_examples=120)
@given(rounds=st.lists(ROUND, max_size=6), thinking=st.booleans())
def test_each_request_begins_with_the_one_before_and_what_was_generated(
    tokenizer: GlmTokenizer, rounds: list[tuple[list[Message], list[int]]], thinking: bool
) -> None:
    prompt = TokenPrompt(tokenizer, PREAMBLE, thinking=thinking)
    before: list[int] = []
    for messages, generated in rounds:
        for message in messages:
            prompt.extend([message])
        request = prompt.request_ids()
        assert request[: len(before)] == before
        assert json.loads(b"".join(prompt.request_ids_json())) == request
        assert prompt.request_count == len(request)
        assert len(prompt) == len(prompt.ids)
        answer = (*prompt.answer_prefix, *generated)
        prompt.extend([AssistantMessage(token_ids=answer)])
        before = request + generated
        assert prompt.ids == before


def test_the_prompt_of_a_turn_is_the_text_of_the_template(tokenizer: GlmTokenizer) -> None:
    prompt = TokenPrompt(tokenizer, PREAMBLE)
    prompt.extend([UserMessage(text="what time?")])
    answer = "\n<think>look</think>\n<tool_call>Now\n</tool_call>"
    pieces = [
        Text("\n"),
        Control("<think>"),
        Text("look"),
        Control("</think>"),
        Text("\n"),
        Control("<tool_call>"),
        Text("Now\n"),
        Control("</tool_call>"),
    ]
    prompt.extend([AssistantMessage(token_ids=tuple(tokenizer.encode(pieces)))])
    prompt.extend([ToolMessage(call_id="c", name="Now", text="12:00")])
    openai = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "what time?"},
        {
            "role": "assistant",
            "reasoning_content": "look",
            "tool_calls": [{"name": "Now", "arguments": {}}],
        },
        {"role": "tool", "content": "12:00"},
    ]
    want = render(openai, add_generation_prompt=True)
    assert answer in pieces_text(want)
    assert prompt.request_ids() == tokenizer.encode(want)


def test_a_run_of_tool_results_is_the_same_in_one_call_or_several(tokenizer: GlmTokenizer) -> None:
    results = [ToolMessage(call_id=str(n), name="Now", text=f"r{n}") for n in range(3)]
    at_once, one_by_one = TokenPrompt(tokenizer, PREAMBLE), TokenPrompt(tokenizer, PREAMBLE)
    at_once.extend(results)
    for result in results:
        one_by_one.extend([result])
    one_by_one.extend([])
    assert at_once.ids == one_by_one.ids
    observation = tokenizer.control_id("<|observation|>")
    assert at_once.ids.count(observation or 0) == 1
    one_by_one.extend([UserMessage(text="typed meanwhile"), results[0]])
    assert one_by_one.ids.count(observation or 0) == 2


def test_only_what_is_new_is_ever_encoded(tokenizer: GlmTokenizer) -> None:
    seen: list[str] = []

    class Watched(GlmTokenizer):
        def __init__(self) -> None:
            pass

        def encode_text(self, text: str) -> list[int]:
            seen.append(text)
            return tokenizer.encode_text(text)

    watched = Watched()
    watched.__dict__.update(tokenizer.__dict__)
    prompt = TokenPrompt(watched, PREAMBLE)
    prompt.extend([UserMessage(text="long text " * 500)])
    prompt.request_ids_json()
    seen.clear()
    prompt.extend([AssistantMessage(token_ids=(1, 2, 3))])
    prompt.extend([ToolMessage(call_id="c", name="Now", text="new")])
    prompt.request_ids_json()
    assert seen == ["\n", "\nnew\n"]


def test_an_answer_that_was_cut_goes_on_from_the_same_ids(tokenizer: GlmTokenizer) -> None:
    prompt = TokenPrompt(tokenizer, PREAMBLE)
    whole = prompt.request_ids([5, 6])
    assert whole == [*prompt.request_ids(), 5, 6]
    assert json.loads(b"".join(prompt.request_ids_json([5, 6]))) == whole


def test_a_fork_grows_apart_and_may_turn_thinking_off(tokenizer: GlmTokenizer) -> None:
    prompt = TokenPrompt(tokenizer, PREAMBLE)
    prompt.extend([UserMessage(text="one")])
    before = prompt.request_ids_json(), prompt.request_ids()
    fork = prompt.fork(thinking=False)
    fork.extend([UserMessage(text="sum up")])
    assert (prompt.request_ids_json(), prompt.request_ids()) == before
    assert fork.ids[: len(prompt)] == prompt.ids
    assert as_text(tokenizer, fork.request_ids()).endswith(
        "<|user|>\nsum up/nothink<|assistant|>\n<think></think>"
    )
    assert as_text(tokenizer, fork.answer_prefix) == "\n<think></think>"
    assert prompt.answer_prefix == ()


def test_a_message_without_ids_is_written_from_its_parts(tokenizer: GlmTokenizer) -> None:
    prompt = TokenPrompt(tokenizer, PREAMBLE)
    call = ToolCall(id="c", name="Read", arguments={"file_path": "a"})
    prompt.extend([AssistantMessage(reasoning="r", text="t", calls=(call,))])
    assert as_text(tokenizer, prompt.ids).endswith(
        "<|assistant|>\n<think>r</think>\nt\n<tool_call>Read\n"
        "<arg_key>file_path</arg_key>\n<arg_value>a</arg_value>\n</tool_call>"
    )


def generated(tokenizer: GlmTokenizer, message: dict[str, Any]) -> tuple[int, ...]:
    """The ids that the model generated for a message of this turn, reasoning and all."""
    spoken = [{"role": "user", "content": ""}, message]
    ids = tokenizer.encode(render(spoken))
    return tuple(ids[len(tokenizer.encode(render(spoken[:1], add_generation_prompt=True))) :])


BLANKED = [
    case
    for case in golden_render()
    if case["enable_thinking"] and case["name"].startswith("reasoning of")
]


@pytest.mark.parametrize("case", BLANKED, ids=lambda case: case["name"])
def test_with_the_policy_template_the_prompt_is_what_the_template_gives(
    tokenizer: GlmTokenizer, case: dict[str, Any]
) -> None:
    head, *said = case["messages"]
    functions = [tool["function"] for tool in case["tools"] or []]
    specs = tuple(
        ToolSpec(
            name=f["name"],
            description=f["description"],
            effect=Effect.READ,
            parameters=f["parameters"],
        )
        for f in functions
    )
    prompt = TokenPrompt(tokenizer, Preamble(specs=specs, system=head["content"]), True, "template")
    for message in said:
        match message["role"]:
            case "user":
                prompt.extend([UserMessage(text=message["content"])])
            case "assistant":
                prompt.extend([AssistantMessage(token_ids=generated(tokenizer, message))])
            case "tool":
                prompt.extend([ToolMessage(call_id="c", name="x", text=message["content"])])
    ids = prompt.request_ids() if case["add_generation_prompt"] else prompt.ids
    assert as_text(tokenizer, ids) == case["text"]
    assert ids == tokenizer.encode(
        render(case["messages"], case["tools"], case["add_generation_prompt"])
    )
    assert json.loads(b"".join(prompt.request_ids_json())) == prompt.request_ids()


def thinking_talk(tokenizer: GlmTokenizer) -> list[Message]:
    reply = {"role": "assistant", "content": "so", "reasoning_content": "I think a while. 思 "}
    said: list[Message] = []
    for number in range(4):
        said += [UserMessage(text=f"question {number}")]
        said += [AssistantMessage(token_ids=generated(tokenizer, reply))] * 2
    return said


def test_only_spans_of_reasoning_are_cut_and_only_when_a_user_message_arrives(
    tokenizer: GlmTokenizer,
) -> None:
    kept = TokenPrompt(tokenizer, PREAMBLE)
    cut = TokenPrompt(tokenizer, PREAMBLE, reasoning="template")
    for message in thinking_talk(tokenizer):
        before = cut.ids
        kept.extend([message])
        cut.extend([message])
        if isinstance(message, AssistantMessage):
            assert cut.ids[: len(before)] == before
        assert json.loads(b"".join(cut.request_ids_json())) == cut.request_ids()
    thoughts = as_text(tokenizer, cut.ids).count("I think a while.")
    assert thoughts == 2 and as_text(tokenizer, kept.ids).count("I think a while.") == 8
    assert as_text(tokenizer, cut.ids).count("<think></think>") == 6


def test_a_fork_keeps_the_reasoning_that_the_prompt_holds(tokenizer: GlmTokenizer) -> None:
    prompt = TokenPrompt(tokenizer, PREAMBLE, reasoning="template")
    prompt.extend(thinking_talk(tokenizer))
    fork = prompt.fork(thinking=False)
    fork.extend([UserMessage(text="sum up")])
    assert fork.ids[: len(prompt)] == prompt.ids


@pytest.mark.parametrize("reasoning", ["keep", "template"])
def test_a_restart_goes_back_to_the_preamble_without_encoding_it(
    tokenizer: GlmTokenizer, reasoning: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompt = TokenPrompt(tokenizer, PREAMBLE, reasoning=reasoning)
    head = prompt.ids
    said = thinking_talk(tokenizer)
    prompt.extend(said)
    with monkeypatch.context() as patch:
        patch.setattr(GlmTokenizer, "encode", lambda *args: pytest.fail("encoded again"))
        prompt.restart()
    assert prompt.ids == head and prompt.head_count == len(head)
    prompt.extend(said)
    again = TokenPrompt(tokenizer, PREAMBLE, reasoning=reasoning)
    again.extend(said)
    assert prompt.ids == again.ids
    assert json.loads(b"".join(prompt.request_ids_json())) == prompt.request_ids()


def test_the_tokens_of_a_message_are_counted_as_they_will_stand(tokenizer: GlmTokenizer) -> None:
    prompt = TokenPrompt(tokenizer, PREAMBLE)
    for message in [*thinking_talk(tokenizer), ToolMessage(call_id="c", name="x", text="a 漢 b")]:
        before, counted = len(prompt), prompt.count(message)
        prompt.extend([message])
        assert len(prompt) - before == counted
