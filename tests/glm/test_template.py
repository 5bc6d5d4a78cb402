from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glmcode.core.messages import (
    AssistantMessage,
    RejectedCall,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from glmcode.core.tool import Effect, ToolSpec
from glmcode.core.transcript import Preamble
from glmcode.glm.pieces import CONTROL_NAMES, Control, Piece, Text, pieces_text
from glmcode.glm.template import (
    TemplateError,
    assistant_pieces,
    generation_pieces,
    preamble_pieces,
    render,
    tool_run_pieces,
    user_pieces,
)
from tests.glm.samples import golden_render

READ = ToolSpec(
    name="Read",
    description="Read — 中文 & <b> </arg_value>.",
    effect=Effect.READ,
    parameters={"type": "object", "properties": {"file_path": {"type": "string"}}, "required": []},
)
PREAMBLE = Preamble(specs=(READ,), system="You are a coding agent.\nBe brief.")


def rendered(messages: list[dict[str, Any]], **options: Any) -> str:
    return pieces_text(render(messages, **options))


@pytest.mark.parametrize("case", golden_render(), ids=lambda case: case["name"])
def test_a_golden_conversation_is_rendered_to_its_exact_text(case: dict[str, Any]) -> None:
    pieces = render(
        case["messages"], case["tools"], case["add_generation_prompt"], case["enable_thinking"]
    )
    assert pieces_text(pieces) == case["text"]


def openai_call(name: str, arguments: Any) -> dict[str, Any]:
    return {"type": "function", "id": "x", "function": {"name": name, "arguments": arguments}}


def test_a_turn_written_message_by_message_is_the_text_of_the_template() -> None:
    arguments = {"file_path": "a b.py", "limit": 3, "deep": [{"é": None}], "on": True}
    call = ToolCall(id="1", name="Read", arguments=arguments)
    reply = AssistantMessage(reasoning=" look \n", text="\n I look. ", calls=(call, call))
    pieces: list[Piece] = [
        *preamble_pieces(PREAMBLE),
        *user_pieces(UserMessage(text="fix it\n")),
        *assistant_pieces(reply),
        *tool_run_pieces(
            [
                ToolMessage(call_id="1", name="Read", text="one\n"),
                ToolMessage(call_id="2", name="Read", text=""),
            ]
        ),
        *generation_pieces(),
    ]
    openai = openai_call("Read", arguments)
    assert pieces == render(
        [
            {"role": "system", "content": PREAMBLE.system},
            {"role": "user", "content": "fix it\n"},
            {
                "role": "assistant",
                "content": "\n I look. ",
                "reasoning_content": " look \n",
                "tool_calls": [openai, openai],
            },
            {"role": "tool", "content": "one\n"},
            {"role": "tool", "content": ""},
        ],
        [READ.function()],
        add_generation_prompt=True,
    )


def test_reasoning_of_earlier_turns_stays_when_messages_are_written_one_by_one() -> None:
    pieces = assistant_pieces(AssistantMessage(reasoning="why", text="done"))
    assert pieces_text(pieces) == "<|assistant|>\n<think>why</think>\ndone"


def test_a_rejected_call_is_written_as_the_text_that_it_was_and_in_its_place() -> None:
    bad = RejectedCall(id="1", reason="malformed", raw="<tool_call>Now</arg_value>", before=1)
    call = ToolCall(id="0", name="Now", arguments={})
    pieces = assistant_pieces(AssistantMessage(calls=(call,), rejected=(bad,)))
    assert pieces_text(pieces) == (
        "<|assistant|>\n<think></think>\n<tool_call>Now\n</tool_call>\n<tool_call>Now</arg_value>"
    )
    assert pieces.count(Control("</arg_value>")) == 0


def test_tool_results_of_one_run_stand_under_one_observation() -> None:
    one, two = (ToolMessage(call_id=str(n), name="Now", text=f"r{n}") for n in (1, 2))
    together = tool_run_pieces([one, two])
    assert together == [*tool_run_pieces([one]), *tool_run_pieces([two], opened=True)]
    assert together.count(Control("<|observation|>")) == 1
    assert tool_run_pieces([]) == []


def test_thinking_off_marks_the_user_message_once_even_where_it_was_typed() -> None:
    want = [Control("<|user|>"), Text("\ngo"), Control("/nothink")]
    assert user_pieces(UserMessage(text="go"), thinking=False) == want
    assert user_pieces(UserMessage(text="go/nothink"), thinking=False) == want
    typed = user_pieces(UserMessage(text="go/nothink"))
    assert typed == [Control("<|user|>"), Text("\ngo/nothink")]
    assert pieces_text(generation_pieces(thinking=False)) == "<|assistant|>\n<think></think>"


TAG_TEXT = st.lists(st.one_of(st.sampled_from(CONTROL_NAMES), st.text(max_size=4)), max_size=5).map(
    "".join
)


@settings(max_examples=150)
@given(system=TAG_TEXT, user=TAG_TEXT, result=TAG_TEXT, argument=TAG_TEXT, reply=TAG_TEXT)
def test_whatever_contents_hold_the_controls_of_a_prompt_are_the_same(
    system: str, user: str, result: str, argument: str, reply: str
) -> None:
    def controls(*texts: str) -> list[str]:
        call = openai_call("Read", {"file_path": texts[3]})
        pieces = render(
            [
                {"role": "system", "content": texts[0]},
                {"role": "user", "content": texts[1]},
                {"role": "tool", "content": texts[2]},
                {
                    "role": "assistant",
                    "content": texts[4],
                    "reasoning_content": "r",
                    "tool_calls": [call],
                },
            ],
            [READ.function()],
        )
        return [piece.name for piece in pieces if isinstance(piece, Control)]

    assert controls(system, user, result, argument, reply) == controls(*"abcde")


def test_content_that_is_null_or_absent_is_empty_and_never_the_word_none() -> None:
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": None},
        {"role": "assistant", "content": None, "tool_calls": [openai_call("Now", None)]},
        {"role": "tool", "content": None},
        {"role": "assistant", "tool_calls": None},
    ]
    assert rendered(messages) == (
        "[gMASK]<sop><|user|>\n<|assistant|>\n<think></think>\n<tool_call>Now\n</tool_call>"
        "<|observation|>\n<tool_response>\n\n</tool_response><|assistant|>\n<think></think>"
    )


