"""Which predictions solve their instance: the patch is applied, then the test, and it is run.

    python examples/swebench/evaluate.py sample/instances.jsonl predictions.jsonl

In a clone of its own for each, at the base commit. --gold evaluates the instances' own patches,
--report FILE writes what came of each as JSON. Exit code 0 where everything could be evaluated,
1 where a test could not be run at all.

The tests run what the model wrote, without a sandbox: evaluate in a container or a machine that
may be lost.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from predict import read, repository


def apply(folder: Path, patch: str) -> bool:
    """Whether a patch could be applied; an empty one can."""
    data = patch.encode("utf-8", "surrogateescape")
    command = ["git", "apply", "--whitespace=nowarn", "-"]
    if not data.strip():
        return True
    return subprocess.run(command, cwd=folder, input=data, capture_output=True).returncode == 0


def evaluate(instance: dict[str, Any], patch: str, repos: Path, limit_s: float) -> str:
    """What came of it: resolved, unresolved, timeout, "does not apply" or "error: …"."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "repo"
        source = repository(instance["repo"], repos)
        for command in (
            ["git", "clone", "-q", "--no-checkout", source, str(folder)],
            ["git", "-C", str(folder), "checkout", "-q", "--detach", instance["base_commit"]],
        ):
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                return f"error: {done.stderr.strip()}"
        if not apply(folder, patch):
            return "does not apply"
        if not apply(folder, instance.get("test_patch", "")):
            return "does not apply"  # the patch changed the test's own file
        program, *words = instance["test_command"]
        program = sys.executable if program in ("python", "python3") else program
        try:
            test = subprocess.run(
                [program, *words],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=limit_s,
            )
        except subprocess.TimeoutExpired:
            return "timeout"
        except OSError as error:
            return f"error: {error}"
        return "resolved" if test.returncode == 0 else "unresolved"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("instances", type=Path)
    parser.add_argument("predictions", type=Path, nargs="?")
    parser.add_argument("--gold", action="store_true", help="evaluate the instances' own patches")
    parser.add_argument("--repos", type=Path, help="where the repositories are")
    parser.add_argument("--time-limit", type=float, default=600, help="seconds of one test")
    parser.add_argument("--report", type=Path)
    given = parser.parse_args()
    if given.gold == (given.predictions is not None):
        parser.error("give predictions, or --gold")
    instances = list(read(given.instances))
    patches = {one["instance_id"]: one.get("patch", "") for one in instances}
    if not given.gold:
        patches = {one["instance_id"]: one["model_patch"] for one in read(given.predictions)}
    told: dict[str, str] = {}
    for instance in instances:
        name = instance["instance_id"]
        repos = given.repos or given.instances.parent
        told[name] = "no prediction"
        if name in patches:
            told[name] = evaluate(instance, patches[name], repos, given.time_limit)
        print(f"{name}: {told[name]}", flush=True)
    counts = Counter(one.partition(":")[0] for one in told.values())
    print(f"{counts['resolved']} of {len(instances)} resolved")
    if given.report:
        given.report.write_text(json.dumps({"instances": told, "counts": counts}, indent=1) + "\n")
    return 1 if counts["error"] else 0


if __name__ == "__main__":
    sys.exit(main())
