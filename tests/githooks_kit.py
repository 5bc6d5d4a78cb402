"""Repositories with hooks of glmcode's, and an engine that is scripted."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.fake_engine import FakeEngine, Reply

PASS = {"findings": [], "verdict": "pass"}
BLOCK = {
    "findings": [
        {"file": "a.py", "line": 1, "code": "", "severity": "error", "reason": "wrong here"}
    ],
    "verdict": "block",
}


def answer(value: Any, **more: Any) -> Reply:
    return Reply(text=json.dumps(value), **more)


class Repository:
    """A repository and the environment in which git and glmcode run there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "repo"
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
        self.environment |= {
            "GLMCODE_HOME": str(folder / "home"), "GIT_CONFIG_GLOBAL": str(folder / "gitconfig"),
            "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a",
            "GIT_COMMITTER_EMAIL": "a@b", "GIT_EDITOR": "true",
        }  # fmt: skip
        (folder / "gitconfig").write_text("[init]\ndefaultBranch = main\n")
        self.path.mkdir()
        self.git("init", "-q")

    def git(
        self, *words: str, ok: bool = True, cwd: Path | None = None, typed: str = "", **more: str
    ) -> subprocess.CompletedProcess[str]:
        ran = subprocess.run(
            ["git", *words], cwd=cwd or self.path, env={**self.environment, **more},
            capture_output=True, text=True, errors="replace", timeout=120, input=typed,
        )  # fmt: skip
        assert not ok or ran.returncode == 0, ran.stderr
        return ran

    def hook(self, *words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-P", "-m", "glmcode", "hook", *words], cwd=cwd or self.path,
            env=self.environment, capture_output=True, text=True, timeout=60,
        )  # fmt: skip

    def install(self, *words: str, engine: FakeEngine | None = None) -> None:
        """With an engine: the hook asks that one; without: one that nobody answers for."""
        url = engine.base_url if engine else "http://127.0.0.1:9/v1"
        more = ("--base-url", url, "--protocol", "chat", "-m", "glm")
        ran = self.hook("install", *words, *more)
        assert ran.returncode == 0, ran.stderr

    def stage(self, name: str, text: str | bytes) -> None:
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text.encode() if isinstance(text, str) else text)
        self.git("add", "--", name)

    def staged_tree(self) -> str:
        return self.git("write-tree").stdout.strip()

    def head_tree(self) -> str:
        return self.git("rev-parse", "HEAD^{tree}").stdout.strip()

    def hooks(self) -> dict[str, tuple[int, str]]:
        """Every file of the hooks' folder: mode and content."""
        folder = self.path / ".git" / "hooks"
        files = sorted(folder.iterdir()) if folder.is_dir() else []
        return {
            one.name: (one.lstat().st_mode, hashlib.sha256(one.read_bytes()).hexdigest())
            for one in files
        }