def test_arguments_may_be_a_json_object_in_a_string() -> None:
    def text(arguments: Any) -> str:
        return rendered([{"role": "assistant", "tool_calls": [openai_call("Read", arguments)]}])

    assert text('{"file_path": "a", "n": [1,2]}') == text({"file_path": "a", "n": [1, 2]})
    assert "<arg_value>[1, 2]</arg_value>" in text('{"n": [1,2]}')


@pytest.mark.parametrize("arguments", ["{", "[1]", [1], "3", 3, "[" * 100_000])
def test_arguments_that_are_no_object_are_said_with_their_place(arguments: Any) -> None:
    call = openai_call("Read", arguments)
    with pytest.raises(TemplateError, match=r"messages\[1\]\.tool_calls\[0\]"):
        render([{"role": "user"}, {"role": "assistant", "tool_calls": [call]}])


def test_a_call_without_the_function_wrapper_counts_and_anything_else_is_said() -> None:
    flat = [{"role": "assistant", "tool_calls": [{"name": "Now", "arguments": {}}]}]
    assert "<tool_call>Now\n</tool_call>" in rendered(flat)
    with pytest.raises(TemplateError, match="not an object"):
        render([{"role": "assistant", "tool_calls": ["Now"]}])


def test_reasoning_is_read_under_both_of_its_names() -> None:
    for name in ("reasoning_content", "reasoning"):
        assert "<think>why</think>" in rendered([{"role": "assistant", name: "why"}])
    both = {"role": "assistant", "reasoning_content": "one", "reasoning": "two"}
    assert "<think>one</think>" in rendered([both])


def test_reasoning_given_apart_leaves_tags_in_the_content_alone() -> None:
    message = {"role": "assistant", "content": "a</think>b", "reasoning_content": ""}
    assert rendered([message]).endswith("<think></think>\na</think>b")


def test_list_content_is_its_text_parts_and_a_list_of_tool_results_is_each_of_them() -> None:
    parts = [{"type": "text", "text": "a"}, "b", {"type": "image_url"}, 3]
    assert rendered([{"role": "user", "content": parts}]).endswith("<|user|>\nab")
    results = [{"output": "one"}, "two"]
    assert rendered([{"role": "tool", "content": results}]).endswith(
        "<|observation|>\n<tool_response>\none\n</tool_response>"
        "\n<tool_response>\ntwo\n</tool_response>"
    )


def test_a_role_that_the_template_does_not_know_is_left_out() -> None:
    assert rendered([{"role": "developer", "content": "x"}]) == "[gMASK]<sop>"
