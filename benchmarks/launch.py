"""Measures how long `--version` and `--help` take, against an interpreter that does nothing.

python benchmarks/launch.py [--runs N]
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path


def milliseconds(command: list[str], runs: int) -> float:
    """Median wall time of a command."""
    times = []
    for _ in range(runs):
        started = time.perf_counter()
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        times.append(1000 * (time.perf_counter() - started))
    return statistics.median(times)


def main() -> None:
    """Print medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20)
    runs = parser.parse_args().runs
    beside = Path(sys.executable).with_name("glmcode")
    script = str(beside) if beside.exists() else shutil.which("glmcode") or "glmcode"
    floor = milliseconds([sys.executable, "-c", "pass"], runs)
    print(f"python -c pass      {floor:6.1f} ms")
    for flag in ("--version", "--help"):
        own = milliseconds([script, flag], runs)
        print(f"glmcode {flag:<10}  {own:6.1f} ms  ({own / floor:.2f} x)")


if __name__ == "__main__":
    main()
