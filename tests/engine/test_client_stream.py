from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glmcode.core.events import Delta, Waiting
from glmcode.core.messages import AssistantMessage, Usage
from glmcode.engine import clock, retry
from glmcode.engine.client import Client, Endpoint, connect
from glmcode.engine.sse import DONE, ObjectStream, StreamError
from glmcode.engine.text import Mender, mended
from glmcode.tools.specs import load_specs
from tests.engine.client_kit import TOKENIZER, Asked, ask, chat, new_transcript, tokens
from tests.fake_engine import FakeEngine, Reply

EndpointOf = Callable[..., Endpoint]
CALL = {"name": "Write", "arguments": {"file_path": "a", "content": "☃\n<é>"}}


def with_client(engine: FakeEngine, endpoint: Endpoint, run: Any) -> Any:
    async def main() -> Any:
        client = await connect(endpoint, load_specs(), lambda event: None)
        try:
            return await run(client)
        finally:
            await client.close()

    return asyncio.run(main())


def without_times(message: AssistantMessage) -> AssistantMessage:
    return replace(message, usage=Usage(output_tokens=message.usage.output_tokens))


def short_events() -> list[Any]:
    """A chat stream with everything in it, in few bytes."""
    arguments = json.dumps(CALL["arguments"], ensure_ascii=False)
    call = {"index": 0, "id": "a", "function": {"name": "Write", "arguments": arguments[:9]}}
    rest = {"index": 0, "function": {"arguments": arguments[9:]}}
    deltas: list[Any] = [{"reasoning": "é"}, {"content": "ok ☃"}]
    deltas += [{"tool_calls": [call]}, {"tool_calls": [rest]}]
    events = [{"choices": [{"delta": delta}]} for delta in deltas]
    return [*events, {"choices": [{"finish_reason": "tool_calls"}]}, {"choices": [], "usage": {}}]


# Cut anywhere


@pytest.mark.parametrize("endpoint_of", [chat, tokens], ids=["chat", "tokens"])
@pytest.mark.parametrize("framing", ["chunked", "close"])
def test_a_stream_cut_at_any_byte_is_the_whole_message_or_an_error(
    endpoint_of: EndpointOf, framing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry.Patience, "wait_for", lambda self, fault, began: None)
    whole = Reply(text="ok ☃", reasoning="é", calls=[CALL], framing=framing, chunk=16)
    if endpoint_of is chat:
        whole = replace(whole, events=short_events())
    probe = FakeEngine([whole], tokenizer=TOKENIZER, socket=tmp_path / "probe")
    sizes: list[int] = []

    async def full(client: Client) -> AssistantMessage:
        return (await ask(client, new_transcript())).reply

    original = FakeEngine._body

    def measuring(self: FakeEngine, seen: Any, reply: Reply) -> Any:
        kind, events = original(self, seen, reply)
        sizes.append(sum(len(event) for event in events))
        return kind, events

    monkeypatch.setattr(FakeEngine, "_body", measuring)
    with probe:
        expected = without_times(with_client(probe, endpoint_of(probe), full))
    assert expected.calls[0].arguments == CALL["arguments"]
    cuts = list(range(sizes[0]))
    script = [replace(whole, cut_after_bytes=cut) for cut in cuts]

    async def all_cuts(client: Client) -> list[Asked]:
        transcript = new_transcript()
        return [await ask(client, transcript) for _ in cuts]

    engine = FakeEngine(script, tokenizer=TOKENIZER, socket=tmp_path / "cut")
    with engine:
        results = with_client(engine, endpoint_of(engine), all_cuts)
    whole_ones = 0
    for asked in results:
        if asked.message is not None:
            whole_ones += 1
            assert without_times(asked.message).calls == expected.calls
            assert asked.message.text == expected.text
            assert asked.message.token_ids == expected.token_ids
            assert asked.message.stop == expected.stop
            assert not asked.kept
        else:
            assert asked.fault.kind in ("unavailable", "failed")
            assert all(kept.stop == "interrupted" for kept in asked.kept)
    assert 0 < whole_ones < len(cuts) / 2
    assert len(engine.steps) == len(cuts)


