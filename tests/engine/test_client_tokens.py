from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from glmcode.core.messages import AssistantMessage, ToolMessage, UserMessage
from glmcode.core.transcript import Transcript
from glmcode.glm.pieces import text_pieces
from glmcode.glm.prompt import TokenPrompt
from glmcode.glm.tokenizer import GlmTokenizer
from tests.engine.client_kit import (
    TOKENIZER,
    Asked,
    ask_once,
    converse,
    new_transcript,
    tokens,
)
from tests.fake_engine import FakeEngine, Reply

READ = {"name": "Read", "arguments": {"file_path": "src/ä.py", "limit": 3}}
WRITE = {"name": "Write", "arguments": {"file_path": "b", "content": "x\n\t☃ 😀"}}
GLM = GlmTokenizer.load(TOKENIZER)


def raw(text: str) -> list[int]:
    """The ids of text whose spelled tags are controls."""
    return GLM.encode(text_pieces(text, GLM.control_names))


def engine_for(script: Sequence[Reply], **fields: Any) -> FakeEngine:
    return FakeEngine(script, tokenizer=TOKENIZER, **fields)


def once(*script: Reply, window: int = 16_384, **fields: Any) -> Asked:
    with engine_for(script, window=window) as engine:
        return ask_once(tokens(engine, **fields))


def prompt_of(body: dict[str, Any]) -> list[int]:
    return body.get("token_ids") or body["prompt"]


def test_our_own_engine_is_asked_nothing_before_the_first_generation(tmp_path: Path) -> None:
    with engine_for([Reply(text="hi")], socket=tmp_path / "s") as engine:
        assert ask_once(tokens(engine)).reply.text == "hi"
        assert [seen.path for seen in engine.requests] == ["/inference/v1/generate"]


def test_every_sampling_value_the_limit_and_the_stops_are_always_sent() -> None:
    with engine_for([Reply(text="hi")]) as engine:
        ask_once(tokens(engine, sampling={"temperature": 0.0}))
        body = engine.steps[0].json
    sampling = body["sampling_params"]
    assert {k: sampling[k] for k in ("temperature", "top_p", "top_k", "min_p")} == {
        "temperature": 0.0,
        "top_p": 0.95,
        "top_k": 40,
        "min_p": 0.0,
    }
    assert sampling["repetition_penalty"] == 1.0
    assert sampling["max_tokens"] == 16_384 - len(body["token_ids"])
    assert set(sampling["stop_token_ids"]) == set(GLM.stop_ids)
    assert body["stream"] is True and body["output_mode"] == "tokens"


def test_the_step_cap_bounds_what_may_be_generated() -> None:
    with engine_for([Reply(text="hi")]) as engine:
        ask_once(tokens(engine, step_cap=500))
        assert engine.steps[0].json["sampling_params"]["max_tokens"] == 500


@pytest.mark.parametrize("missing", [403, 404, 405, 501])
def test_without_the_generate_route_completions_serves_and_is_remembered(missing: int) -> None:
    script = [Reply(status=missing), Reply(text="a", calls=[READ]), Reply(text="b")]
    with engine_for(script) as engine:
        _, seen, _ = converse(tokens(engine), 2)
        paths = [step.path for step in engine.steps]
        body = engine.steps[1].json
    assert paths == ["/inference/v1/generate", "/v1/completions", "/v1/completions"]
    assert [asked.reply.text for asked in seen] == ["a", "b"]
    assert body["return_token_ids"] is True
    assert body["skip_special_tokens"] is False
    assert body["max_tokens"] == 16_384 - len(body["prompt"])
    assert body["top_k"] == 40
    assert seen[0].retries == 0


def test_a_server_that_gives_no_ids_is_named() -> None:
    events = [{"choices": [{"text": "hello", "finish_reason": None}]}]
    with engine_for([Reply(events=events)], routes=("completions",)) as engine:
        asked = ask_once(tokens(engine))
    assert asked.fault.kind == "failed"
    assert "--protocol chat" in str(asked.fault)


@pytest.mark.parametrize("ids", [["a"], [1.5], [None], [[1]], [True]])
def test_ids_that_are_no_numbers_are_an_error(ids: list[Any]) -> None:
    choice = {"index": 0, "token_ids": ids, "finish_reason": "stop"}
    asked = once(Reply(events=[{"choices": [choice]}]))
    assert asked.fault.kind == "failed"
    assert "no numbers" in str(asked.fault)


