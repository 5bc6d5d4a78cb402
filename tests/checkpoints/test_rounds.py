from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.checkpoints.rounds import Campaign

SEQUENCES = 20


def test_random_sequences_of_changes_kills_and_undos_end_as_they_should(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLMCODE_HOME", str(tmp_path / "home"))
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    campaign = Campaign(tmp_path, random.Random(seed))
    for _ in range(SEQUENCES):
        campaign.sequence()
    assert campaign.counts["undone"] + campaign.counts["undone by force"] > SEQUENCES // 4
