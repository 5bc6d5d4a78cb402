from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from glmcode.core.events import Notice, Queued, Waiting
from glmcode.engine.client import Endpoint
from glmcode.engine.lane import QUEUED
from glmcode.engine.watch import Prefill
from glmcode.tools.specs import load_specs
from tests.engine.client_kit import TOKENIZER, Asked, ask, connect, new_transcript
from tests.fake_engine import FakeEngine, Reply, Seen

METRICS = """vllm:cache_config_info{{block_size="16",num_gpu_blocks="1000"}} 1.0
vllm:num_requests_running{{engine="0"}} {running}
vllm:kv_cache_usage_perc{{engine="0"}} {use}
vllm:generation_tokens_total{{engine="0"}} {made}
"""


class Measured(FakeEngine):
    """Says in /metrics what `use` and `made` give, one value a look; the last one stays."""

    use: Iterator[float]
    made: Iterator[int]
    running: Iterator[int] = iter(())
    looks = 0

    def _route(self, seen: Seen) -> Reply:
        if seen.path != "/metrics":
            return super()._route(seen)
        self.looks += 1
        self._use = next(self.use, getattr(self, "_use", 0.0))
        self._made = next(self.made, getattr(self, "_made", 0))
        self._running = next(self.running, getattr(self, "_running", 1))
        text = METRICS.format(use=self._use, made=self._made, running=self._running)
        return Reply(body=text, framing="length")


def asked(
    folder: Path,
    reply: Reply,
    use: list[float] | None = None,
    made: list[int] | None = None,
    running: list[int] | None = None,
    *,
    stall_s: float = 0.0,
    gives_up: bool = True,
    cancel_after: float | None = None,
    step_cap: int = 500,
) -> tuple[Measured, Asked]:
    engine = Measured([reply], socket=folder / "s", tokenizer=TOKENIZER)
    engine.use, engine.made = iter(use or []), iter(made or [])
    engine.running = iter(running or [])

    async def main() -> Asked:
        endpoint = Endpoint(
            socket=folder / "s",
            model="glm",
            protocol="tokens",
            tokenizer=TOKENIZER,
            window=16_384,
            stall_s=stall_s,
            gives_up=gives_up,
            step_cap=step_cap,
        )
        events: list[object] = []
        client = await connect(endpoint, load_specs(), events.append)
        result = Asked()
        work = asyncio.ensure_future(
            client(new_transcript(), result.events.append, result.kept.append)
        )
        await asyncio.wait({work}, timeout=cancel_after)
        work.cancel()
        await asyncio.wait({work})
        if not work.cancelled() and (error := work.exception()) is not None:
            result.error = error  # type: ignore[assignment]
        elif not work.cancelled():
            result.message = work.result()
        await client.close()
        return result

    with engine:
        began = time.monotonic()
        result = asyncio.run(main())
        result.seconds = time.monotonic() - began
        time.sleep(0.2)  # until the engine has seen the connection close
    return engine, result


def test_a_prompt_that_is_computed_says_how_far_it_is_and_when_it_will_be_done(
    tmp_path: Path,
) -> None:
    reply = Reply(text="done", delay=6.0)
    uses = [0.02 * n for n in range(1, 6) for _ in range(2)]
    _, told = asked(tmp_path, reply, uses)
    waits = [event for event in told.of(Waiting) if event.percent is not None]
    assert len(waits) >= 2
    prompt = waits[0].prompt_tokens
    assert all(w.percent in [100 * 320 * n / prompt for n in range(1, 6)] for w in waits)
    assert [w.percent for w in waits] == sorted(w.percent for w in waits)
    assert waits[-1].eta_s is not None and 0 < waits[-1].eta_s < 20
    assert told.reply.text == "done"


def test_of_several_requests_at_once_nobody_knows_whose_tokens_the_cache_holds(
    tmp_path: Path,
) -> None:
    uses = [0.004 * n for n in range(1, 20)]
    _, told = asked(tmp_path, Reply(text="done", delay=9.0), uses, running=[1] * 6 + [2] * 9)
    known = [event.percent is not None for event in told.of(Waiting)]
    assert any(known)
    assert not any(known[known.index(True) + 3 :])
    assert not any(event.estimated for event in told.of(Waiting))


def test_an_answer_that_comes_soon_is_not_looked_after(tmp_path: Path) -> None:
    engine, told = asked(tmp_path, Reply(text="done", delay=1.5))
    assert told.reply.text == "done" and engine.looks == 0


def test_an_engine_is_looked_at_at_most_twice_a_second(tmp_path: Path) -> None:
    engine, _ = asked(tmp_path, Reply(text="done", delay=5.0))
    assert 2 <= engine.looks <= 7


def test_an_engine_that_stands_still_ends_a_run_without_a_person(tmp_path: Path) -> None:
    slow = Reply(text="some words and more of them", chunk=1, hang_after_events=4)
    engine, told = asked(tmp_path, slow, made=[7], stall_s=2.0)
    assert told.fault.kind == "unavailable"
    assert "stands still" in str(told.fault) and "engine restart" in str(told.fault)
    assert told.seconds < 8.0
    assert [message.text for message in told.kept] and len(engine.steps) == 1
    assert engine.steps[0].aborted is not None


