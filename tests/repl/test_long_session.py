from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = ["--dry", "--tokens", "260000", "--window", "90000"]


def test_memory_is_flat_over_a_long_session_and_resuming_it_is_quick() -> None:
    done = subprocess.run(
        [sys.executable, "benchmarks/session.py", *OPTIONS],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["compactions"] >= 3
    assert told["live_mb_5_of_5"] < told["live_mb_1_of_5"] + 15
    assert told["resume_mb"] < told["new_mb"] + 40
    assert told["resume_s"] < 5 * told["new_s"]
