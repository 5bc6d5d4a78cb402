"""Makes a small set in the shape of SWE-bench: four repositories, each with a planted fault.

    python examples/swebench/make_sample.py sample

writes sample/repos/NAME (git repositories whose HEAD has moved on since the base commit) and
sample/instances.jsonl. The test that shows the fault is not in the repository: like the repair, it
is a patch of the instance (`test_patch`, `patch`), which only evaluate.py applies.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

WRAP = '''"""Text in columns."""


def wrap(text: str, width: int) -> list[str]:
    """Lines of at most `width` characters, broken between words."""
    lines: list[str] = []
    line = ""
    for word in text.split():
        if line and len(line) + len(word) > width:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}".strip()
    return [*lines, line] if line else lines
'''
SPANS = '''"""Spans of numbers."""


def merge(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Overlapping and touching spans as one, in order."""
    merged: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], end)
        else:
            merged.append((start, end))
    return merged
'''
CACHE = '''"""A small cache."""

from collections import OrderedDict


class Cache:
    """Keeps the `size` values used last."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._kept: OrderedDict[str, object] = OrderedDict()

    def put(self, key: str, value: object) -> None:
        self._kept[key] = value
        if len(self._kept) > self.size:
            self._kept.popitem(last=False)

    def get(self, key: str) -> object:
        return self._kept.get(key)
'''
PRICES = '''"""Prices in cents."""


def total(cents: list[int], percent_off: int = 0) -> int:
    """The sum less a discount, rounded half up to whole cents."""
    return sum(cents) * (100 - percent_off) // 100
'''

# name, file, text, (wrong, right), problem, test
FAULTS = (
    (
        "columns",
        "columns.py",
        WRAP,
        ("len(line) + len(word) > width", "len(line) + 1 + len(word) > width"),
        "wrap() gives lines that are too long\n\n`wrap('ab cd', 4)` is one line of five "
        "characters. I expected two lines, since the space counts, too.",
        "from columns import wrap\n"
        "class Wrap(unittest.TestCase):\n"
        "    def test_the_space_counts(self):\n"
        "        self.assertEqual(wrap('ab cd', 4), ['ab', 'cd'])\n"
        "        self.assertEqual(wrap('ab cd', 5), ['ab cd'])\n",
    ),
    (
        "spans",
        "spans.py",
        SPANS,
        ("(merged[-1][0], end)", "(merged[-1][0], max(merged[-1][1], end))"),
        "merge() loses the end of a span that holds another one\n\n"
        "`merge([(1, 9), (2, 3)])` returns [(1, 3)].",
        "from spans import merge\n"
        "class Merge(unittest.TestCase):\n"
        "    def test_a_span_inside_another_one(self):\n"
        "        self.assertEqual(merge([(1, 9), (2, 3)]), [(1, 9)])\n"
        "        self.assertEqual(merge([(1, 2), (2, 4)]), [(1, 4)])\n",
    ),
    (
        "cache",
        "cache.py",
        CACHE,
        (
            "        return self._kept.get(key)",
            "        if key in self._kept:\n            self._kept.move_to_end(key)\n"
            "        return self._kept.get(key)",
        ),
        "Reading does not keep a value in the cache\n\nThe class says that it keeps the values "
        "used last, but one that is read all the time is dropped as soon as others are put.",
        "from cache import Cache\n"
        "class Reading(unittest.TestCase):\n"
        "    def test_what_was_read_stays(self):\n"
        "        cache = Cache(2)\n"
        "        cache.put('a', 1)\n"
        "        cache.put('b', 2)\n"
        "        cache.get('a')\n"
        "        cache.put('c', 3)\n"
        "        self.assertEqual([cache.get(k) for k in 'abc'], [1, None, 3])\n",
    ),
    (
        "prices",
        "prices.py",
        PRICES,
        ("(100 - percent_off) // 100", "(100 - percent_off) + 50) // 100"),
        "Totals with a discount are a cent too low\n\n`total([99], 50)` is 49, but the half cent "
        "should be rounded up as the docstring says: 50.",
        "from prices import total\n"
        "class Total(unittest.TestCase):\n"
        "    def test_half_a_cent_is_rounded_up(self):\n"
        "        self.assertEqual(total([99], 50), 50)\n"
        "        self.assertEqual(total([10, 20]), 30)\n",
    ),
)


def repaired(name: str, text: str, wrong: str, right: str) -> str:
    if name == "prices":
        text = text.replace("return sum(cents)", "return (sum(cents)")
    return text.replace(wrong, right)


def git(folder: Path, *words: str) -> str:
    """git with fixed settings, names and dates: the same commits each time."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    who = {"NAME": "sample", "EMAIL": "sample@localhost", "DATE": "2024-01-01T00:00:00Z"}
    fixed = {f"GIT_{role}_{key}": who[key] for role in ("AUTHOR", "COMMITTER") for key in who}
    environment = {**kept, **fixed, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    command = ["git", "-c", "init.defaultBranch=main", *words]
    done = subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.PIPE)
    return done.stdout.decode()


def difference(folder: Path, changes: dict[str, str]) -> str:
    """The patch that these contents are; the folder stays as it is."""
    for name, text in changes.items():
        (folder / name).write_text(text)
    git(folder, "add", "-A")
    patch = git(folder, "diff", "--cached", "--full-index")
    git(folder, "reset", "-q", "--hard")
    return patch


def make(folder: Path) -> list[dict[str, object]]:
    """The repositories, and the instances."""
    instances: list[dict[str, object]] = []
    for name, file, text, (wrong, right), problem, test in FAULTS:
        repo = folder / "repos" / name
        repo.mkdir(parents=True)
        (repo / file).write_text(text)
        (repo / ".gitignore").write_text("__pycache__/\n")
        git(repo, "init", "-q")
        git(repo, "add", "-A")
        git(repo, "commit", "-qm", f"The module {name}")
        base = git(repo, "rev-parse", "HEAD").strip()
        fixed = repaired(name, text, wrong, right)
        instances.append(
            {
                "instance_id": f"sample__{name}-1",
                "repo": f"repos/{name}",
                "base_commit": base,
                "problem_statement": problem,
                "patch": difference(repo, {file: fixed}),
                "test_patch": difference(repo, {f"test_{name}.py": f"import unittest\n\n{test}"}),
                "test_command": ["python", "-m", "unittest", "-q", f"test_{name}"],
            }
        )
        (repo / "README").write_text(f"{name}: moved on since.\n")
        git(repo, "add", "-A")
        git(repo, "commit", "-qm", "A README")
    return instances


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    given = parser.parse_args()
    if given.folder.exists():
        print(f"{given.folder} is there already", file=sys.stderr)
        return 2
    instances = make(given.folder)
    lines = "".join(json.dumps(instance) + "\n" for instance in instances)
    (given.folder / "instances.jsonl").write_text(lines)
    print(f"{len(instances)} instances in {given.folder / 'instances.jsonl'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
