from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pytest

from glmcode.agent_prefix import Prefix
from glmcode.core.events import Event, RequestFinished, Warming
from glmcode.core.messages import AssistantMessage, UserMessage
from glmcode.core.transcript import Transcript
from glmcode.engine.attach import engine_status
from glmcode.engine.client import Client, Endpoint, connect
from glmcode.engine.lane import RUN, Lane, beside, new_lane, read_lane
from glmcode.tools.specs import load_specs
from tests.engine.client_kit import TOKENIZER, chat, new_transcript
from tests.engine.engine_kit import Home, new_home
from tests.fake_engine import FakeEngine, Reply

PREFILL_S = 0.6


@pytest.fixture(scope="module")
def home() -> Iterator[Home]:
    with pytest.MonkeyPatch.context() as patch, new_home(patch) as made:
        keys = {"tokenizer": str(TOKENIZER), "protocol": "tokens", "map": False, "step_cap": 5}
        patch.setattr("glmcode.engine.tokens.MAX_GO_ON", 0)  # this engine never ends by itself
        made.profile("fake", "--prefill", str(PREFILL_S), **keys)
        made.attach()
        yield made


@pytest.fixture
def idle(home: Home) -> Home:
    deadline = time.monotonic() + 10
    while engine_status("fake").running or engine_status("fake").waiting:
        assert time.monotonic() < deadline
    Path(f"{home.paths().engine_socket}.events").unlink(missing_ok=True)
    return home


def session(name: str) -> Lane:
    return new_lane("interactive", Path(f"/src/{name}"), {})


class Front:
    """A session's client; what it is told is in `events`."""

    def __init__(self, home: Home, name: str = "mine") -> None:
        self.events: list[Event] = []
        self.transcript: Transcript = new_transcript(
            UserMessage(text="hello"),
            AssistantMessage(text="Good day.", token_ids=(400, 401, 402)),
        )
        self._endpoint = Endpoint(
            socket=home.paths().socket,
            model="fake",
            protocol="tokens",
            tokenizer=TOKENIZER,
            window=9000,
            step_cap=5,
            headers=session(name).headers(),
        )

    async def client(self) -> Client:
        return await connect(self._endpoint, load_specs(), self.events.append)

    @property
    def told(self) -> list[RequestFinished]:
        return [event for event in self.events if isinstance(event, RequestFinished)]

    async def say(self, client: Client) -> float:
        """Ask something; seconds until all of the answer was there."""
        self.transcript.append(UserMessage(text="and now?"))
        began = time.monotonic()
        reply = await client(self.transcript, self.events.append, lambda message: None)
        self.transcript.append(reply)
        return time.monotonic() - began


async def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


def begun(home: Home) -> list[int]:
    """Tokens of the prompts that the engine began with, in order."""
    events = home.noted()
    return [int(line.split()[4]) for line in events.splitlines() if " begin " in line]


def labels(key: str) -> list[str]:
    return [str(one["label"]) for one in getattr(engine_status("fake"), key)]


def test_what_is_warmed_is_what_the_next_prompt_begins_with_and_one_token_is_asked_for(
    idle: Home,
) -> None:
    front = Front(idle)

    async def main() -> tuple[str, list[str], int]:
        client = await front.client()
        warming = asyncio.ensure_future(client.warm(front.transcript, front.events.append))
        await until(lambda: begun(idle) != [])
        seen = await asyncio.to_thread(labels, "running")
        outcome = await warming
        before = client.prompt_tokens(front.transcript)
        await front.say(client)
        await client.close()
        return outcome, seen, before

    outcome, seen, before = asyncio.run(main())
    assert outcome == "done"
    assert seen == ["warming for the session in /src/mine"]
    warm, step = front.told
    assert (warm.kind, step.kind) == ("warm", "step")
    assert warm.prompt_tokens == before - 1 == begun(idle)[0], "no generation prompt goes with it"
    assert (warm.output_tokens, warm.prefix, warm.held) == (1, 0, warm.prompt_tokens)
    assert warm.prefill_s >= PREFILL_S * 0.9
    assert step.prefix == warm.prompt_tokens
    assert [e.tokens for e in front.events if isinstance(e, Warming)] == [warm.prompt_tokens, 0]
    assert "after 1\n" in idle.noted()


