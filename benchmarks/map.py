"""Measures `glmcode map`: on Django's source, and on a generated repository of 20,000 files.

Django is the sdist that pip downloads from the package index (or --sdist FILE). Cold is with an
empty cache folder, warm with what the cold run left; each run is a process of its own, wall and
processor seconds include its workers, memory is the largest of its processes. What must hold
(a budget is never exceeded, a focus puts the defining file on top, every run of one state of the
files prints the same bytes) is checked and ends the benchmark when it does not.

    python benchmarks/map.py [--sdist FILE] [--files 20000] [--skip-generated]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "map_results.json"
DJANGO = "django==5.2"
BUDGETS = (1, 10, 50, 200, 1_000, 4_096, 20_000)
WARM_RUNS = 5


@dataclass(frozen=True, slots=True)
class Run:
    """One `glmcode map`: what it printed, seconds, megabytes of its largest process."""

    text: str
    wall_s: float
    cpu_s: float
    rss_mb: float


def run_map(home: Path, *arguments: str) -> Run:
    """Run it to its end in a process of its own; its failure ends the benchmark."""
    environment = {**os.environ, "GLMCODE_HOME": str(home), "PYTHONPATH": str(ROOT)}
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        started = time.monotonic()
        child = subprocess.Popen(
            [sys.executable, "-m", "glmcode", "map", *arguments],
            stdout=out,
            stderr=err,
            stdin=subprocess.DEVNULL,
            env=environment,
            cwd="/",
        )
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        wall = time.monotonic() - started
        out.seek(0)
        err.seek(0)
        if child.returncode not in (0, 1):
            raise SystemExit(f"glmcode map ended with {child.returncode}: {err.read()[-500:]!r}")
        text = out.read().decode()
    return Run(text, wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def measure(tree: Path, home: Path) -> dict[str, float]:
    """Cold once, warm several times; the same bytes each time."""
    cold = run_map(home, str(tree))
    warm = [run_map(home, str(tree)) for _ in range(WARM_RUNS)]
    other = run_map(home.with_name("other-home"), str(tree))
    must(all(run.text == cold.text for run in (*warm, other)), "two runs gave two maps")
    must(bool(cold.text), "the map is empty")
    return {
        "cold_wall_s": round(cold.wall_s, 2),
        "cold_cpu_s": round(cold.cpu_s, 2),
        "cold_again_wall_s": round(other.wall_s, 2),
        "warm_wall_s": round(statistics.median(run.wall_s for run in warm), 2),
        "warm_cpu_s": round(statistics.median(run.cpu_s for run in warm), 2),
        "cold_rss_mb": round(max(cold.rss_mb, other.rss_mb)),
        "warm_rss_mb": round(max(run.rss_mb for run in warm)),
        "map_bytes": len(cold.text.encode()),
    }


def must(holds: bool, otherwise: str) -> None:
    """End the benchmark with a sentence unless something holds."""
    if not holds:
        raise SystemExit(f"FAILED: {otherwise}")


def check_budgets(tree: Path, home: Path) -> float:
    """Every budget holds, by the estimate and by a real tokenizer; gives the fullest share."""
    sys.path.insert(0, str(ROOT))
    from glmcode.debug import tokenizer_of
    from glmcode.map_command import estimated_tokens

    tokenizer = tokenizer_of("tiny")
    best = 0.0
    for budget in BUDGETS:
        for focus in ((), ("--focus", "QuerySet")):
            text = run_map(home, str(tree), "--budget", str(budget), *focus).text.rstrip("\n")
            used = estimated_tokens(text)
            must(used <= budget, f"{used} tokens in a budget of {budget}")
            best = max(best, used / budget)
        text = run_map(home, str(tree), "--budget", str(budget), "--profile", "tiny").text
        used = len(tokenizer.encode_text(text.rstrip("\n")))
        must(used <= budget, f"{used} real tokens in a budget of {budget}")
    return best


def check_focus(tree: Path, home: Path, name: str) -> str:
    """The first file of a map with a focus defines it."""
    top = run_map(home, str(tree), "--focus", name).text.partition("\n")[0]
    must(f"class {name}" in (tree / top).read_text(), f"{top} does not define {name}")
    return top


def django(folder: Path, sdist: Path | None) -> Path | None:
    """Django's source, unpacked; None when it could not be had."""
    if sdist is None:
        done = subprocess.run(
            [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary",
             ":all:", "--dest", str(folder), DJANGO],
            capture_output=True, text=True,
        )  # fmt: skip
        found = sorted(folder.glob("*.tar.gz"))
        if not found:
            print(f"Django's sdist could not be had: {done.stderr.strip()[-300:]}")
            return None
        sdist = found[0]
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "source", filter="data")
    return next((folder / "source").iterdir())


