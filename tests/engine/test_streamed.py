from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from glmcode.engine.lane import RESUMES, new_lane
from glmcode.engine.streamed import ROUTE, Streamed, streamed, with_length
from glmcode.engine.wire import Head, parse_head
from glmcode.opening import _lane_headers

SAMPLING: dict[str, Any] = {"max_tokens": 10, "temperature": 0}
REQUEST: dict[str, Any] = {
    "request_id": "mine",
    "token_ids": [1, 2, 3],
    "sampling_params": SAMPLING,
    "stream": True,
    "stream_options": {"include_usage": True},
    "model": "m",
}


def head(path: str = ROUTE, *lines: str) -> Head:
    wanted = lines or ("Content-Length: 9",)
    return parse_head("\r\n".join([f"POST {path} HTTP/1.1", *wanted, "", ""]).encode())


def follow(sampling: dict[str, Any] | None = None, **more: Any) -> Streamed | None:
    value = {**REQUEST, "sampling_params": {**SAMPLING, **(sampling or {})}, **more}
    return streamed(head(), json.dumps(value).encode())


def event(ids: list[int], finish: str | None = None, name: str = "id-1", **more: Any) -> bytes:
    choice = {"index": 0, "token_ids": ids, "finish_reason": finish}
    value = {"request_id": name, "choices": [choice], **more}
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def usage(prompt: int, made: int, name: str = "id-1", cached: int | None = None) -> bytes:
    said: dict[str, Any] = {"prompt_tokens": prompt, "completion_tokens": made}
    said["total_tokens"] = prompt + made
    if cached is not None:
        said["prompt_tokens_details"] = {"cached_tokens": cached}
    return (
        b"data: "
        + json.dumps({"request_id": name, "choices": [], "usage": said}).encode()
        + b"\n\n"
    )


def values(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(part[6:]) for part in data.split(b"\n\n") if part.startswith(b"data: {")]


BEGINS_ANEW: list[dict[str, Any]] = [
    {"stop": ["END"]},
    {"stop": "END"},
    {"structured_outputs": {"json": {}}},
    {"structured_outputs": {"regex": "[ab]*"}},
    {"presence_penalty": 0.5},
    {"frequency_penalty": -0.1},
    {"seed": 7, "temperature": 0.8},
    {"seed": 7, "temperature": None},
    {"bad_words": ["a b"]},
    {"thinking_token_budget": 100},
    {"prompt_logprobs": 1},
    {"extra_args": {"x": 1}},
    {"trace_decode_token_ids": [1]},
    {"n": 2},
    {"watermarking": True},
    {"something_new": 1},
    {"max_tokens": None},
    {"max_tokens": "10"},
]


@pytest.mark.parametrize("sampling", BEGINS_ANEW, ids=json.dumps)
def test_what_would_begin_anew_with_the_rest_is_never_broken_off_once_it_was_seen(
    sampling: dict[str, Any],
) -> None:
    assert follow(sampling) is None


OTHERWISE: list[dict[str, Any]] = [
    {"stream": False},
    {"stream": 1},
    {"output_mode": "text"},
    {"features": {"mm_hashes": {"image": ["x"]}}},
    {"content_parts": [{"type": "image_url"}]},
    {"return_token_ids": True},
    {"kv_transfer_params": {"do_remote_decode": True}},
    {"reasoning_ended": True},
    {"token_offsets": [[0, 1]]},
    {"token_ids": "1,2,3"},
    {"sampling_params": None},
    {"sampling_params": [1]},
]


@pytest.mark.parametrize("more", OTHERWISE, ids=json.dumps)
def test_a_request_of_another_form_is_left_alone(more: dict[str, Any]) -> None:
    assert streamed(head(), json.dumps({**REQUEST, **more}).encode()) is None


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"7", b"\xff", b"[" * 100_000, b"{}"])
def test_a_body_that_is_no_request_is_left_to_the_engine(body: bytes) -> None:
    assert streamed(head(), body) is None


def test_another_route_and_a_body_in_chunks_are_left_alone() -> None:
    body = json.dumps(REQUEST).encode()
    assert streamed(head("/v1/completions"), body) is None
    assert streamed(head(ROUTE, "Transfer-Encoding: chunked"), body) is None


NEUTRAL: list[dict[str, Any]] = [
    {},
    {"stop": None},
    {"stop": []},
    {"presence_penalty": 0.0, "frequency_penalty": 0},
    {"seed": None, "temperature": 0.9},
    {"seed": 7},
    {"n": 1},
    {"structured_outputs": None, "bad_words": []},
    {"logprobs": 3, "ignore_eos": True, "stop_token_ids": [5], "min_tokens": 4},
    {"repetition_penalty": 1.1, "top_k": 40, "top_p": 0.9, "min_p": 0.01},
]


