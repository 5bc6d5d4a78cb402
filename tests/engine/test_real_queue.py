"""The queue before the real vLLM: a person is served at once, and the hook answers the same."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx
import pytest

from glmcode.core.events import Delta, DeltasDiscarded, Event
from glmcode.core.messages import UserMessage
from glmcode.engine.attach import engine_status
from glmcode.engine.client import Client, Endpoint, connect
from glmcode.engine.lane import QueueClass, new_lane
from glmcode.tools.specs import load_specs
from tests.conftest import TinyEngine
from tests.engine.client_kit import Asked, ask, new_transcript

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("engine")]

HOOK_S = 10.0
REPORT = "write a long report"


class NoGuard:
    """In the place of the loop guard: the tiny model repeats itself when it may not stop."""

    def feed(self, ids: object, *, patient: bool) -> bool:
        return False


@dataclass
class Front:
    """A client of one class on the real engine; first: when the last answer's first piece came."""

    client: Client
    events: list[Event] = field(default_factory=list)
    first: float = 0.0

    async def ask(self, text: str) -> Asked:
        self.first = 0.0
        return await ask(self.client, new_transcript(UserMessage(text=text)), self.see)

    def see(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, Delta) and not self.first:
            self.first = time.monotonic()


async def front(
    engine: TinyEngine, kind: QueueClass, cap: int, *, ends: bool, window: int = 0
) -> Front:
    """A front end whose answers have at most `cap` tokens a request; ends: it may stop before.

    window: of the conversation, 0: all that the engine has.
    """
    lane = replace(new_lane(kind, Path("/src/real"), {}), resumes=True)
    endpoint = Endpoint(
        socket=engine.address.socket,
        model=engine.address.model,
        protocol="tokens",
        tokenizer=engine.address.tokenizer,
        window=window or engine.address.window,
        sampling={"temperature": 0.0} | ({} if ends else {"min_tokens": cap}),
        step_cap=cap,
        headers=lane.headers(),
    )
    made = Front(await connect(endpoint, load_specs(), lambda event: None))
    made.client._spoken.dropped.add("repetition_detection")
    return made


async def first_after(person: Front, text: str) -> tuple[float, Asked]:
    """Seconds from asking to the first piece of the answer."""
    began = time.monotonic()
    asked = await person.ask(text)
    return person.first - began, asked


async def campaign(engine: TinyEngine) -> None:
    speed = await front(engine, "hook", 500, ends=False)
    for _ in range(2):
        began = time.monotonic()
        made = await speed.ask("how fast?")
    pace = len(made.reply.token_ids or ()) / (time.monotonic() - began)
    cap = min(13_000, int(pace * HOOK_S * 1.5))
    full = speed.client.prompt_tokens(new_transcript(UserMessage(text=REPORT))) + cap
    hook = await front(engine, "hook", cap, ends=False, window=full)
    began = time.monotonic()
    whole = await hook.ask(REPORT)
    took = time.monotonic() - began
    assert took >= HOOK_S, f"the hook's answer took only {took:.1f} s"
    person = await front(engine, "interactive", 20, ends=True)
    idle = [(await first_after(person, f"idle {n}"))[0] for n in range(3)]
    running = asyncio.ensure_future(hook.ask(REPORT))
    late = []
    for share in (0.15, 0.3):  # of a whole answer's time, after which somebody asks
        await asyncio.sleep(took * share)
        assert not running.done(), running.result()
        late.append((await first_after(person, f"quick {share}"))[0])
    again = await running
    print(f"first tokens: idle {idle}, while a hook ran {late}; hook {took:.1f} s, {pace:.0f}/s")
    assert max(late) <= max(idle) + 0.3
    assert again.reply.token_ids == whole.reply.token_ids
    assert len(again.reply.token_ids or ()) == cap
    assert not any(isinstance(event, DeltasDiscarded) for event in hook.events)
    for one in (speed, hook, person):
        await one.client.close()


