from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.fake_engine import FakeEngine
from tests.kill_rounds import TOKENIZER, Campaign, script

ROUNDS = 10


def test_runs_killed_at_random_moments_lose_nothing_that_was_shown_and_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLMCODE_HOME", str(tmp_path / "home"))
    with FakeEngine(script(10 * ROUNDS), tokenizer=TOKENIZER, window=200_000) as engine:
        campaign = Campaign(tmp_path, engine, random.Random())
        for number in range(ROUNDS):
            campaign.round(number)
        campaign.all_resume()
    assert campaign.counts["killed"] > 0 and campaign.counts["prompts compared"] > 0
