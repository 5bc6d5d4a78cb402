from __future__ import annotations

import asyncio
import json
import math
import random
from pathlib import Path

import pytest

from glmcode.core.events import Waiting
from glmcode.core.messages import UserMessage
from glmcode.engine.client import Endpoint
from glmcode.engine.clock import Clock, Progress
from glmcode.engine.lane import QUEUED, Place
from glmcode.engine.pace import KEPT, LATE, LATE_S, Pace
from glmcode.engine.speeds import ENGINES, bench_samples, known_pace
from glmcode.tools.specs import load_specs
from tests.engine.client_kit import TOKENIZER, Asked, ask, connect, new_transcript
from tests.fake_engine import FakeEngine, Reply


def truth(cached: int, prompt: int) -> float:
    return 0.001 * (prompt - cached) + 4e-8 * (prompt**2 - cached**2) / 2


def taught(*prompts: tuple[int, int], noise: float = 0.0) -> Pace:
    pace, dice = Pace(), random.Random(1)
    for cached, prompt in prompts:
        pace.learn(cached, prompt, truth(cached, prompt) * (1 + dice.uniform(-noise, noise)))
    return pace


def test_nothing_is_said_before_anything_was_measured() -> None:
    assert Pace().seconds(0, 10_000) is None
    assert Pace().share(0, 10_000, 3.0) == (None, None)


def test_what_depth_costs_is_learned_and_deep_prompts_are_foretold_from_it() -> None:
    pace = taught((0, 1_000), (0, 4_000), (0, 16_000), (0, 64_000))
    for cached, prompt in [(0, 128_000), (100_000, 110_000), (0, 2_000), (60_000, 64_000)]:
        assert pace.seconds(cached, prompt) == pytest.approx(truth(cached, prompt), rel=0.02)


def test_measurements_that_differ_and_one_that_had_to_wait_do_not_lead_it_astray() -> None:
    pace = taught(*[(0, 1_000 * n) for n in range(1, 20)], noise=0.1)
    pace.learn(0, 8_000, 20 * truth(0, 8_000))
    assert pace.seconds(0, 10_000) == pytest.approx(truth(0, 10_000), rel=0.2)


def test_one_measurement_is_enough_for_a_guess_that_grows_with_the_prompt() -> None:
    pace = Pace()
    pace.learn(1_000, 3_000, 4.0)
    assert pace.seconds(0, 20_000) == pytest.approx(40.0)


def test_measurements_of_one_depth_say_nothing_of_what_depth_costs() -> None:
    pace = Pace()
    for seconds in (4.0, 4.4, 3.9, 4.6):
        pace.learn(0, 4_000 + round(100 * seconds), seconds)
    assert pace.seconds(0, 100_000) == pytest.approx(25 * pace.seconds(0, 4_000), rel=1e-6)


def test_a_machine_that_became_slower_is_believed_after_some_prompts() -> None:
    pace = Pace()
    for _ in range(10):
        pace.learn(0, 5_000, 5.0)
    for _ in range(8):
        pace.learn(0, 5_000, 15.0)
    assert pace.seconds(0, 5_000) > 10
    assert len(pace.samples) == 18
    for _ in range(KEPT):
        pace.learn(0, 5_000, 15.0)
    assert len(pace.samples) == KEPT
    assert pace.seconds(0, 5_000) == pytest.approx(15.0)


@pytest.mark.parametrize(
    "sample",
    [
        (0, 10, 3.0), (0, 5_000, 0.0), (0, 5_000, -3.0), (0, 5_000, math.nan),
        (0, 5_000, math.inf), (5_000, 5_000, 3.0), (9_000, 5_000, 3.0), (-1, 5_000, 3.0),
        (0, 5_000, 1e9), (0, 10**300, 3.0), (0, 90_000_000, 0.31),
    ],
)  # fmt: skip
def test_what_cannot_be_a_measurement_is_not_learned(sample: tuple[int, int, float]) -> None:
    pace = Pace()
    pace.learn(*sample)
    assert pace.samples == []
    assert Pace(load=lambda: [sample]).share(0, 9_000, 1.0) == (None, None)


@pytest.mark.parametrize("depths", [((0, 2_000),), ((0, 1_000), (0, 30_000), (20_000, 60_000))])
def test_percent_grows_with_time_and_ends_below_a_hundred_and_seconds_never_below_zero(
    depths: tuple[tuple[int, int], ...],
) -> None:
    pace = taught(*depths)
    for cached, prompt in [(0, 40_000), (30_000, 40_000), (0, 3_000)]:
        whole = pace.seconds(cached, prompt)
        assert whole is not None
        shares = [pace.share(cached, prompt, whole * n / 50) for n in range(51)]
        percents = [percent for percent, _ in shares]
        assert None not in percents
        assert percents == sorted(percents)  # type: ignore[type-var]
        assert percents[0] == pytest.approx(100 * cached / prompt, abs=0.1)
        assert percents[-1] == 99.0
        assert all(left is None or 0 < left <= whole for _, left in shares)
        assert shares[25][1] == pytest.approx(whole / 2)


def test_deep_tokens_take_longer_so_half_the_time_is_more_than_half_the_prompt() -> None:
    pace = taught((0, 1_000), (0, 30_000), (0, 120_000))
    whole = pace.seconds(0, 120_000)
    assert whole is not None
    percent, _ = pace.share(0, 120_000, whole / 2)
    assert percent is not None and percent > 60