# Cancelled


@pytest.mark.parametrize("endpoint_of", [chat, tokens], ids=["chat", "tokens"])
def test_a_cancelled_reply_frees_the_engine_and_keeps_what_was_generated(
    endpoint_of: EndpointOf,
) -> None:
    slow = Reply(text="one two three four " * 20, reasoning="hm", chunk=6, gap=0.02)

    async def run(client: Client) -> tuple[Asked, float]:
        enough = asyncio.Event()

        def watch(event: Any) -> None:
            if isinstance(event, Delta) and event.kind == "text":
                enough.set()

        task = asyncio.ensure_future(ask(client, new_transcript(), watch))
        await asyncio.wait_for(enough.wait(), 120)
        await asyncio.sleep(0.1)
        task.cancel()
        at = time.monotonic()
        return await task, at

    with FakeEngine([slow], tokenizer=TOKENIZER) as engine:
        asked, at = with_client(engine, endpoint_of(engine), run)
        deadline = time.monotonic() + 60
        while engine.steps[0].aborted is None and time.monotonic() < deadline:
            time.sleep(0.01)
        aborted = engine.steps[0].aborted
    assert asked.cancelled
    assert aborted is not None and aborted - at < 5
    [kept] = asked.kept
    assert kept.stop == "interrupted"
    assert kept.reasoning == "hm"
    assert kept.text and slow.text.startswith(kept.text)
    assert asked.shown("text").strip().startswith(kept.text[:5])


@pytest.mark.parametrize("endpoint_of", [chat, tokens], ids=["chat", "tokens"])
def test_a_cancelled_reply_drops_the_call_that_was_not_whole(endpoint_of: EndpointOf) -> None:
    slow = Reply(text="I write.", calls=[CALL, CALL], chunk=4, gap=0.02)

    async def run(client: Client) -> Asked:
        second = asyncio.Event()

        def watch(event: Any) -> None:
            if isinstance(event, Delta) and event.kind == "call" and event.call_index == 1:
                second.set()

        task = asyncio.ensure_future(ask(client, new_transcript(), watch))
        await asyncio.wait_for(second.wait(), 120)
        task.cancel()
        return await task

    with FakeEngine([slow], tokenizer=TOKENIZER) as engine:
        asked = with_client(engine, endpoint_of(engine), run)
    [kept] = asked.kept
    assert [dict(call.arguments) for call in kept.calls] == [CALL["arguments"]]
    assert kept.rejected == ()


@pytest.mark.parametrize("endpoint_of", [chat, tokens], ids=["chat", "tokens"])
def test_cancelling_before_anything_came_keeps_nothing(endpoint_of: EndpointOf) -> None:
    async def run(client: Client) -> Asked:
        task = asyncio.ensure_future(ask(client, new_transcript()))
        await asyncio.sleep(0.3)
        task.cancel()
        return await task

    with FakeEngine([Reply(text="x", delay=30)], tokenizer=TOKENIZER) as engine:
        asked = with_client(engine, endpoint_of(engine), run)
    assert asked.cancelled
    assert asked.kept == []


def test_waiting_for_another_try_ends_at_once_when_cancelled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(retry, "FIRST_WAIT_S", 20.0)

    async def run(client: Client) -> tuple[Asked, float]:
        task = asyncio.ensure_future(ask(client, new_transcript()))
        await asyncio.sleep(0.3)
        task.cancel()
        at = time.monotonic()
        return await task, time.monotonic() - at

    with FakeEngine([Reply(status=503, times=9)], tokenizer=TOKENIZER) as engine:
        asked, seconds = with_client(engine, tokens(engine), run)
    assert asked.cancelled
    assert asked.retries == 1
    assert seconds < 10


# Silence


