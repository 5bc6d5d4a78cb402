from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from glmcode.core.messages import AssistantMessage
from glmcode.engine.attach import engine_status
from glmcode.engine.client import Client, Endpoint, connect
from glmcode.engine.control import ask as post
from glmcode.engine.lane import new_lane
from glmcode.tools.specs import load_specs
from tests.engine.client_kit import TOKENIZER, ask, new_transcript
from tests.engine.engine_kit import Home, new_home
from tests.engine.test_door import free_port

BLOCKS = 20
"""One of the conversations below fits the fake engine's cache, two do not."""


@pytest.fixture(scope="module")
def home() -> Iterator[Home]:
    with pytest.MonkeyPatch.context() as patch, new_home(patch) as made:
        keys = {"tokenizer": str(TOKENIZER), "protocol": "tokens", "map": False, "step_cap": 5}
        made.profile("fake", "--blocks", str(BLOCKS), **keys)
        made.attach()
        yield made


async def session(home: Home, name: str, *, tells: bool = True, door: str = "") -> Client:
    """door: the address at which it asks, "" for the socket."""
    lane = replace(new_lane("interactive", Path(f"/src/{name}"), {}), resumes=True, turns=tells)
    place = Endpoint(
        socket=None if door else home.paths().socket,
        base_url=f"http://{door}/v1" if door else None,
        model="fake",
        protocol="tokens",
        tokenizer=TOKENIZER,
        window=9000,
        step_cap=2,
        headers={} if door else lane.headers(),
        lane=lane.headers() if door else {},
    )
    client = await connect(place, load_specs(), lambda event: None)
    pool = BLOCKS * 128
    assert pool / 2 < client.prompt_tokens(new_transcript()) < pool
    return client


def test_the_engine_tells_how_much_its_cache_holds(home: Home) -> None:
    assert engine_status("fake").pool == BLOCKS * 128


@pytest.mark.parametrize("said", ["turn over", "turn over at the door", "closed"])
def test_another_waits_for_the_end_of_a_turn_where_the_cache_holds_only_one(
    home: Home, said: str
) -> None:
    door = ""
    if said.endswith("door"):
        listen = {"address": f"127.0.0.1:{free_port()}"}
        asyncio.run(post(home.paths().socket, "POST", "/glmcode/listen", listen))
        door = engine_status("fake").listening

    async def run() -> tuple[float, float]:
        first, second = await session(home, "first", door=door), await session(home, "second")
        assert (await ask(first, new_transcript())).message
        began = time.monotonic()
        waits = asyncio.ensure_future(ask(second, new_transcript()))
        await asyncio.sleep(2.6)
        assert not waits.done(), "a command that takes a while is not the end of a turn"
        assert (await ask(first, new_transcript())).message, "the next step goes first"
        assert not waits.done()
        ended = time.monotonic()
        if said == "closed":
            await first.close()
        else:
            first.turn_over()
        assert (await waits).message
        took = time.monotonic() - ended
        await first.close()
        await second.close()
        return ended - began, took

    turn, took = asyncio.run(run())
    assert turn > 2.5 and took < 2.0


def test_one_that_does_not_say_when_its_turn_is_over_is_not_waited_for_so_long(home: Home) -> None:
    async def run() -> float:
        first, second = await session(home, "first", tells=False), await session(home, "second")
        await ask(first, new_transcript())
        began = time.monotonic()
        assert (await ask(second, new_transcript())).message
        took = time.monotonic() - began
        await first.close()
        await second.close()
        return took

    assert 1.5 < asyncio.run(run()) < 10.0


def test_a_session_says_when_its_turn_is_over(home: Home, tmp_path: Path) -> None:
    from glmcode.agent_options import AgentOptions
    from glmcode.base.config import load_config
    from glmcode.opening import open_agent

    engine = replace(load_config(None, {})[0].engine, profile="fake")
    lane = new_lane("interactive", tmp_path, {})
    options = AgentOptions(workspace=tmp_path, engine=engine, lane=lane, max_turns=1)

    async def run() -> tuple[float, Any]:
        agent = await open_agent(options, lambda event: None)
        second = await session(home, "second")
        end = await agent.submit("hello")
        began = time.monotonic()
        asked = await ask(second, new_transcript())
        took = time.monotonic() - began
        await second.close()
        await agent.close()
        assert any(isinstance(m, AssistantMessage) for m in agent.transcript.messages), end
        return took, asked

    took, asked = asyncio.run(run())
    assert asked.message and took < 1.5, "nothing is kept for a person who reads the answer"