@pytest.mark.parametrize("sampling", NEUTRAL, ids=json.dumps)
def test_a_plain_request_can_be_gone_on_with(sampling: dict[str, Any]) -> None:
    assert follow(sampling) is not None


@pytest.mark.parametrize("cut", range(0, 10))
def test_wherever_it_is_broken_off_the_parts_are_the_whole(cut: int) -> None:
    made = list(range(300, 310))
    script = follow({"min_tokens": 6})
    assert script is not None
    seen = b"".join(script.feed(event([number])) for number in made[:cut])
    rest = json.loads(script.rest())
    assert rest["token_ids"] == [1, 2, 3, *made[:cut]]
    assert rest["sampling_params"]["max_tokens"] == 10 - cut
    assert rest["sampling_params"]["min_tokens"] == max(0, 6 - cut)
    assert rest["request_id"] == "mine-2"
    for number in made[cut:]:
        finish = "length" if number == made[-1] else None
        seen += script.feed(event([number], finish, "id-2"))
    seen += script.feed(usage(3 + cut, 10 - cut, "id-2", cached=cut)) + script.feed(
        b"data: [DONE]\n\n"
    )
    told = values(seen)
    assert [i for one in told for choice in one["choices"] for i in choice["token_ids"]] == made
    assert {one["request_id"] for one in told} == {"id-1" if cut else "id-2"}
    total = told[-1]["usage"]
    assert (total["prompt_tokens"], total["completion_tokens"], total["total_tokens"]) == (
        3,
        10,
        13,
    )
    assert total["prompt_tokens_details"]["cached_tokens"] <= 3
    assert seen.endswith(b"data: [DONE]\n\n") and script.ended


def test_an_error_in_the_middle_ends_it() -> None:
    script = follow()
    assert script is not None
    said = b'data: {"error": {"message": "out of memory", "code": 500}}\n\n'
    assert script.feed(event([300]) + said) == event([300]) + said
    assert script.ended, "nobody goes on with it"


def test_usage_that_comes_with_every_event_adds_up() -> None:
    script = follow(stream_options={"include_usage": True, "continuous_usage_stats": True})
    assert script is not None
    script.feed(event([300, 301], usage={"prompt_tokens": 3, "completion_tokens": 2}))
    script.rest()
    (value,) = values(script.feed(event([302], usage={"prompt_tokens": 5, "completion_tokens": 1})))
    assert value["usage"] == {"prompt_tokens": 3, "completion_tokens": 3}


def test_broken_off_twice_it_is_still_one_answer() -> None:
    script = follow()
    assert script is not None
    script.feed(event([300, 301]))
    script.rest()
    script.feed(event([302], name="id-2"))
    rest = json.loads(script.rest())
    assert (rest["token_ids"], rest["request_id"]) == ([1, 2, 3, 300, 301, 302], "mine-3")
    assert rest["sampling_params"]["max_tokens"] == 7
    last = script.feed(event([303], "stop", "id-3") + usage(6, 1, "id-3"))
    assert values(last)[-1]["usage"]["completion_tokens"] == 4
    assert {value["request_id"] for value in values(last)} == {"id-1"}


@pytest.mark.parametrize("step", [1, 2, 7])
def test_events_are_handed_on_whole_however_they_come(step: int) -> None:
    script = follow()
    assert script is not None
    data = event([300]) + event([301], "stop") + b"data: [DONE]\n\n"
    out = b"".join(script.feed(data[at : at + step]) for at in range(0, len(data), step))
    assert out == data and not script.inside


def test_the_length_of_a_request_is_replaced_and_nothing_else() -> None:
    one = parse_head(
        b"POST /x HTTP/1.1\r\nHost: x\r\nCONTENT-length: 12\r\nX: content-length: 12\r\n\r\n"
    )
    assert with_length(one, 3456) == (
        b"POST /x HTTP/1.1\r\nHost: x\r\ncontent-length: 3456\r\nX: content-length: 12\r\n\r\n"
    )


@pytest.mark.parametrize(
    ("sampling", "told"),
    [
        ({"temperature": 1.0, "top_p": 0.95, "repetition_penalty": 1.0}, "ids"),
        ({"temperature": 0.0, "seed": 3}, "ids"),
        ({"temperature": 1.0, "seed": 3}, None),
        ({"seed": 3}, None),
        ({"temperature": 0.0, "presence_penalty": 0.5}, None),
        ({"temperature": 0.0, "stop": ["END"]}, None),
    ],
)
def test_our_own_runs_go_on_only_where_the_answer_is_the_same(
    sampling: dict[str, Any], told: str | None
) -> None:
    lane = new_lane("hook", Path("/src/x"), {})
    assert _lane_headers(lane, "tokens", sampling).get(RESUMES) == told
    assert RESUMES not in _lane_headers(lane, "chat", sampling)
