"""A batch of demo tasks through a real vLLM with models/tiny, killed and resumed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.conftest import TinyEngine
from tests.demo_batch import DemoBatch, preambles_are_cached

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("engine")]


def test_a_batch_killed_and_resumed_does_as_one_that_was_not_and_finds_its_preamble_cached(
    tiny_engine: TinyEngine, tmp_path: Path
) -> None:
    assert tiny_engine.trained, "models/tiny has no weights"
    environment = {**os.environ, "GLMCODE_HOME": str(tiny_engine.home)}
    batch = DemoBatch(tmp_path, range(930_001, 930_005), environment)
    batch.make()
    code, _, stderr = batch.run("whole")
    assert code == 0, stderr
    batch.kill_after(2, "killed")
    before = batch.records("killed")
    code, stdout, stderr = batch.run("killed", "--resume", "--jobs", "2")
    assert code == 0 and stdout.startswith("4 of 4 tasks done, 0 failed"), stderr
    assert f"{len(before)} of 4 tasks are done already" in stderr
    assert before.items() <= batch.records("killed").items()
    assert batch.outcome("killed") == batch.outcome("whole")
    assert batch.solved("killed") >= 3
    assert preambles_are_cached(batch.summary("whole"))
    assert preambles_are_cached(batch.summary("killed"), after=0)
    assert "prompt tokens cached" in stdout and "% of the preamble" in stdout
    assert batch.left("whole") == batch.left("killed") == []
