"""300 random sequences of changes, kills and undos (see tests/checkpoints/rounds.py)."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.checkpoints.rounds import Campaign, git

SEQUENCES = 300


def test_three_hundred_sequences_end_as_they_were_or_with_a_refusal_that_names_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLMCODE_HOME", str(tmp_path / "home"))
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    campaign = Campaign(tmp_path, random.Random(seed))
    for _ in range(SEQUENCES):
        campaign.sequence()
    print(dict(campaign.counts))
    assert campaign.counts["turn killed"] > SEQUENCES / 3
    assert campaign.counts["undone"] > SEQUENCES / 5 and campaign.counts["refused"] > 10
    git(campaign.root, "fsck", "--strict")
    assert git(campaign.root, "stash", "list").count("\n") == 1
