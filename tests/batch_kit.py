"""A batch over a small repository against a scripted server, as tests start it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.fake_engine import FakeEngine, Reply, Seen


def git(folder: Path, *words: str) -> str:
    command = ["git", "-c", "user.name=t", "-c", "user.email=t@t", *words]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


class Diligent(FakeEngine):
    """Answers each conversation by what it says: first a command, then the end.

    The command appends the task's last line to a.py. delay: seconds of each answer.
    """

    def __init__(self, delay: float = 0.0) -> None:
        super().__init__([])
        self.delay = delay

    def _step(self, seen: Seen) -> Reply:
        messages = seen.json["messages"]
        prompt = next(m for m in reversed(messages) if m["role"] == "user")["content"]
        if messages[-1]["role"] == "tool":
            return Reply(text=f"Done: {prompt.splitlines()[-1]}.", delay=self.delay)
        command = f"echo '{prompt.splitlines()[-1]}' >> a.py"
        call = {"name": "Bash", "arguments": {"command": command}}
        return Reply(calls=[call], delay=self.delay)


class Batch:
    def __init__(self, tmp_path: Path) -> None:
        self.work = tmp_path / "work"
        self.work.mkdir()
        (self.work / "a.py").write_bytes(b"x = 1\n")
        git(self.work, "init", "-q")
        git(self.work, "add", "-A")
        git(self.work, "commit", "-qm", "first")
        self.file = tmp_path / "tasks.jsonl"
        self.out = tmp_path / "tasks.out"
        self.environment = {**os.environ, "GLMCODE_HOME": str(tmp_path / "home")}

    def tasks(self, *tasks: dict[str, Any]) -> None:
        self.file.write_text("".join(json.dumps(task) + "\n" for task in tasks))

    def start(
        self, engine: FakeEngine | None, *words: str, safe: bool = False, **more: Any
    ) -> subprocess.Popen[str]:
        server: list[str] = []
        if engine is not None:
            server = ["--base-url", engine.base_url, "--protocol", "chat", "-m", "glm"]
        command = [sys.executable, *(["-P"] if safe else []), "-m", "glmcode", "batch"]
        return subprocess.Popen(
            [*command, str(self.file), *server, *words],
            cwd=self.work,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            **{"stdout": subprocess.PIPE, **more},
        )

    def run(
        self, engine: FakeEngine | None, *words: str, safe: bool = False, **more: Any
    ) -> tuple[int, str, str]:
        ran = self.start(engine, *words, safe=safe, **more)
        stdout, stderr = ran.communicate(timeout=120)
        return ran.returncode, stdout, stderr

    def record(self, name: str) -> dict[str, Any]:
        value: dict[str, Any] = json.loads((self.out / "results" / f"{name}.json").read_text())
        return value