@pytest.mark.parametrize("wrong", [-1, 2**31, 10**30])
def test_an_id_that_no_model_has_is_an_error_and_never_a_part_of_the_next_prompt(
    wrong: int,
) -> None:
    chunk = {"choices": [{"index": 0, "token_ids": [wrong], "finish_reason": "stop"}]}
    asked = once(Reply(events=[chunk]))
    assert "token ids that no model has" in str(asked.fault)


def test_an_unknown_model_is_not_asked_for_on_the_other_route() -> None:
    body = '{"error":{"message":"The model `glm` does not exist.","code":404}}'
    with engine_for([Reply(status=404, body=body)]) as engine:
        asked = ask_once(tokens(engine))
        assert len(engine.steps) == 1
    assert "does not exist" in str(asked.fault)


def test_each_prompt_begins_with_the_prompt_before_and_what_was_kept() -> None:
    script = [
        Reply(text="let me see", reasoning="hm", calls=[READ, WRITE]),
        Reply(calls=[READ]),
        Reply(text="done", reasoning="ok ☃"),
        Reply(text="bye", reasoning="x"),
    ]
    with engine_for(script) as engine:
        transcript, seen, client = converse(tokens(engine), 4)
        prompts = [prompt_of(step.json) for step in engine.steps]
    for number, asked in enumerate(seen[:-1]):
        ids = asked.reply.token_ids
        assert ids is not None
        assert not set(ids) & set(GLM.stop_ids)
        grown = [*prompts[number], *ids]
        assert prompts[number + 1][: len(grown)] == grown
    assert client.prompt_tokens(transcript) > len(prompts[-1])


def test_a_resumed_conversation_gives_the_same_prompt() -> None:
    with engine_for([Reply(calls=[READ]), Reply(text="done"), Reply(text="x")]) as engine:
        transcript, _, _ = converse(tokens(engine), 2)
        again = new_transcript(*transcript.messages)
        ask_once(tokens(engine), again)
        resumed = prompt_of(engine.steps[2].json)
    prompt = TokenPrompt(GLM, transcript.preamble)
    prompt.extend(transcript.messages)
    assert resumed == prompt.request_ids()


def test_counts_are_exact() -> None:
    with engine_for(
        [Reply(text="hi", usage={"prompt_tokens_details": {"cached_tokens": 32}})]
    ) as e:
        transcript, seen, client = converse(tokens(e), 1)
        sent = len(prompt_of(e.steps[0].json))
    usage = seen[0].reply.usage
    assert (usage.prompt_tokens, usage.cached_tokens) == (sent, 32)
    assert usage.output_tokens == len(seen[0].reply.token_ids or ()) + 1
    prompt = TokenPrompt(GLM, transcript.preamble)
    prompt.extend(transcript.messages)
    assert client.prompt_tokens(transcript) == prompt.request_count


def test_absent_cached_tokens_count_as_none() -> None:
    assert once(Reply(text="hi")).reply.usage.cached_tokens == 0


@pytest.mark.parametrize("chunk", [1, 3, 1000])
def test_a_reply_is_read_whatever_the_chunks(chunk: int) -> None:
    reply = Reply(text="Hello ☃ 😀", reasoning="hm é", calls=[READ, WRITE], chunk=chunk)
    asked = once(reply)
    assert asked.reply.text == "Hello ☃ 😀"
    assert asked.reply.reasoning == "hm é"
    assert [(c.id, c.name, dict(c.arguments)) for c in asked.reply.calls] == [
        ("call_1_1", "Read", READ["arguments"]),
        ("call_1_2", "Write", WRITE["arguments"]),
    ]
    assert asked.reply.stop == "calls"
    assert asked.shown("text").strip() == "Hello ☃ 😀"
    assert asked.shown("reasoning") == "hm é"
    assert "x\n\t☃ 😀" in asked.shown("call")


def test_call_ids_count_the_replies_of_the_session() -> None:
    with engine_for([Reply(text="a"), Reply(calls=[READ, READ])]) as engine:
        _, seen, _ = converse(tokens(engine), 2)
    assert seen[1].reply.call_ids() == ("call_2_1", "call_2_2")


def test_a_character_over_three_tokens_is_shown_once_it_is_whole() -> None:
    ids = [*raw("\n<think></think>\n"), *(GLM.encode_text("☃"))]
    assert len(GLM.encode_text("☃")) == 3
    asked = once(Reply(ids=ids, chunk=1))
    assert asked.shown("text") == "☃" == asked.reply.text
    assert all("\ufffd" not in getattr(event, "text", "") for event in asked.events)