def test_a_person_is_served_at_once_while_a_hook_runs_and_its_answer_is_the_same(
    tiny_engine: TinyEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLMCODE_HOME", str(tiny_engine.home))
    monkeypatch.setattr("glmcode.engine.token_reply.RepetitionDetector", NoGuard)
    asyncio.run(campaign(tiny_engine))
    assert not engine_status("tiny").running


def streamed_ids(lines: Iterable[str]) -> list[int]:
    values = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
    return [i for value in values for choice in value["choices"] for i in choice["token_ids"]]


def test_a_raw_stream_of_a_hook_is_broken_off_and_gone_on_with_unseen(
    tiny_engine: TinyEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLMCODE_HOME", str(tiny_engine.home))
    transport = httpx.HTTPTransport(uds=str(tiny_engine.address.socket))
    sampling = {"max_tokens": 2_000, "temperature": 0, "ignore_eos": True}
    body = {"token_ids": list(range(300, 900)), "sampling_params": sampling, "stream": True}
    body |= {"output_mode": "tokens", "model": "tiny"}
    headers = {"x-glmcode-class": "hook"}

    async def person() -> float:
        one = await front(tiny_engine, "interactive", 20, ends=True)
        seconds, asked = await first_after(one, "quick")
        assert asked.reply
        await one.client.close()
        return seconds

    with httpx.Client(transport=transport, base_url="http://engine", timeout=120.0) as http:
        idle = max(asyncio.run(person()) for _ in range(2))
        post = {"url": "/inference/v1/generate", "json": body, "headers": headers}
        with http.stream("POST", **post) as stream:
            whole = streamed_ids(stream.iter_lines())
        assert len(whole) == 2_000
        with http.stream("POST", **post) as stream:
            lines = stream.iter_lines()
            got = [next(lines) for _ in range(300)]
            late = asyncio.run(person())
            assert engine_status("tiny").running[0]["breaks"] == 1
            got += lines
        assert streamed_ids(got) == whole
    print(f"first tokens: idle {idle:.3f}, while a raw hook ran {late:.3f}")
    assert late <= idle + 0.3


def test_three_terminals_share_the_engine_and_each_gets_its_answer(
    tiny_engine: TinyEngine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GLMCODE_HOME", str(tiny_engine.home))
    command = [sys.executable, "-m", "glmcode", "-p", "hello", "--profile", "tiny"]
    command += ["--output-format", "json", "--max-turns", "1", "--verbose"]
    runs = [
        subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(3)
    ]
    for run in runs:
        out, err = run.communicate(timeout=120)
        result = json.loads(out.splitlines()[-1])
        assert result["num_turns"] >= 1, err.decode()
        assert result["usage"]["output_tokens"] > 0, err.decode()


LENGTHS = (1, 2, 17, 127, 128, 129, 700, 1500)
"""Tokens of an answer: less than a block of the cache, exactly as many, and more."""


async def streamed(engine: TinyEngine, kind: QueueClass, name: str, made: int) -> list[str]:
    """The lines of a raw stream of so many tokens, after a prompt of its own."""
    sampling = {"max_tokens": made, "temperature": 0, "ignore_eos": True, "logprobs": 1}
    prompt = [300 + (7 * number + made) % 600 for number in range(100 + made)]
    body = {"token_ids": prompt, "sampling_params": sampling, "stream": True}
    body |= {"output_mode": "tokens", "request_id": name, "model": "tiny"}
    body |= {"stream_options": {"include_usage": True}}
    transport = httpx.AsyncHTTPTransport(uds=str(engine.address.socket))
    headers = {"x-glmcode-class": kind}
    async with (
        httpx.AsyncClient(transport=transport, base_url="http://engine", timeout=120.0) as http,
        http.stream("POST", "/inference/v1/generate", json=body, headers=headers) as stream,
    ):
        return [line async for line in stream.aiter_lines()]


async def broken_off_at(engine: TinyEngine, made: int, moments: Iterable[float]) -> list[str]:
    """The same, while somebody more urgent comes at these moments (seconds from its begin)."""

    async def comes(moment: float) -> None:
        await asyncio.sleep(moment)
        assert len(streamed_ids(await streamed(engine, "interactive", "person", 3))) == 3

    persons = [asyncio.ensure_future(comes(moment)) for moment in moments]
    lines = await streamed(engine, "hook", f"again-{made}", made)
    await asyncio.gather(*persons)
    return lines


def facts(lines: list[str]) -> tuple[list[int], set[str], list[tuple[int, int]], int]:
    """Ids, names, usages (prompt, answer) and logprobs of a stream."""
    values = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
    choices = [choice for value in values for choice in value["choices"]]
    usages = [one["usage"] for one in values if one.get("usage")]
    return (
        streamed_ids(lines),
        {value["request_id"] for value in values},
        [(one["prompt_tokens"], one["completion_tokens"]) for one in usages],
        sum(len(choice["logprobs"]["content"]) for choice in choices if choice.get("logprobs")),
    )


def test_streams_of_all_lengths_broken_off_at_any_moment_are_the_same(
    tiny_engine: TinyEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLMCODE_HOME", str(tiny_engine.home))
    chance = random.Random(11)
    breaks = 0
    for made in LENGTHS:
        began = time.monotonic()
        whole, names, usages, logprobs = facts(
            asyncio.run(streamed(tiny_engine, "hook", "whole", made))
        )
        took = time.monotonic() - began
        assert (len(whole), len(names), logprobs) == (made, 1, made)
        for _ in range(3):
            moments = [chance.uniform(0.0, took) for _ in range(chance.randint(1, 3))]
            lines = asyncio.run(broken_off_at(tiny_engine, made, moments))
            again, other_names, other_usages, other_logprobs = facts(lines)
            assert again == whole
            assert (len(other_names), other_logprobs) == (1, made)
            assert other_usages == usages == [(100 + made, made)]
            assert lines.count("data: [DONE]") == 1
            breaks += len(moments)
    print(f"{breaks} times somebody came")
    assert not engine_status("tiny").running
