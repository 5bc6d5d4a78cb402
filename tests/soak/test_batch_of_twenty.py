"""Twenty demo tasks through a real vLLM, killed twice on the way and resumed; tells the figures."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from tests.conftest import TinyEngine
from tests.demo_batch import DemoBatch, preambles_are_cached

pytestmark = pytest.mark.engine


def test_twenty_demo_tasks_killed_and_resumed_end_as_those_that_were_not(
    tiny_engine: TinyEngine, tmp_path: Path
) -> None:
    environment = {**os.environ, "GLMCODE_HOME": str(tiny_engine.home)}
    batch = DemoBatch(tmp_path, range(940_001, 940_021), environment)
    batch.make()
    began = time.monotonic()
    assert batch.run("whole")[0] == 0
    whole = time.monotonic() - began
    batch.kill_after(7, "killed")
    seven = batch.records("killed")
    batch.kill_after(13, "killed", "--resume", "--jobs", "2")
    thirteen = batch.records("killed")
    code, stdout, stderr = batch.run("killed", "--resume")
    assert code == 0 and stdout.startswith("20 of 20 tasks done, 0 failed"), stderr
    assert seven.items() <= thirteen.items() <= batch.records("killed").items()
    assert batch.outcome("killed") == batch.outcome("whole")
    assert batch.left("whole") == batch.left("killed") == []
    assert preambles_are_cached(batch.summary("whole"))
    assert preambles_are_cached(batch.summary("killed"), after=0)
    solved = batch.solved("killed")
    assert solved >= 17
    figures = {
        "solved": solved,
        "whole_s": round(whole, 1),
        "done at the kills": [len(seven), len(thirteen)],
        "whole": batch.summary("whole")["cached"],
        "killed": batch.summary("killed")["cached"],
    }
    print(json.dumps(figures))