def test_invalid_utf8_in_a_call_is_malformed_and_in_text_is_marked() -> None:
    half = GLM.encode_text("☃")[:2]
    call = [*raw("<tool_call>Write\n<arg_key>file_path</arg_key>\n<arg_value>"), *half]
    call += raw("</arg_value>\n</tool_call>")
    asked = once(Reply(ids=[*raw("\n<think></think>\n"), *half, *raw(" x\n"), *call]))
    assert asked.reply.calls == ()
    assert [r.reason for r in asked.reply.rejected] == ["malformed"]
    assert "\ufffd" in asked.reply.text


def test_the_stop_is_read_from_the_reason_or_from_the_last_id() -> None:
    ids = raw("\n<think></think>\n<tool_call>Glob\n</tool_call>")
    observation = GLM.control_id("<|observation|>")
    assert observation is not None
    for reply in (
        Reply(ids=ids, stop=observation),
        Reply(ids=[*ids, observation]),
        Reply(ids=[*ids, observation], stop=observation),
    ):
        asked = once(reply)
        assert asked.reply.stop == "calls"
        assert asked.reply.token_ids == tuple(ids)


def test_a_stop_for_calls_without_a_call_is_told_apart() -> None:
    ids = raw("\n<think></think>\nI will look.")
    asked = once(Reply(ids=ids, stop=GLM.control_id("<|observation|>")))
    assert asked.reply.stop == "calls"
    assert asked.reply.call_ids() == ()


def test_a_full_window_is_refused_with_its_counts_before_anything_is_sent() -> None:
    with engine_for([Reply(text="hi")], window=1_000) as engine:
        asked = ask_once(tokens(engine))
        assert not engine.requests or engine.requests[0].path == "/tokenize"
    assert asked.fault.kind == "context_full"
    assert "1,000" in str(asked.fault)
    assert any(char.isdigit() for char in str(asked.fault))


def test_a_reply_at_its_limit_goes_on_from_the_same_ids_at_most_twice() -> None:
    whole = raw("\n<think>hm</think>\nOne two three four five six seven eight nine ten")
    parts = [whole[:10], whole[10:20], whole[20:]]
    script = [
        Reply(ids=parts[0], finish="length"),
        Reply(ids=parts[1], finish="length"),
        Reply(ids=parts[2]),
    ]
    with engine_for(script) as engine:
        asked = ask_once(tokens(engine))
        prompts = [prompt_of(step.json) for step in engine.steps]
        limits = [step.json["sampling_params"]["max_tokens"] for step in engine.steps]
    assert asked.reply.token_ids == tuple(whole)
    assert asked.reply.text == "One two three four five six seven eight nine ten"
    assert asked.reply.text == asked.shown("text")
    assert asked.reply.stop == "end"
    assert prompts[2] == [*prompts[0], *parts[0], *parts[1]]
    assert limits[2] == limits[0] - 20
    assert asked.reply.usage.prompt_tokens == len(prompts[0])
    assert asked.reply.usage.output_tokens == len(whole)


def test_a_reply_that_never_ends_stops_for_length_after_going_on_twice() -> None:
    script = [Reply(ids=raw("\n<think></think>\none two "), finish="length")]
    script += [Reply(ids=raw(f"more{n} "), finish="length") for n in range(5)]
    with engine_for(script) as engine:
        asked = ask_once(tokens(engine))
        assert len(engine.steps) == 3
    assert asked.reply.stop == "length"


def test_a_call_cut_by_the_limit_is_truncated_and_not_gone_on_with() -> None:
    ids = raw("\n<think></think>\n<tool_call>Write\n<arg_key>file_path</arg_key>\n<arg_value>a/b")
    with engine_for([Reply(ids=ids, finish="length")]) as engine:
        asked = ask_once(tokens(engine))
        assert len(engine.steps) == 1
    assert asked.reply.calls == ()
    assert [r.reason for r in asked.reply.rejected] == ["truncated"]


def test_a_break_while_going_on_shows_the_kept_part_again() -> None:
    whole = raw("\n<think></think>\nOne two three four five six seven eight")
    script = [
        Reply(ids=whole[:12], finish="length"),
        Reply(ids=whole[12:], chunk=1, cut_after_events=2),
        Reply(ids=whole[12:]),
    ]
    asked = once(*script)
    assert asked.reply.token_ids == tuple(whole)
    assert asked.shown("text") == "One two three four five six seven eight"


@pytest.mark.parametrize("finish", ["abort", "error"])
def test_an_abort_by_the_engine_is_asked_for_again(finish: str) -> None:
    ids = raw("\n<think></think>\nhalf")
    with engine_for([Reply(ids=ids, finish=finish), Reply(text="whole")]) as engine:
        asked = ask_once(tokens(engine))
    assert asked.reply.text == "whole"
    assert asked.retries == 1


