"""Measures what checkpoints add to a step: on a clean tree of many files and on a small repository.

A step with a command looks twice: before it, which the step waits for, and after it, which runs
while the model goes on. An edit after the first of a turn looks at its own file only. Wall time
and CPU time are printed: on a busy machine only the second says something.

python benchmarks/checkpoints.py [--files N] [--runs N]
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from results import keep

from glmcode.checkpoints.recorder import Checkpoints

ROOT = Path(__file__).resolve().parent.parent
A_FOLDER = 20


def timed(act: Callable[[], Any]) -> tuple[float, float]:
    """Wall and CPU milliseconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    act()
    return 1000 * (time.perf_counter() - wall), 1000 * (time.process_time() - cpu)


def median(times: list[tuple[float, float]]) -> dict[str, float]:
    """Medians of both."""
    return {
        "wall_ms": round(statistics.median(wall for wall, _ in times), 2),
        "cpu_ms": round(statistics.median(cpu for _, cpu in times), 2),
    }


def make_tree(root: Path, files: int) -> None:
    """Files of a few hundred bytes, twenty to a folder, three folders deep."""
    for number in range(files // A_FOLDER):
        folder = root / f"part{number % 10}" / f"area{number // 10 % 10}" / f"module{number}"
        folder.mkdir(parents=True)
        for name in range(A_FOLDER):
            (folder / f"file{name}.py").write_text(f"# {number} {name}\n" * 20)


def measure(root: Path, runs: int) -> dict[str, Any]:
    """All numbers of one tree."""
    first = Checkpoints(root, "first")
    read = timed(lambda: first.warm(lambda: False))
    first.close()
    kept = Checkpoints(root, "second")
    again = timed(lambda: kept.warm(lambda: False))
    edited = str(root / "README.md")
    before, after, edits = [], [], []
    for _ in range(runs):
        kept.begin("a turn")
        steps: list[Any] = []
        before.append(timed(lambda: steps.append(kept.before("Bash", "true", command=True))))  # noqa: B023
        after.append(timed(lambda: kept.after(steps[0])))  # noqa: B023
        edits.append(timed(lambda: kept.after(kept.before("Edit", "README.md", [edited]))))
    kept.close()
    return {
        "files": sum(len(names) for _, _, names in os.walk(root)),
        "first_session": median([read]),
        "later_session": median([again]),
        "before": median(before),
        "after": median(after),
        "edit": median(edits),
    }


def main() -> None:
    """Print and keep the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=50_000)
    parser.add_argument("--runs", type=int, default=15)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="glm-checkpoints-"))
    os.environ["GLMCODE_HOME"] = str(folder / "home")
    results: dict[str, Any] = {}
    try:
        make_tree(folder / "large", options.files)
        for part in ("glmcode", "tests", "tools", "prompts"):
            shutil.copytree(ROOT / part, folder / "small" / part)
        time.sleep(3)  # what is as young as the look would be read again
        for name in ("large", "small"):
            results[name] = found = measure((folder / name).resolve(), options.runs)
            print(f"{name}: {found['files']:,} files")
            for what in ("first_session", "later_session", "before", "after", "edit"):
                print(f"  {what:14} {found[what]['wall_ms']:8.1f} ms, "
                      f"{found[what]['cpu_ms']:8.1f} ms CPU")  # fmt: skip
    finally:
        shutil.rmtree(folder)
    keep({"checkpoints": results})


if __name__ == "__main__":
    main()
