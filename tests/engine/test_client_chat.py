from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from glmcode.core.messages import (
    AssistantMessage,
    RejectedCall,
    ToolCall,
    ToolMessage,
    UserMessage,
    message_from_json,
    message_to_json,
)
from glmcode.engine.chat_messages import ChatMessages, join_think, split_think
from tests.engine.client_kit import Asked, ask_once, chat, converse, new_transcript
from tests.fake_engine import FakeEngine, Reply

READ = {"name": "Read", "arguments": {"file_path": "src/ä.py", "limit": 3}}
WRITE = {"name": "Write", "arguments": {"file_path": "b", "content": 'x = "\\n"\n\t☃'}}


def once(*script: Reply, **fields: Any) -> Asked:
    with FakeEngine(script) as engine:
        return ask_once(chat(engine, **fields))


def streamed(*deltas: dict[str, Any], finish: str | None = "tool_calls") -> Reply:
    """A stream of exactly these deltas."""
    events = [{"choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    if finish is not None:
        events.append({"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
    return Reply(events=events)


def piece(**fields: Any) -> dict[str, Any]:
    """A delta with one entry of tool_calls; name and arguments go into `function`."""
    function = {key: fields.pop(key) for key in ("name", "arguments") if key in fields}
    return {"tool_calls": [{**fields, "function": function}]}


def made(asked: Asked) -> list[tuple[str, dict[str, Any]]]:
    return [(call.name, dict(call.arguments)) for call in asked.reply.calls]


# What is asked


def test_the_first_request_is_the_completion_itself() -> None:
    with FakeEngine([Reply(text="hi")]) as engine:
        ask_once(chat(engine))
        assert [seen.path for seen in engine.requests] == ["/v1/chat/completions"]


def test_a_request_holds_model_stream_tools_and_messages_and_no_value_nobody_set() -> None:
    with FakeEngine([Reply(text="hi")]) as engine:
        ask_once(chat(engine))
        body = engine.steps[0].json
    assert set(body) == {"model", "stream", "stream_options", "tools", "messages"}
    assert body["stream_options"] == {"include_usage": True}
    assert [tool["function"]["name"] for tool in body["tools"]][:2] == ["Read", "Write"]
    assert [message["role"] for message in body["messages"]] == ["system", "user"]


def test_sampling_values_that_are_set_are_sent() -> None:
    with FakeEngine([Reply(text="hi")]) as engine:
        ask_once(chat(engine, sampling={"temperature": 0.5, "top_k": 40}))
        assert engine.steps[0].json["temperature"] == 0.5
        assert engine.steps[0].json["top_k"] == 40


def test_the_body_grows_by_appending_bytes() -> None:
    script = [
        Reply(text="let me see", reasoning="hm", calls=[READ, WRITE]),
        Reply(text="", calls=[READ]),
        Reply(text="done", reasoning="ok"),
        Reply(text="bye"),
    ]
    with FakeEngine(script) as engine:
        converse(chat(engine), 4)
        bodies = [seen.body for seen in engine.steps]
    for before, after in itertools.pairwise(bodies):
        assert before.endswith(b"]}")
        assert after.startswith(before[:-2])


def test_calls_go_back_as_they_came_and_results_under_their_ids() -> None:
    call = {**READ, "id": "srv-77"}
    with FakeEngine([Reply(calls=[call]), Reply(text="ok")]) as engine:
        converse(chat(engine), 2, answer=lambda call_id: "RESULT")
        assistant, result = engine.steps[1].json["messages"][2:]
    assert assistant["tool_calls"][0]["id"] == "srv-77"
    assert json.loads(assistant["tool_calls"][0]["function"]["arguments"]) == READ["arguments"]
    assert result == {"role": "tool", "tool_call_id": "srv-77", "content": "RESULT"}


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_reasoning_goes_back_under_the_name_it_came_with(name: str) -> None:
    script = [Reply(text="a", reasoning="because é", reasoning_field=name), Reply(text="b")]
    with FakeEngine(script) as engine:
        _, seen, _ = converse(chat(engine), 2)
        assert engine.steps[1].json["messages"][2][name] == "because é"
    assert seen[0].reply.reasoning == "because é"
    assert seen[0].shown("reasoning") == "because é"


def test_a_resumed_conversation_sends_the_same_bytes() -> None:
    messages = [
        UserMessage(text="hi\ud83d"),
        AssistantMessage(
            text="t",
            reasoning="r",
            reasoning_field="reasoning",
            calls=(ToolCall(id="a", name="Read", arguments={"file_path": "x", "limit": 2}),),
            rejected=(RejectedCall(id="b", reason="malformed", raw="{", name="Edit", before=0),),
        ),
        ToolMessage(call_id="b", name="Edit", text="not run"),
        ToolMessage(call_id="a", name="Read", text="1\tx"),
    ]
    first, second = (ChatMessages(new_transcript().preamble) for _ in range(2))
    first.extend(messages)
    for message in messages:
        second.extend([message_from_json(json.loads(json.dumps(message_to_json(message))))])
    assert first.body({"model": "m"}) == second.body({"model": "m"})
    sent = json.loads(first.body({"model": "m"}))["messages"]
    assert sent[1]["content"] == "hi\ufffd"
    assert [c["id"] for c in sent[2]["tool_calls"]] == ["b", "a"]
    assert sent[2]["tool_calls"][0]["function"] == {"name": "Edit", "arguments": "{}"}


def test_chat_works_over_a_unix_socket_too(tmp_path: Path) -> None:
    with FakeEngine([Reply(text="hi")], socket=tmp_path / "s") as engine:
        assert ask_once(chat(engine)).reply.text == "hi"


# What comes back


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
def test_an_answer_is_read_streamed_or_whole_in_any_framing(whole: bool, framing: str) -> None:
    reply = Reply(text="Hello ☃", reasoning="hm", calls=[READ, WRITE], whole=whole, framing=framing)
    asked = once(reply)
    assert asked.reply.text == "Hello ☃"
    assert asked.reply.reasoning == "hm"
    assert made(asked) == [("Read", READ["arguments"]), ("Write", WRITE["arguments"])]
    assert asked.reply.stop == "calls"
    assert asked.reply.call_ids() == ("tc_0", "tc_1")
    assert asked.shown("text") == "Hello ☃"
    assert json.loads(asked.shown("call").partition("}")[0] + "}") == READ["arguments"]


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("split", [0, 1, 7])
def test_lines_may_end_and_break_anywhere(newline: str, split: int) -> None:
    asked = once(Reply(text="ünï ☃ 😀", calls=[WRITE], newline=newline, split=split))
    assert asked.reply.text == "ünï ☃ 😀"
    assert made(asked) == [("Write", WRITE["arguments"])]


def test_usage_is_taken_from_the_last_chunk_with_cached_tokens() -> None:
    details = {"prompt_tokens_details": {"cached_tokens": 64}}
    usage = {"prompt_tokens": 100, "completion_tokens": 7, **details}
    asked = once(Reply(text="hi", usage=usage))
    assert asked.reply.usage.prompt_tokens == 100
    assert asked.reply.usage.cached_tokens == 64
    assert asked.reply.usage.output_tokens == 7


def test_missing_usage_is_no_fault_and_the_prompt_is_estimated() -> None:
    with FakeEngine([streamed({"content": "hi"}, finish="stop")]) as engine:
        transcript, seen, client = converse(chat(engine), 1)
    assert seen[0].reply.usage.prompt_tokens == 0
    assert 500 < client.prompt_tokens(transcript) < 5000


def test_counts_that_are_none_count_as_nothing() -> None:
    usage = {"prompt_tokens": -5, "completion_tokens": 10**30}
    asked = once(Reply(text="hi", usage={**usage, "prompt_tokens_details": {"cached_tokens": -9}}))
    counts = asked.reply.usage
    assert (counts.prompt_tokens, counts.cached_tokens, counts.output_tokens) == (0, 0, 0)


def test_no_more_tokens_are_cached_than_the_prompt_has() -> None:
    usage = {"prompt_tokens": 100, "prompt_tokens_details": {"cached_tokens": 9_999}}
    assert once(Reply(text="hi", usage=usage)).reply.usage.cached_tokens == 100


def test_the_prompt_is_counted_from_the_servers_usage_and_what_came_since() -> None:
    usage = {"prompt_tokens": 50_000, "completion_tokens": 10}
    with FakeEngine([Reply(calls=[READ], usage=usage)]) as engine:
        transcript, _, client = converse(chat(engine), 1, answer=lambda call_id: "x" * 3500)
    assert 50_900 < client.prompt_tokens(transcript) < 51_300


@pytest.mark.parametrize(
    "end",
    [
        "",
        "data: [DONE]",
        "data: [DONE]\n\n",
        "data:[DONE]\n\n",
        ": bye\n\n",
        'data: {"choices":[],"usage":{}}\n\n',
    ],
)
def test_a_stream_may_end_without_done(end: str) -> None:
    chunk = {"choices": [{"index": 0, "delta": {"content": "hi"}, "finish_reason": "stop"}]}
    assert once(Reply(raw=f"data: {json.dumps(chunk)}\n\n{end}")).reply.text == "hi"


def test_comments_blank_lines_a_mark_and_other_fields_are_passed_over() -> None:
    raw = (
        "\ufeff: ping\n\n\nid: 7\nevent: chunk\nretry: 10\n"
        'data:{"choices":[{"delta":{"content":"a"}}]}\n\n: keep-alive\n\n'
        'data: {"choices":\ndata: [{"delta":{"content":"b"},\ndata: "finish_reason":"stop"}]}\n\n'
    )
    assert once(Reply(raw=raw)).reply.text == "ab"


def test_a_server_that_leaves_out_blank_lines_is_understood() -> None:
    raw = (
        'data: {"choices":[{"delta":{"content":"a"}}]}\n'
        'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\ndata: [DONE]\n'
    )
    assert once(Reply(raw=raw)).reply.text == "a"


def test_a_stream_that_is_held_open_after_its_end_does_not_hold_us(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from glmcode.engine import exchange

    monkeypatch.setattr(exchange, "LINGER_S", 0.3)
    asked = once(Reply(text="hi", no_done=True, hang_after_events=3))
    assert asked.reply.text == "hi"
    assert asked.seconds < 60


def test_content_may_come_in_parts_and_as_a_refusal() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}, {"type": "image"}]
    asked = once(streamed({"content": parts}, {"refusal": " no"}, finish="stop"))
    assert asked.reply.text == "ab no"


def test_other_choices_than_the_first_are_left_aside() -> None:
    events = [
        {"choices": [{"index": 1, "delta": {"content": "no"}, "finish_reason": "stop"}]},
        {"choices": [{"index": 0, "delta": {"content": "yes"}, "finish_reason": "stop"}]},
    ]
    assert once(Reply(events=events)).reply.text == "yes"


@pytest.mark.parametrize(
    ("finish", "stop"),
    [("stop", "end"), ("end_turn", "end"), ("tool_calls", "calls"), ("length", "length")],
)
def test_finish_reasons_have_one_meaning_each(finish: str, stop: str) -> None:
    assert once(Reply(text="hi", finish=finish)).reply.stop == stop


def test_a_message_with_calls_stops_for_calls_whatever_the_reason_says() -> None:
    assert once(Reply(calls=[READ], finish="stop")).reply.stop == "calls"


def test_an_empty_finish_reason_is_none_yet() -> None:
    events = [
        {"choices": [{"delta": {"content": "a"}, "finish_reason": ""}]},
        {"choices": [{"delta": {"content": "b"}, "finish_reason": "stop"}]},
    ]
    assert once(Reply(events=events)).reply.text == "ab"


def test_a_content_filter_is_an_error_that_keeps_what_was_said() -> None:
    asked = once(Reply(text="half", finish="content_filter"))
    assert asked.fault.kind == "failed"
    assert "content filter" in str(asked.fault)
    assert [message.text for message in asked.kept] == ["half"]


@pytest.mark.parametrize("finish", ["error", "abort"])
def test_a_reply_that_the_server_aborted_is_asked_for_again(finish: str) -> None:
    with FakeEngine([Reply(text="x", finish=finish), Reply(text="whole")]) as engine:
        asked = ask_once(chat(engine))
    assert asked.reply.text == "whole"
    assert asked.retries == 1


# Calls as servers write them


def test_a_whole_call_in_one_chunk_without_an_index() -> None:
    asked = once(streamed(piece(id="a", name="Read", arguments='{"file_path":"x"}')))
    assert made(asked) == [("Read", {"file_path": "x"})]


def test_several_whole_calls_without_index_or_id() -> None:
    asked = once(
        streamed(
            piece(name="Read", arguments='{"file_path":"x"}'),
            piece(name="Read", arguments='{"file_path":"y"}'),
        )
    )
    assert made(asked) == [("Read", {"file_path": "x"}), ("Read", {"file_path": "y"})]
    assert asked.reply.call_ids() == ("call_1_1", "call_1_2")


def test_several_calls_that_all_have_index_zero() -> None:
    asked = once(
        streamed(
            piece(index=0, id="a", name="Read", arguments='{"file_path":"x"}'),
            piece(index=0, id="b", name="Write", arguments='{"file_path":"y"}'),
        )
    )
    assert made(asked) == [("Read", {"file_path": "x"}), ("Write", {"file_path": "y"})]


def test_two_calls_in_one_entry_list_grow_side_by_side() -> None:
    def grow(first: str, second: str) -> dict[str, Any]:
        return {
            "tool_calls": [
                {"index": 0, "function": {"arguments": first}},
                {"index": 1, "function": {"arguments": second}},
            ]
        }

    asked = once(
        streamed(
            piece(index=0, id="a", name="Read"),
            piece(index=1, id="b", name="Glob"),
            grow('{"file_path"', '{"pattern"'),
            grow(':"x"}', ':"*"}'),
        )
    )
    assert made(asked) == [("Read", {"file_path": "x"}), ("Glob", {"pattern": "*"})]


def test_arguments_as_an_object() -> None:
    asked = once(streamed(piece(index=0, id="a", name="Read", arguments={"file_path": "x"})))
    assert made(asked) == [("Read", {"file_path": "x"})]


@pytest.mark.parametrize("names", [["Rea", "d"], ["Read", "Read", "Read"], ["", "Read", ""]])
def test_a_name_in_pieces_or_repeated(names: list[str]) -> None:
    parts = ['{"file_', 'path":', '"x"}']
    parts = [*parts[: len(names) - 1], "".join(parts[len(names) - 1 :])]
    asked = once(
        streamed(
            *(
                piece(index=0, id="a", name=name, arguments=part)
                for name, part in zip(names, parts, strict=True)
            )
        )
    )
    assert made(asked) == [("Read", {"file_path": "x"})]


@pytest.mark.parametrize("arguments", ["", " ", "{}", None])
def test_a_call_without_arguments(arguments: str | None) -> None:
    asked = once(streamed(piece(index=0, id="a", name="TodoWrite", arguments=arguments)))
    assert made(asked) == [("TodoWrite", {})]


def test_the_legacy_function_call() -> None:
    asked = once(
        streamed(
            {"function_call": {"name": "Read", "arguments": '{"file_'}},
            {"function_call": {"arguments": 'path":"x"}'}},
            finish="function_call",
        )
    )
    assert made(asked) == [("Read", {"file_path": "x"})]
    assert asked.reply.call_ids() == ("call_1_1",)


def test_a_repeated_id_within_a_message_is_given_once() -> None:
    calls = [{**READ, "id": "same"}, {**READ, "id": "same"}, {**READ, "id": ""}]
    with FakeEngine([Reply(calls=calls), Reply(text="ok")]) as engine:
        converse(chat(engine), 2)
        messages = engine.steps[1].json["messages"]
    ids = [call["id"] for call in messages[2]["tool_calls"]]
    assert ids[0] == "same"
    assert len(set(ids)) == 3
    assert [message["tool_call_id"] for message in messages[3:6]] == ids


def test_an_id_used_again_in_a_later_message_goes_back_unchanged() -> None:
    script = [Reply(calls=[{**READ, "id": "call_0"}]) for _ in range(3)]
    with FakeEngine(script) as engine:
        transcript, _, _ = converse(chat(engine), 3)
    assert [m.call_id for m in transcript.messages if isinstance(m, ToolMessage)] == ["call_0"] * 3


@pytest.mark.parametrize(
    "arguments",
    [
        '{"file_path": "x"',
        '{"file_path": "x"} trailing',
        '{"a": 1}{"a": 1}',
        "[1]",
        '"text"',
        "7",
        "null",
        "{'file_path': 'x'}",
        '{"n": NaN}',
        '{"content": "half \\ud83d"}',
        '{"file_path": "x", "file_path": "y"}',
        '{"a": [{"b": 1, "b": 2}]}',
        '{"n": 1e999}',
        '{"a": ' + "[" * 960 + "]" * 960 + "}",
    ],
)
def test_arguments_that_are_no_object_are_rejected_and_answered(arguments: str) -> None:
    first = streamed(piece(index=0, id="a", name="Read", arguments=arguments))
    with FakeEngine([first, Reply(text="ok")]) as engine:
        _, seen, _ = converse(chat(engine), 2)
        sent = engine.steps[1].json["messages"]
    message = seen[0].reply
    assert message.calls == ()
    assert [(r.id, r.reason, r.name) for r in message.rejected] == [("a", "malformed", "Read")]
    assert sent[2]["tool_calls"][0]["function"] == {"name": "Read", "arguments": "{}"}
    assert sent[3]["tool_call_id"] == "a"


def test_a_call_without_a_name_is_rejected() -> None:
    asked = once(streamed(piece(index=0, id="a", arguments="{}")))
    assert [r.reason for r in asked.reply.rejected] == ["malformed"]


def test_bytes_that_are_not_utf8_never_reach_a_call() -> None:
    chunk = json.dumps(
        {"choices": [{"delta": piece(index=0, id="a", name="Write", arguments="@")}]}
    )
    bad = b'{\\"content\\": \\"\xff\xfe\\"}'
    raw = b"data: " + chunk.encode().replace(b"@", bad) + b"\n\n"
    raw += b'data: {"choices":[{"delta":{"content":"t\xff"},"finish_reason":"tool_calls"}]}\n\n'
    asked = once(Reply(raw=raw))
    assert asked.reply.calls == ()
    assert [r.reason for r in asked.reply.rejected] == ["malformed"]
    assert asked.reply.text == "t\ufffd"
    json.dumps(message_to_json(asked.reply), ensure_ascii=False).encode()


def test_characters_cut_in_two_by_the_server_are_joined() -> None:
    halves = [b"\xe2", b"\x98\x83 ", b"\\ud83d", b"\\ude00!"]
    raw = b"".join(b'data: {"choices":[{"delta":{"content":"%s"}}]}\n\n' % half for half in halves)
    raw += b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n'
    asked = once(Reply(raw=raw))
    assert asked.reply.text == "☃ 😀!" == asked.shown("text")


def test_a_call_cut_by_the_length_limit_is_never_run_even_if_it_looks_whole() -> None:
    asked = once(
        streamed(
            piece(index=0, id="a", name="Read", arguments='{"file_path":"x"}'),
            piece(index=1, id="b", name="Write", arguments='{"file_path":"y"}'),
            finish="length",
        )
    )
    assert made(asked) == [("Read", {"file_path": "x"})]
    assert [(r.id, r.reason, r.before) for r in asked.reply.rejected] == [("b", "truncated", 1)]
    assert asked.reply.stop == "length"


# Reasoning in the content


def test_a_leading_think_block_is_shown_as_reasoning_and_goes_back_as_it_was() -> None:
    reply = Reply(text="\n\nThe answer.", reasoning="\nwhy\n", reasoning_field="content", chunk=3)
    with FakeEngine([reply, Reply(text="b")]) as engine:
        _, seen, _ = converse(chat(engine), 2)
        sent = engine.steps[1].json["messages"][2]
    assert seen[0].reply.reasoning == "\nwhy\n"
    assert seen[0].reply.text == "The answer."
    assert seen[0].shown("reasoning") == "\nwhy\n"
    assert seen[0].shown("text") == "The answer."
    assert sent == {"role": "assistant", "content": "<think>\nwhy\n</think>\n\nThe answer."}


@pytest.mark.parametrize(
    "content", ["a <think>b</think>", "<thin", "<", "", "x</think>y", "<thinking>x</thinking>"]
)
def test_other_think_tags_are_text(content: str) -> None:
    asked = once(streamed({"content": content}, finish="stop"))
    assert asked.reply.text == content == asked.shown("text")
    assert asked.reply.reasoning_field is None


@pytest.mark.parametrize(
    "content",
    ["<think>a</think>b", "\n<think>\na\n</think>\n\nb\n", "<think></think>", "<think>a</think>"],
)
def test_think_blocks_join_again_exactly(content: str) -> None:
    reasoning, text, field = split_think(content)
    assert field is not None
    assert join_think(reasoning, text, field) == content


def test_reasoning_that_was_never_closed_is_closed_when_it_goes_back() -> None:
    reasoning, text, field = split_think("<think>and then")
    assert (reasoning, text) == ("and then", "")
    assert join_think(reasoning, text, field or "") == "<think>and then</think>"


def test_an_answer_that_repeats_itself_is_stopped() -> None:
    with FakeEngine([Reply(text="over and over " * 2000, chunk=14, gap=0.0005)]) as engine:
        asked = ask_once(chat(engine))
        assert engine.steps[0].answered is None, "the stream was broken off"
    assert asked.reply.stop == "repetition"
