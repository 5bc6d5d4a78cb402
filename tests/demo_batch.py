"""A batch of demo tasks for models/tiny: made, run, killed in the middle, resumed, compared."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glmcode.demo_task import make_task
from tests.batch_kit import git

BLOCK = 128
"""Tokens of a block of the tiny engine's prefix cache."""


@dataclass
class DemoBatch:
    """Repositories, one for each seed, and tasks.jsonl below `folder`."""

    folder: Path
    seeds: Sequence[int]
    environment: Mapping[str, str]

    def make(self) -> None:
        tasks = []
        for seed in self.seeds:
            task, repo = make_task(seed), self.folder / "repos" / f"d{seed}"
            for name, text in task.files.items():
                path = repo / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
            git(repo, "init", "-q")
            (repo / ".git" / "info" / "exclude").write_text("__pycache__/\n")
            git(repo, "add", "-A")
            git(repo, "commit", "-qm", "start")
            tasks.append({"id": f"d{seed}", "prompt": task.prompt, "repo": f"repos/d{seed}"})
        text = "".join(json.dumps(task) + "\n" for task in tasks)
        (self.folder / "tasks.jsonl").write_text(text)

    def start(self, output: str, *words: str) -> subprocess.Popen[str]:
        path = f"{Path(sys.executable).parent}{os.pathsep}{self.environment['PATH']}"
        command = [sys.executable, "-m", "glmcode", "batch", "tasks.jsonl", "--output", output]
        return subprocess.Popen(
            [*command, "--worktrees", "-y", "--profile", "tiny", "--max-turns", "16", *words],
            cwd=self.folder,
            env={**self.environment, "PATH": path},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, output: str, *words: str) -> tuple[int, str, str]:
        ran = self.start(output, *words)
        stdout, stderr = ran.communicate(timeout=900)
        return ran.returncode, stdout, stderr

    def kill_after(self, count: int, output: str, *words: str) -> None:
        """Run, and SIGKILL the batch as soon as so many tasks are done and another one runs."""
        ran = self.start(output, *words)
        end = time.monotonic() + 600
        while len(self.records(output)) < count or not self._at_work(output):
            assert ran.poll() is None, ran.communicate()
            assert time.monotonic() < end, self.records(output)
            time.sleep(0.05)
        ran.send_signal(signal.SIGKILL)
        ran.communicate()

    def _at_work(self, output: str) -> bool:
        done = self.records(output).keys()
        logs = {path.stem for path in (self.folder / output / "logs").glob("*.log")}
        return bool(logs - done)

    def records(self, output: str) -> dict[str, bytes]:
        folder = self.folder / output / "results"
        return {path.stem: path.read_bytes() for path in folder.glob("*.json")}

    def outcome(self, output: str) -> dict[str, tuple[int, str, bytes]]:
        """The code, the answer and the patch of each task."""
        results = {name: json.loads(data)["result"] for name, data in self.records(output).items()}
        return {
            name: (one["exit_code"], one["result"], self.patch(output, name))
            for name, one in results.items()
        }

    def patch(self, output: str, name: str) -> bytes:
        return (self.folder / output / "patches" / f"{name}.patch").read_bytes()

    def solved(self, output: str) -> int:
        """Tasks whose patch makes of the repository exactly the repaired one."""
        count = 0
        for seed in self.seeds:
            task, copy = make_task(seed), self.folder / "applied" / f"{output}-d{seed}"
            git(self.folder, "clone", "-q", str(self.folder / "repos" / f"d{seed}"), str(copy))
            if patch := self.patch(output, f"d{seed}"):
                (self.folder / "applied" / "patch").write_bytes(patch)
                git(copy, "apply", str(self.folder / "applied" / "patch"))
            want = {**task.files, task.fixed_path: task.fixed_text}
            count += all((copy / name).read_text() == text for name, text in want.items())
        return count

    def summary(self, output: str) -> dict[str, Any]:
        value: dict[str, Any] = json.loads((self.folder / output / "summary.json").read_text())
        return value

    def left(self, output: str) -> list[str]:
        """Worktrees that stayed, here or in git's records."""
        found = list((self.folder / output / "worktrees").iterdir())
        found += self.folder.glob("repos/*/.git/worktrees/*")
        return [str(path) for path in found]


def preambles_are_cached(summary: Mapping[str, Any], after: int = 1) -> bool:
    """Whether all tasks but the first found every whole block of the preamble in the cache."""
    rows = [row["cached"] for row in summary["tasks"].values()][after:]
    return bool(rows) and all(
        row["preamble_tokens"] > BLOCK
        and row["preamble_cached_tokens"] >= row["preamble_tokens"] // BLOCK * BLOCK - BLOCK
        for row in rows
    )
