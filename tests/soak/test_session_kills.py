"""kill -9 at 200 random moments of runs with a scripted engine (see tests/kill_rounds.py)."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.fake_engine import FakeEngine
from tests.kill_rounds import TOKENIZER, Campaign, script

ROUNDS = 200


def test_two_hundred_kills_lose_nothing_that_was_shown_and_every_file_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLMCODE_HOME", str(tmp_path / "home"))
    seed = random.randrange(10**6)
    with FakeEngine(script(2 * ROUNDS), tokenizer=TOKENIZER, window=200_000) as engine:
        campaign = Campaign(tmp_path, engine, random.Random(seed))
        for number in range(ROUNDS):
            campaign.round(number)
        campaign.all_resume()
    print(f"seed {seed}: {dict(campaign.counts)}")
    assert campaign.counts["killed"] > ROUNDS / 2
    assert campaign.counts["calls closed"] > 5 and campaign.counts["messages shown"] > ROUNDS