def test_warming_that_is_given_up_frees_the_engine_within_50_ms_and_claims_nothing(
    idle: Home,
) -> None:
    front = Front(idle)

    async def main() -> float:
        client = await front.client()
        warming = asyncio.ensure_future(client.warm(front.transcript, front.events.append))
        await until(lambda: begun(idle) != [])
        await asyncio.sleep(0.1)
        warming.cancel()
        await asyncio.wait({warming})
        freed = time.monotonic()
        await until(lambda: " closed" in idle.noted())
        freed = time.monotonic() - freed
        took = await front.say(client)
        assert took < PREFILL_S + 0.4
        await client.close()
        return freed

    assert asyncio.run(main()) < 0.05
    warm, step = front.told
    assert (warm.kind, warm.whole, warm.cached_tokens, warm.held) == ("warm", False, None, 0)
    assert 0.05 < warm.prefill_s < PREFILL_S
    assert (step.prefix, step.tries) == (0, 1)
    assert [e.tokens for e in front.events if isinstance(e, Warming)][-1] == 0


def test_nothing_is_warmed_while_somebody_else_has_the_engine(idle: Home) -> None:
    front, other = Front(idle), Front(idle, "other")

    async def main() -> str:
        client, busy = await front.client(), await other.client()
        answering = asyncio.ensure_future(other.say(busy))
        await until(lambda: begun(idle) != [])
        outcome = await client.warm(front.transcript, front.events.append)
        assert not answering.done(), "it waits for nobody"
        await answering
        await front.say(client)
        await client.close()
        await busy.close()
        return outcome

    assert asyncio.run(main()) == "busy"
    assert [event.kind for event in front.told] == ["step"], "what did not run is no request"
    assert front.told[0].tries == 1
    assert len(begun(idle)) == 2


def test_warming_gives_way_to_whoever_comes(idle: Home) -> None:
    front, other = Front(idle), Front(idle, "other")

    async def main() -> tuple[str, float]:
        client, busy = await front.client(), await other.client()
        alone = await other.say(busy)
        warming = asyncio.ensure_future(client.warm(front.transcript, front.events.append))
        await until(lambda: len(begun(idle)) == 2)
        late = await other.say(busy)
        outcome = await warming
        await client.close()
        await busy.close()
        return outcome, late - alone

    outcome, later = asyncio.run(main())
    assert outcome == "busy"
    assert later < 0.3
    assert [(event.kind, event.whole) for event in front.told] == [("warm", False)]


def test_only_an_engine_of_ours_is_asked_ahead_and_only_in_tokens(tmp_path: Path) -> None:
    async def warms(endpoint: Endpoint) -> bool:
        client = await connect(endpoint, load_specs(), lambda event: None)
        try:
            if not client.warms:
                assert await client.warm(new_transcript(), lambda event: None) == "failed"
            return client.warms
        finally:
            await client.close()

    ours = Endpoint(
        socket=tmp_path / "s", model="glm", protocol="tokens", tokenizer=TOKENIZER, window=9000
    )
    assert asyncio.run(warms(ours))
    with FakeEngine([], tokenizer=TOKENIZER) as engine:
        theirs = Endpoint(
            base_url=engine.base_url, model="glm", protocol="tokens", tokenizer=TOKENIZER
        )
        assert not asyncio.run(warms(theirs))
        assert not asyncio.run(warms(chat(engine)))
        assert engine.steps == []


def warmed(script: list[Reply], folder: Path) -> tuple[str, list[Event], FakeEngine]:
    """What comes of warming an engine that answers so."""
    events: list[Event] = []

    async def run() -> str:
        endpoint = Endpoint(
            socket=folder / "w", model="glm", protocol="tokens", tokenizer=TOKENIZER,
            window=9000, headers=session("mine").headers(),
        )  # fmt: skip
        client = await connect(endpoint, load_specs(), lambda event: None)
        try:
            return await client.warm(new_transcript(), events.append)
        finally:
            await client.close()

    with FakeEngine(script, socket=folder / "w", tokenizer=TOKENIZER) as engine:
        return asyncio.run(run()), events, engine