def generate(folder: Path, count: int) -> Path:
    """A repository of so many files in 200 packages and three languages, the same each time."""
    dice = random.Random(20_000)
    names = [f"{dice.choice(VERBS)}_{dice.choice(NOUNS)}_{n}" for n in range(4 * count)]
    for number in range(count):
        package = folder / f"package_{number % 200:03}"
        package.mkdir(parents=True, exist_ok=True)
        own = names[4 * number : 4 * number + 4]
        used = [dice.choice(names[: 4 * (1 + dice.randrange(count))]) for _ in range(10)]
        ending, text = MAKERS[number % 10 if number % 10 < 2 else 2](number, own, used)
        (package / f"module_{number:05}.{ending}").write_text(text)
    return folder


VERBS = ("load", "parse", "check", "write", "merge", "split", "count", "store", "apply", "build")
NOUNS = ("order", "price", "user", "page", "token", "report", "queue", "shape", "route", "event")


def _python(number: int, own: list[str], used: list[str]) -> tuple[str, str]:
    calls = "\n".join(f"        value = {name}(value, other)" for name in used)
    methods = "".join(
        f"    def {name}(self, value, other=None):\n{calls}\n        return value\n\n"
        for name in own[1:]
    )
    imports = "\n".join(f"from package_{n:03} import {name}" for n, name in enumerate(used[:5]))
    return "py", (
        f"{imports}\n\nLIMIT_{number} = {number}\n\n\nclass Thing{number}:\n{methods}\n"
        f"def {own[0]}(value, other=None):\n{calls.replace('        ', '    ')}\n    return value\n"
    )


def _go(number: int, own: list[str], used: list[str]) -> tuple[str, str]:
    calls = "".join(f"\tvalue = {name}(value)\n" for name in used)
    functions = "".join(
        f"func {name}(value int) int {{\n{calls}\treturn value\n}}\n" for name in own
    )
    return "go", f"package p\n\ntype Thing{number} struct {{ Value int }}\n\n{functions}"


def _typescript(number: int, own: list[str], used: list[str]) -> tuple[str, str]:
    calls = "".join(f"  value = {name}(value);\n" for name in used)
    functions = "".join(
        f"export function {name}(value: number): number {{\n{calls}  return value;\n}}\n"
        for name in own
    )
    return "ts", f"export interface Thing{number} {{ value: number }}\n{functions}"


MAKERS = (_go, _typescript, _python)


def main() -> None:
    """Measure, check, print, write results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sdist", type=Path)
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--skip-generated", action="store_true")
    given = parser.parse_args()
    results: dict[str, object] = {"cores": len(os.sched_getaffinity(0)), "load": os.getloadavg()[0]}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tree = django(folder, given.sdist)
        if tree is not None:
            rows: dict[str, object] = dict(measure(tree, folder / "home"))
            rows["fullest_budget"] = round(check_budgets(tree, folder / "home"), 3)
            rows["focus_QuerySet"] = check_focus(tree, folder / "home", "QuerySet")
            results["django"] = rows
            print("django", json.dumps(rows))
        if not given.skip_generated:
            big = generate(folder / "big", given.files)
            results["generated"] = {"files": given.files, **measure(big, folder / "big-home")}
            print("generated", json.dumps(results["generated"]))
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
