"""Measures what glmcode costs around the model: a ten-step job against a scripted engine.

Own time is the end of one answer to the arrival of the next request; launch is process start
to the first request. Medians over several runs; quote ratios, not the absolutes. Nothing here
judges: it prints, and writes benchmarks/results.json.

    python benchmarks/own_time.py [--runs N] [--protocol chat|tokens|both]
"""

from __future__ import annotations

import argparse
import compileall
import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from results import keep

ROOT = Path(__file__).resolve().parent.parent
STEP_PATHS = ("/v1/chat/completions", "/v1/completions", "/inference/v1/generate")


def script() -> list[dict[str, Any]]:
    """Ten steps: reads, a file written and edited again and again, then an answer."""
    steps: list[dict[str, Any]] = [_call("Read", file_path="a.py"), _call("Read", file_path="b.py")]
    steps.append(_call("Write", file_path="new/c.py", content="x = 0\n" * 20 + "y = 0\n"))
    for number in range(6):
        steps.append(
            _call(
                "Edit",
                file_path="a.py",
                old_string=f"value = {number}",
                new_string=f"value = {number + 1}",
            )
        )
    steps.append({"text": "Done: value is 6.", "reasoning": "all edits are made"})
    return steps


def _call(name: str, **arguments: str) -> dict[str, Any]:
    return {"reasoning": f"now {name}", "calls": [{"name": name, "arguments": arguments}]}


def measure(protocol: str, folder: Path) -> dict[str, float]:
    """One run: own time per step (ms), launch (s), wall (s), RSS (MB), first prompt (chars)."""
    work = folder / "work"
    work.mkdir()
    (work / "a.py").write_text("def f():\n    value = 0\n    return value\n" + "# line\n" * 60)
    (work / "b.py").write_text("import a\n")
    (folder / "script.json").write_text(json.dumps(script()))
    record = folder / "record.jsonl"
    tokenizer = ROOT / "models" / "tiny" / "tokenizer.json"
    engine = subprocess.Popen(
        [sys.executable, str(ROOT / "tests" / "fake_engine.py"), "--script",
         str(folder / "script.json"), "--record", str(record), "--tokenizer", str(tokenizer),
         "--window", "200000"],
        stdout=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    assert engine.stdout is not None
    address = engine.stdout.readline().strip().split()[-1]
    base_url = address if address.endswith("/v1") else f"{address}/v1"
    command = [
        sys.executable, "-m", "glmcode", "-p", "make value 6", "--base-url", base_url,
        "--protocol", protocol, "-m", "glm", "-y", "--output-format", "stream-json",
        "-C", str(work),
    ]  # fmt: skip
    if protocol == "tokens":
        command += ["--set", f"engine.tokenizer={tokenizer}"]
    environment = {**os.environ, "GLMCODE_HOME": str(folder / "home")}
    try:
        started = time.monotonic()
        done = subprocess.run(
            command, capture_output=True, text=True, env=environment, stdin=subprocess.DEVNULL
        )
        wall = time.monotonic() - started
    finally:
        engine.kill()
        engine.wait()
    if done.returncode != 0:
        raise SystemExit(f"the job failed ({done.returncode}): {done.stdout[-500:]} {done.stderr}")
    lines = [json.loads(line) for line in record.read_text().splitlines()]
    steps = [line for line in lines if line["path"] in STEP_PATHS]
    own = [1000 * (b["at"] - a["answered"]) for a, b in itertools.pairwise(steps)]
    assert all(step["grows"] is not False for step in steps), "a prompt did not grow"
    return {
        "own_ms_median": statistics.median(own),
        "own_ms_max": max(own),
        "launch_s": steps[0]["at"] - started,
        "wall_s": wall,
        "requests_before_first": float(lines.index(steps[0])),
        "prompt_chars": float(len(json.dumps(steps[0]["body"]))),
    }


def main() -> None:
    """Run, print medians, write results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--protocol", choices=("chat", "tokens", "both"), default="both")
    given = parser.parse_args()
    results: dict[str, Any] = {}
    compileall.compile_dir(ROOT / "glmcode", quiet=1)  # as an installed copy is
    for protocol in ("chat", "tokens") if given.protocol == "both" else (given.protocol,):
        rows = []
        for _ in range(given.runs):
            with tempfile.TemporaryDirectory() as folder:
                rows.append(measure(protocol, Path(folder)))
        medians = {key: round(statistics.median(row[key] for row in rows), 3) for key in rows[0]}
        results[protocol] = medians
        print(protocol, json.dumps(medians))
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    results["rss_mb_max"] = round(peak, 1)
    print("largest child RSS", f"{peak:.0f} MB")
    keep(results)


if __name__ == "__main__":
    main()
