from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest

from glmcode.core.events import Notice, Waiting
from glmcode.core.messages import UserMessage
from glmcode.core.transcript import Transcript
from glmcode.engine.attach import engine_status
from glmcode.engine.client import Client, Endpoint, connect
from glmcode.engine.family import processes
from glmcode.tools.specs import load_specs
from tests.conftest import TinyEngine
from tests.engine.client_kit import Asked, ask, new_transcript

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("engine")]


async def client_of(engine: TinyEngine, stall_s: float) -> Client:
    endpoint = Endpoint(
        socket=engine.address.socket,
        model=engine.address.model,
        protocol="tokens",
        tokenizer=engine.address.tokenizer,
        window=engine.address.window,
        step_cap=20,
        stall_s=stall_s,
    )
    return await connect(endpoint, load_specs(), lambda event: None)


def never_seen(lines: int) -> Transcript:
    numbers = (f"Nobody ever reads this line, which is number {n}.\n" for n in range(lines))
    return new_transcript(UserMessage(text=os.urandom(8).hex() + "".join(numbers)))


def test_a_long_prefill_on_the_real_engine_is_shown_and_never_called_a_stall(
    tiny_engine: TinyEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLMCODE_HOME", str(tiny_engine.home))
    seen: list[tuple[float, object]] = []

    async def main() -> Asked:
        client = await client_of(tiny_engine, stall_s=5.0)
        try:
            return await ask(
                client, never_seen(530), lambda event: seen.append((time.monotonic(), event))
            )
        finally:
            await client.close()

    began = time.monotonic()
    told = asyncio.run(main())
    usage = told.reply.usage
    took = usage.prefill_s
    waits = [(at - began, e) for at, e in seen if isinstance(e, Waiting)]
    for at, event in waits:
        print(f"{at:.1f} s: {event.percent} %, {event.eta_s} s left; prefill took {took:.1f} s")
    assert usage.prompt_tokens - usage.cached_tokens > 10_000
    assert not any(isinstance(event, Notice) for _, event in seen)
    shares = [event.percent for _, event in waits if event.percent is not None]
    assert shares == sorted(shares)
    if took > 6.0:
        assert len(set(shares)) >= 2


def engine_core() -> int:
    """The process of the tiny engine that computes."""
    family = {engine_status("tiny").engine_pid}
    found = processes()
    for _ in range(4):
        family |= {pid for pid, one in found.items() if one.parent in family}
    for pid in family:
        if "EngineCore" in Path(f"/proc/{pid}/comm").read_text():
            return pid
    cores = [p for p in family if b"EngineCore" in Path(f"/proc/{p}/cmdline").read_bytes()]
    assert cores, "no engine core"
    return cores[0]


def test_a_real_engine_whose_core_is_stopped_stands_still_and_goes_on_afterwards(
    tiny_engine: TinyEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLMCODE_HOME", str(tiny_engine.home))
    core = engine_core()

    async def main() -> tuple[Asked, Asked]:
        client = await client_of(tiny_engine, stall_s=4.0)
        try:
            os.kill(core, signal.SIGSTOP)
            try:
                stalled = await ask(client, never_seen(20))
            finally:
                os.kill(core, signal.SIGCONT)
            return stalled, await ask(client, never_seen(20))
        finally:
            await client.close()

    stalled, after = asyncio.run(main())
    assert stalled.fault.kind == "unavailable" and "stands still" in str(stalled.fault)
    assert stalled.seconds < 12.0
    assert after.reply.usage.output_tokens > 0