@pytest.mark.parametrize("endpoint_of", [chat, tokens], ids=["chat", "tokens"])
@pytest.mark.parametrize("where", ["delay", "stall", "gap"])
def test_silence_is_shown_and_never_ends_a_reply(
    endpoint_of: EndpointOf, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock, "QUIET_S", 0.2)
    monkeypatch.setattr(clock, "TICK_S", 0.1)
    seconds = 0.3 if where == "gap" else 0.8
    slow = Reply(text="one two", chunk=100, **{where: seconds})  # type: ignore[arg-type]
    with FakeEngine([slow], tokenizer=TOKENIZER) as engine:
        asked = with_client(
            engine, endpoint_of(engine), lambda client: ask(client, new_transcript())
        )
    assert asked.reply.text == "one two"
    waited = asked.of(Waiting)
    assert waited
    assert all(event.seconds >= 0.2 for event in waited)
    assert waited[0].prompt_tokens > 100
    assert asked.retries == 0


# Events taken apart


def feed_all(data: bytes, cuts: list[int]) -> list[Any]:
    stream = ObjectStream()
    found: list[Any] = []
    start = 0
    for cut in sorted({min(cut, len(data)) for cut in cuts}):
        if cut > start:
            found += stream.feed(data[start:cut])
            start = cut
    if start < len(data):
        found += stream.feed(data[start:])
    return found + stream.close()


BODY = (
    '\ufeff: hi\r\ndata: {"a":"é☃😀"}\r\n\r\ndata:{"b":[1,\ndata: 2]}\n\n'
    'event: x\nid: 3\n\ndata: {"c":null}\n\n\n\ndata: [DONE]\n\n'
).encode()


@given(st.lists(st.integers(0, len(BODY)), max_size=12))
@settings(max_examples=200, deadline=None)
def test_events_do_not_depend_on_how_the_body_is_cut(cuts: list[int]) -> None:
    assert feed_all(BODY, cuts) == [{"a": "é☃😀"}, {"b": [1, 2]}, {"c": None}, DONE]


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=5))
@settings(max_examples=300, deadline=None)
def test_no_body_raises_anything_but_a_stream_error(data: bytes, cuts: list[int]) -> None:
    try:
        found = feed_all(data, cuts)
    except StreamError:
        return
    assert all(value is not None or True for value in found)
    assert isinstance(found, list)


def test_a_line_without_end_is_given_up_at_the_limit() -> None:
    stream = ObjectStream(limit=1000)
    with pytest.raises(StreamError, match="more than"):
        for _ in range(100):
            stream.feed(b"data: " + b"x" * 50)


def test_many_data_lines_without_a_blank_are_given_up_at_the_limit() -> None:
    stream = ObjectStream(limit=1000)
    with pytest.raises(StreamError, match="more than"):
        for _ in range(100):
            stream.feed(b"data: " + b"x" * 50 + b"\n")


def test_a_body_in_a_million_pieces_takes_linear_time() -> None:
    stream = ObjectStream()
    began = time.monotonic()
    stream.feed(b'data: {"a": "')
    for _ in range(100_000):
        stream.feed(b"0123456789")
    assert stream.feed(b'"}\n\n') == [{"a": "0123456789" * 100_000}]
    assert time.monotonic() - began < 60


def test_deep_nesting_is_an_error_and_no_crash() -> None:
    with pytest.raises(StreamError):
        feed_all(b"data: " + b"[" * 200_000 + b"\n\n", [])


# Text mended


@given(st.text(max_size=20), st.lists(st.integers(0, 80), max_size=6))
@settings(max_examples=200, deadline=None)
def test_text_cut_within_characters_is_whole_again(text: str, cuts: list[int]) -> None:
    data = text.encode()
    edges = sorted({0, len(data), *(min(cut, len(data)) for cut in cuts)})
    pieces = [data[a:b].decode("utf-8", "surrogateescape") for a, b in itertools.pairwise(edges)]
    mender = Mender()
    assert "".join(map(mender.feed, pieces)) + mender.close() == text


@given(st.lists(st.text(st.characters(), max_size=5), max_size=6))
@settings(max_examples=200, deadline=None)
def test_mended_text_can_always_be_written(pieces: list[str]) -> None:
    mender = Mender()
    shown = "".join(map(mender.feed, pieces)) + mender.close()
    shown.encode()
    mended("".join(pieces)).encode()