def test_a_repeating_answer_is_broken_off_and_cut_before_the_repetition() -> None:
    loop = raw("over and over, ")
    ids = [*raw("\n<think></think>\nSo: "), *loop * 400]
    with engine_for([Reply(ids=ids, chunk=4, gap=0.0005)]) as engine:
        asked = ask_once(tokens(engine))
        assert engine.steps[0].answered is None, "the stream was broken off"
    kept = asked.reply.token_ids
    assert kept is not None
    assert asked.reply.stop == "repetition"
    assert kept == tuple(ids[: len(kept)])
    assert len(kept) < len(ids) / 20
    assert asked.reply.text.startswith("So: over and over,")


def test_a_repetition_inside_reasoning_closes_the_reasoning() -> None:
    ids = [*raw("\n<think>"), *raw("hm, ") * 800]
    asked = once(Reply(ids=ids, chunk=50))
    assert asked.reply.stop == "repetition"
    assert asked.reply.token_ids is not None
    assert asked.reply.token_ids[-1] == GLM.control_id("</think>")
    assert asked.reply.text == ""


def test_the_engines_own_repetition_stop_is_understood() -> None:
    ids = raw("\n<think></think>\nbla bla bla")
    asked = once(Reply(ids=ids, finish="repetition", stop="repetition_detected"))
    assert asked.reply.stop == "repetition"
    assert asked.reply.text == "bla bla bla"


def test_a_file_of_rulers_and_zeros_is_no_repetition() -> None:
    content = ("=" * 78 + "\n") * 6 + ("| --- " * 20 + "|\n") * 4 + "0, " * 300
    call = {"name": "Write", "arguments": {"file_path": "a", "content": content}}
    asked = once(Reply(text="| --- " * 30, calls=[call], chunk=200))
    assert asked.reply.stop == "calls"
    assert asked.reply.calls[0].arguments["content"] == content


def test_messages_from_a_chat_server_are_rendered() -> None:
    old = AssistantMessage(text="I am", reasoning="why", reasoning_field="reasoning")
    with engine_for([Reply(text="hi")]) as engine:
        ask_once(tokens(engine), new_transcript(UserMessage(text="x"), old, UserMessage(text="y")))
        ids = prompt_of(engine.steps[0].json)
    shown = b"".join(p if isinstance(p, bytes) else p.name.encode() for p in GLM.pieces(ids))
    assert b"<|assistant|>\n<think>why</think>\nI am<|user|>\ny<|assistant|>" in shown


def test_a_step_costs_the_same_late_as_early() -> None:
    # What is encoded is counted, not timed: each message exactly once.
    encoded: list[str] = []
    original = GlmTokenizer.encode_text

    def counting(self: GlmTokenizer, text: str) -> list[int]:
        encoded.append(text)
        return original(self, text)

    with pytest.MonkeyPatch.context() as patch, engine_for([Reply(calls=[READ])] * 6) as engine:
        patch.setattr(GlmTokenizer, "encode_text", counting)
        transcript, _, _ = converse(tokens(engine), 6, answer=lambda call_id: f"R-{call_id}-R")
    results = [m for m in transcript.messages if isinstance(m, ToolMessage)][:-1]
    assert len(results) == 5
    for result in results:
        assert sum(result.text in text for text in encoded) == 1


def filled(tokens_wanted: int) -> Transcript:
    """A transcript whose next prompt has exactly so many tokens."""
    transcript = new_transcript(UserMessage(text="hello"))
    prompt = TokenPrompt(GLM, transcript.preamble)
    prompt.extend(transcript.messages)
    prompt.extend([AssistantMessage(token_ids=()), UserMessage(text="go on")])
    left = tokens_wanted - prompt.request_count
    transcript.append(AssistantMessage(token_ids=(300,) * left))
    transcript.append(UserMessage(text="go on"))
    return transcript


def test_the_last_token_of_the_card_s_window_is_used_and_one_more_is_refused() -> None:
    with engine_for([Reply(text="hi")], window=202_752) as engine:
        fits = ask_once(tokens(engine), filled(202_751))
        (step,) = engine.steps
        assert len(step.json["token_ids"]) + step.json["sampling_params"]["max_tokens"] == 202_752
        over = ask_once(tokens(engine), filled(202_752))
        assert len(engine.steps) == 1
    assert fits.reply.usage.prompt_tokens == 202_751 and fits.reply.stop == "length"
    assert over.fault.kind == "context_full"
    assert "holds 202,752 tokens and the window 202,752" in str(over.fault)
