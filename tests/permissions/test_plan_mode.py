from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from tests.permissions.test_headless_rules import HOSTILE, Work

TRIES: list[dict[str, Any]] = [
    {"name": "Write", "arguments": {"file_path": "made", "content": "x"}},
    {"name": "Write", "arguments": {"file_path": "sub/../made", "content": "x"}},
    {"name": "Write", "arguments": {"file_path": ".git/hooks/pre-commit", "content": "x"}},
    {"name": "Read", "arguments": {"file_path": "a.py"}},
    {
        "name": "Edit",
        "arguments": {"file_path": "a.py", "old_string": "x = 1", "new_string": "x = 2"},
    },
    *({"name": "Bash", "arguments": {"command": command}} for command in HOSTILE),
    {"name": "Bash", "arguments": {"command": "touch made", "run_in_background": True}},
    {"name": "Bash", "arguments": {"command": "git commit -am x"}},
    {"name": "Bash", "arguments": {"command": "git checkout a.py"}},
    {"name": "Bash", "arguments": {"command": "git stash"}},
    {"name": "Bash", "arguments": {"command": "rm a.py"}},
    {"name": "Bash", "arguments": {"command": "git branch new"}},
]


def _state(folder: Path) -> dict[str, str]:
    found = {}
    for parent, _, files in os.walk(folder):
        for name in files:
            path = Path(parent) / name
            found[str(path.relative_to(folder))] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def test_plan_mode_changes_nothing_in_forty_tries_whatever_is_allowed(tmp_path: Path) -> None:
    assert len(TRIES) >= 40
    work = Work(tmp_path)
    work.git("status")
    before = _state(work.folder)
    rules = ("--allowed-tools", "Bash,Edit,Write,Bash(touch *)")
    code, _ = work.run(TRIES, "--permission-mode", "plan", *rules)
    assert code == 0
    after = _state(work.folder)
    assert {k: v for k, v in after.items() if k != ".git/index"} == {
        k: v for k, v in before.items() if k != ".git/index"
    }