UNKNOWN = '{"error": {"message": "repetition_detection: unknown"}}'
FAILS = {
    "an error": ([Reply(status=500)], "failed", 1),
    "a refusal": ([Reply(status=400)], "failed", 1),
    "a connection that closes": ([Reply(drop=True)] * 2, "failed", 1),
    "an answer that breaks off": ([Reply(ids=[400], cut_after_events=0)], "failed", 1),
    "an engine that is busy or sleeps": ([Reply(status=503)], "busy", 1),
    "an error inside an answer": (
        [Reply(ids=[], finish="", error_line={"message": "x"})],
        "failed",
        1,
    ),
    "no finish reason": ([Reply(ids=[], finish="")], "failed", 1),
    "an option that it does not know": (
        [Reply(status=400, body=UNKNOWN), Reply(ids=[400], finish="length")],
        "done",
        2,
    ),
    "a route that it does not have": (
        [Reply(status=404, body="{}"), Reply(ids=[400], finish="length")],
        "done",
        2,
    ),
}


@pytest.mark.parametrize("name", FAILS)
def test_warming_that_fails_is_not_repeated_and_claims_nothing(tmp_path: Path, name: str) -> None:
    script, outcome, asked = FAILS[name]
    came_of_it, events, engine = warmed(script, tmp_path)
    assert (came_of_it, len(engine.steps)) == (outcome, asked)
    shown = [event.tokens > 0 for event in events if isinstance(event, Warming)]
    assert shown == [True, False], "what is shown ends with it"
    told = [event for event in events if isinstance(event, RequestFinished)]
    assert [event.held > 0 for event in told] == ([True] if outcome == "done" else [])
    assert not [event for event in events if "Retrying" in type(event).__name__]


def test_a_second_warming_waits_for_nobody_either(idle: Home) -> None:
    async def run() -> list[str]:
        front, other = Front(idle), Front(idle, "other")
        client, theirs = await front.client(), await other.client()
        outcomes = [await client.warm(front.transcript, front.events.append)]
        front.transcript.append(UserMessage(text="more"))
        busy = asyncio.ensure_future(other.say(theirs))
        await until(lambda: len(begun(idle)) == 2)
        began = time.monotonic()
        outcomes.append(await client.warm(front.transcript, front.events.append))
        assert time.monotonic() - began < PREFILL_S / 2
        assert not await asyncio.to_thread(labels, "waiting")
        await busy
        for one in (client, theirs):
            await one.close()
        return outcomes

    assert asyncio.run(run()) == ["done", "busy"]


def test_each_warming_counts_as_another_run_of_no_importance() -> None:
    own = session("mine").headers()
    first, second = beside(own), beside(own)
    assert first[RUN] != second[RUN] and first[RUN].startswith(own[RUN])
    lane = read_lane({**own, **first}, Lane(run="x"))
    assert (lane.kind, lane.wait_s, lane.parents, lane.resumes) == ("background", 0.0, (), False)


class Busy:
    """An engine that somebody else always has."""

    warms = True

    def __init__(self, outcome: str = "busy") -> None:
        self.asked = 0
        self.outcome = outcome

    async def warm(self, transcript: Transcript, emit: object) -> str:
        self.asked += 1
        return self.outcome


@pytest.mark.parametrize(
    ("outcome", "wanted", "asked"),
    [("busy", True, 4), ("done", True, 1), ("failed", True, 1), ("done", False, 0)],
)
def test_a_busy_engine_is_asked_a_few_times_and_never_where_nobody_wants_it(
    monkeypatch: pytest.MonkeyPatch, outcome: str, wanted: bool, asked: int
) -> None:
    monkeypatch.setattr("glmcode.agent_prefix.AGAIN_S", (0.01, 0.01, 0.01))

    async def run() -> int:
        engine = Busy(outcome)
        prefix = Prefix(cast("Client", engine), lambda event: None, wanted=wanted)
        prefix.begin(new_transcript())
        await asyncio.sleep(0.2)
        await prefix.stop()
        return engine.asked

    assert asyncio.run(run()) == asked


def test_nothing_is_asked_after_the_end_of_a_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("glmcode.agent_prefix.AGAIN_S", (0.05, 0.05, 0.05))

    async def run() -> tuple[int, int]:
        engine = Busy()
        prefix = Prefix(cast("Client", engine), lambda event: None, wanted=True)
        prefix.begin(new_transcript())
        prefix.cancel()  # before it could begin
        await asyncio.sleep(0.1)
        at_once = engine.asked
        prefix.begin(new_transcript())
        await asyncio.sleep(0.02)
        await prefix.stop()
        await asyncio.sleep(0.3)
        return at_once, engine.asked

    assert asyncio.run(run()) == (0, 1)