def test_a_prompt_that_takes_clearly_longer_than_foretold_gets_no_more_figures() -> None:
    pace = taught((0, 10_000))
    whole = pace.seconds(0, 10_000)
    assert whole is not None
    assert pace.share(0, 10_000, whole + 1.0) == (99.0, None)
    assert pace.share(0, 10_000, LATE * whole + LATE_S + 0.1) == (None, None)
    assert pace.share(0, 10_000, -1.0) == (None, None), "a clock that went back"


def test_what_is_shown_of_one_prompt_never_falls() -> None:
    shown = Progress()
    assert shown.told((None, None), (40.0, 9.0)) == (40.0, 9.0, True)
    assert shown.told((None, None), (30.0, 12.0)) == (40.0, 12.0, True)
    assert shown.told((20.0, 30.0), (41.0, 8.0)) == (None, 30.0, False), "the guess was too high"
    assert shown.told((50.0, 5.0), (90.0, 1.0)) == (50.0, 5.0, False)
    assert shown.told((None, None), (45.0, 6.0)) == (50.0, 6.0, True)
    assert shown.told((None, None), (None, None)) == (None, None, False)


def test_speeds_are_kept_for_each_engine_and_bench_figures_stay_in_their_own_file(
    tmp_path: Path,
) -> None:
    file, figures = tmp_path / "deep" / "speeds.json", tmp_path / "bench.json"
    figures.write_text(
        json.dumps({"depths": [{"depth_tokens": 8_000, "first_token_cold_s": 4.0}, 3, {}]})
    )
    one = known_pace(file, "one m", figures)
    assert one.seconds(0, 8_000) == pytest.approx(4.0)
    assert not file.exists()
    one.learn(0, 8_000, 6.0)
    known_pace(file, "two m").learn(0, 8_000, 9.0)
    assert json.loads(file.read_text()) == {"one m": [[0, 8000, 6.0]], "two m": [[0, 8000, 9.0]]}
    assert file.stat().st_mode & 0o777 == 0o600
    assert [one.name for one in file.parent.iterdir()] == ["speeds.json"]
    assert known_pace(file, "one m", figures).samples == [(0, 8_000, 4.0), (0, 8_000, 6.0)]
    for number in range(ENGINES):
        known_pace(file, f"other {number}").learn(0, 8_000, 1.0)
    assert len(json.loads(file.read_text())) == ENGINES
    assert known_pace(file, "one m").samples == []


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "[" * 100_000, '{"one": 3}', '{"one": [[1], ["a", "b", "c"], null]}',
     '{"one": [[0, 5000, NaN], [0, 1e999, 3]]}', "\udcff"],
)  # fmt: skip
def test_a_file_of_speeds_that_is_odd_is_as_good_as_none(tmp_path: Path, text: str) -> None:
    file = tmp_path / "speeds.json"
    file.write_text(text, encoding="utf-8", errors="surrogateescape")
    pace = known_pace(file, "one", file)
    assert pace.share(0, 9_000, 1.0) == (None, None)
    pace.learn(0, 9_000, 9.0)
    assert known_pace(file, "one").samples == [(0, 9_000, 9.0)]


def test_a_folder_that_cannot_be_written_costs_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    pace = known_pace(tmp_path / "file" / "speeds.json", "one")
    pace.learn(0, 9_000, 9.0)
    assert pace.seconds(0, 9_000) == pytest.approx(9.0)


@pytest.mark.parametrize("value", [{}, {"depths": 3}, {"depths": [{"depth_tokens": None}]}])
def test_figures_that_are_odd_say_nothing(value: dict[str, object]) -> None:
    assert bench_samples(value) == []


def endpoint(engine: FakeEngine, protocol: str, speeds: Path | None) -> Endpoint:
    tokens = protocol == "tokens"
    return Endpoint(
        base_url=engine.base_url, model="glm", protocol="tokens" if tokens else "chat",
        tokenizer=TOKENIZER if tokens else None, window=16_384, speeds=speeds,
    )  # fmt: skip


@pytest.mark.parametrize("protocol", ["tokens", "chat"])
def test_a_server_that_tells_nothing_of_itself_is_guessed_from_the_prompt_before(
    tmp_path: Path, protocol: str
) -> None:
    file = tmp_path / "speeds.json"
    replies = [Reply(text="one", delay=3.6), Reply(text="two", delay=3.6)]

    async def run(engine: FakeEngine) -> Asked:
        client = await connect(endpoint(engine, protocol, file), load_specs(), lambda event: None)
        try:
            return await ask(client, new_transcript(UserMessage(text="words " * 600)))
        finally:
            await client.close()

    with FakeEngine(replies, tokenizer=TOKENIZER) as engine:
        first = asyncio.run(run(engine))
        second = asyncio.run(run(engine))  # as another process would
    waits = first.of(Waiting)
    assert waits and all(one.percent is None and not one.estimated for one in waits)
    waits = second.of(Waiting)
    assert waits and all(one.estimated for one in waits)
    percents = [one.percent for one in waits]
    assert percents == sorted(percents) and 10 < percents[0] < percents[-1] <= 99
    assert all(one.eta_s is None or one.eta_s > 0 for one in waits)


def test_a_request_whose_turn_comes_waits_no_longer_for_others() -> None:
    events: list[object] = []

    async def main() -> Clock:
        clock = Clock(events.append, 1_000)
        for position in (1, 0):
            place = Place(position=position, ahead=(), eta_s=3.0, seconds=2.0)
            name, _, value = place.line().decode().strip().partition(": ")
            clock.queued({name: value})
        return clock

    clock = asyncio.run(main())
    assert QUEUED and not clock.queued_now
    assert events[-1] == Waiting(seconds=0.0, prompt_tokens=1_000)