def test_an_engine_that_does_not_even_say_how_it_is_stands_still(tmp_path: Path) -> None:
    with FakeEngine([Reply(delay=60.0)], socket=tmp_path / "t", tokenizer=TOKENIZER):
        endpoint = Endpoint(
            socket=tmp_path / "t", model="glm", protocol="tokens", tokenizer=TOKENIZER,
            window=16_384, stall_s=2.0,
        )  # fmt: skip

        async def main() -> Asked:
            client = await connect(endpoint, load_specs(), lambda event: None)
            try:
                return await ask(client, new_transcript())
            finally:
                await client.close()

        told = asyncio.run(main())
    assert told.fault.kind == "unavailable" and "stands still" in str(told.fault)


def test_as_long_as_anything_moves_nothing_stands_still_however_long_it_takes(
    tmp_path: Path,
) -> None:
    reply = Reply(text="done", delay=9.0)
    _, told = asked(tmp_path, reply, [n / 1000 for n in range(1, 40)], stall_s=2.0)
    assert told.reply.text == "done"
    assert not told.of(Notice)


def test_a_person_is_told_of_a_stall_and_decides(tmp_path: Path) -> None:
    slow = Reply(text="done", delay=7.0)
    _, told = asked(tmp_path, slow, made=[7], stall_s=2.0, gives_up=False)
    assert told.reply.text == "done"
    assert any("Esc stops" in event.text for event in told.of(Notice))


def test_the_time_left_comes_from_the_last_chunks() -> None:
    prefill = Prefill(10_000)
    assert prefill.share(1.0) == (None, None)
    prefill.take(5_000, 1.0)
    prefill.take(5_000, 1.5)
    assert prefill.share(1.5) == (None, None), "how much of it was cached is not known"
    for number in range(1, 4):
        prefill.take(5_000 + 1_000 * number, 1.0 + 2 * number)
    percent, left = prefill.share(7.0)
    assert percent == 70.0
    assert left == pytest.approx(6.0)
    assert prefill.share(9.0)[1] == pytest.approx(4.0)
    prefill.take(50_000, 10.0)
    assert prefill.share(10.0) == (None, None), "somebody else has the cache, too"


@pytest.mark.parametrize("events", [0, 1])
def test_it_stands_still_at_whatever_stage_it_fell_silent(tmp_path: Path, events: int) -> None:
    silent = Reply(text="some words and more of them", chunk=1, hang_after_events=events)
    engine, told = asked(tmp_path, silent, made=[7], stall_s=2.0)
    assert "stands still" in told.fault.args[0] and told.seconds < 9.0
    assert len(engine.steps) == 1, "what stands still is not asked again"


def test_silence_after_the_last_word_is_no_stall(tmp_path: Path) -> None:
    reply = Reply(ids=[400, 401], chunk=8, hang_after_events=1, finish="length")
    _, told = asked(tmp_path, reply, made=[7], stall_s=6.0, step_cap=2)
    assert told.error is None or "no more replies" in str(told.error), "it went on in no time"
    assert told.seconds < 6.0


def interim(position: int, *ahead: object) -> bytes:
    value = {"position": position, "eta_s": None, "seconds": 1.0, "ahead": ahead}
    return f"HTTP/1.1 102 Processing\r\n{QUEUED}: {json.dumps(value)}\r\n\r\n".encode()


def queued(folder: Path, *, turn: bool, stall_s: float, stays_s: float) -> Asked:
    """What comes of a request that is told a place, perhaps that it is its turn, and then nothing
    until the connection closes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"GET /metrics"):
            text = METRICS.format(use=0.5, made=7).encode()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(text) + text)
        else:
            writer.write(interim(1, ["scripted", "a run", 2.0, True]))
            if turn:
                writer.write(interim(0))
            await asyncio.sleep(stays_s)
        writer.close()

    async def main() -> Asked:
        async with await asyncio.start_unix_server(serve, str(folder / "q")):
            endpoint = Endpoint(
                socket=folder / "q", model="glm", protocol="tokens", tokenizer=TOKENIZER,
                window=16_384, stall_s=stall_s,
            )  # fmt: skip
            client = await connect(endpoint, load_specs(), lambda event: None)
            try:
                return await ask(client, new_transcript())
            finally:
                await client.close()

    return asyncio.run(main())


def test_an_engine_that_falls_silent_after_a_wait_in_the_queue_stands_still_too(
    tmp_path: Path,
) -> None:
    told = queued(tmp_path, turn=True, stall_s=2.0, stays_s=60.0)
    assert "stands still" in str(told.fault) and told.seconds < 9.0
    assert told.of(Queued)


def test_who_waits_for_others_is_never_told_that_the_engine_stands_still(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("glmcode.engine.retry.BUDGET_S", 0.0)
    told = queued(tmp_path, turn=False, stall_s=2.0, stays_s=6.0)
    assert "stands still" not in str(told.fault)
    assert told.seconds >= 6.0
