from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

from glmcode.agent import Agent, AgentOptions
from glmcode.base.settings import EngineSettings
from glmcode.core.events import Event, RequestFinished, Warming
from glmcode.engine.attach import engine_status
from glmcode.opening import open_agent
from glmcode.sessions import open_session
from tests.conftest import TinyEngine

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("engine")]

LONG = "Nobody ever reads this line, which is number {n}.\n"


def options(work: Path, nonce: str, lines: int) -> AgentOptions:
    text = nonce + "".join(LONG.format(n=n) for n in range(lines))
    return AgentOptions(
        workspace=work,
        engine=EngineSettings(profile="tiny"),
        mode="plan",
        max_turns=1,
        append_system_prompt=text,
    )


async def busy(wanted: bool) -> None:
    """Until the supervisor says that somebody has the engine, or that nobody has."""
    for _ in range(5_000):
        status = await asyncio.to_thread(engine_status, "tiny")
        if bool(status.running) is wanted:
            return
    raise AssertionError(f"never: busy is {wanted}")


class Resumed:
    """A session that the engine never saw: stored, with another word at its head, and resumed."""

    def __init__(self, work: Path, lines: int) -> None:
        self.work = work
        self.lines = lines
        self.seen: list[Event] = []
        self.over = asyncio.Event()

    def emit(self, event: Event) -> None:
        self.seen.append(event)
        if isinstance(event, Warming) and not event.tokens:
            self.over.set()

    async def agent(self) -> Agent:
        nonce, other = os.urandom(8).hex(), os.urandom(8).hex()
        first = await open_agent(options(self.work, nonce, self.lines), lambda event: None)
        await first.submit("hello")
        await first.close()
        path = first.journal.path
        path.write_text(path.read_text().replace(nonce, other))
        stored = open_session(path)
        made = options(self.work, nonce, self.lines)
        made = AgentOptions(
            workspace=made.workspace, engine=made.engine, mode="plan", max_turns=1, stored=stored
        )
        return await open_agent(made, self.emit)

    @property
    def told(self) -> list[RequestFinished]:
        return [event for event in self.seen if isinstance(event, RequestFinished)]


def test_after_a_resume_and_warming_the_first_request_is_a_cache_hit(
    tiny_engine: TinyEngine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GLMCODE_HOME", str(tiny_engine.home))

    async def main() -> list[RequestFinished]:
        resumed = Resumed(tmp_path, 100)
        agent = await resumed.agent()
        agent.warm()
        await asyncio.wait_for(resumed.over.wait(), 60)
        await agent.submit("and now?")
        await agent.close()
        return resumed.told

    warm, step, *_ = asyncio.run(main())
    print(warm, step, sep="\n")
    assert (warm.kind, warm.whole, step.kind) == ("warm", True, "step")
    assert warm.cached_tokens is not None
    assert warm.prompt_tokens - warm.cached_tokens > 1_000, "it was cold"
    block = step.block
    assert block > 0
    assert step.expected == warm.prompt_tokens // block * block
    assert step.cached_tokens == step.expected
    assert step.again == 0


def test_warming_given_up_half_way_frees_the_real_engine_and_nothing_is_wrongly_expected(
    tiny_engine: TinyEngine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GLMCODE_HOME", str(tiny_engine.home))

    async def main() -> tuple[list[RequestFinished], float]:
        resumed = Resumed(tmp_path, 350)
        agent = await resumed.agent()
        agent.warm()
        await busy(True)
        await asyncio.sleep(0.3)
        began = time.monotonic()
        await agent._prefix.stop()
        await busy(False)
        freed = time.monotonic() - began
        await agent.submit("and now?")
        await agent.close()
        return resumed.told, freed

    (warm, step, *_), freed = asyncio.run(main())
    print(warm, step, f"free after {freed * 1000:.0f} ms", sep="\n")
    assert (warm.kind, warm.whole, step.kind) == ("warm", False, "step")
    assert freed < 0.1
    assert step.cached_tokens is not None and step.cached_tokens < step.prompt_tokens - 1_000
    assert step.cause != "evicted by another session"
