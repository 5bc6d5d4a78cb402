"""A commit inside a command of a real run, with a hook that asks the same real engine."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from glmcode.demo_task import make_task
from glmcode.sandbox import find_backend
from tests.conftest import TinyEngine
from tests.engine.engine_kit import until
from tests.sandbox.kit import repository

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("engine")]
CONFIG = "NAME = 'x'\nMAX_SIZE = 10\nMIN_SIZE = 2\n"
CHANGED = CONFIG.replace("10", "20")
PROMPT = "Set MAX_SIZE in config.py to 20."
COMMIT = """import subprocess
words = ["git", "commit", "-q", "--allow-empty", "-m", "by the tests"]
subprocess.run(words, check=True, capture_output=True)
"""
HOOK = f"""#!/bin/sh
touch began
{sys.executable} -m glmcode -p '{PROMPT}' --permission-mode acceptEdits >said 2>err
echo $? >>codes
date +%s.%N >>ended
"""


def start(work: Path, home: Path, prompt: str, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "glmcode", "-p", prompt, "--profile", "tiny", *more]
    folder = str(Path(sys.executable).parent)  # the `python` of the command
    return subprocess.Popen(
        [*command, "--permission-mode", "acceptEdits"],
        cwd=work,
        env={
            **os.environ,
            "GLMCODE_HOME": str(home),
            "PATH": f"{folder}:{os.environ['PATH']}",
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.skipif(find_backend().mechanism == "none", reason="no sandbox works here")
def test_a_hook_of_the_agents_own_commit_is_answered_while_another_waits(
    tiny_engine: TinyEngine, tmp_path: Path
) -> None:
    assert tiny_engine.trained
    task = make_task(910_001)
    work = repository(tmp_path / "work")
    for name, text in {**task.files, "config.py": CONFIG, "tests/__init__.py": COMMIT}.items():
        (work / name).parent.mkdir(exist_ok=True)
        (work / name).write_text(text)
    hook = work / ".git" / "hooks" / "pre-commit"
    hook.write_text(HOOK)
    hook.chmod(0o755)
    command = f"Bash({' '.join(task.test_command)})"
    outer = start(work, tiny_engine.home, task.prompt, "--allowed-tools", command)
    until(lambda: (work / "began").exists(), 120)
    other_work = tmp_path / "other"
    other_work.mkdir()
    (other_work / "config.py").write_text(CONFIG)
    other = start(other_work, tiny_engine.home, PROMPT)
    _, err = other.communicate(timeout=200)
    other_ended = time.time()
    assert other.returncode == 0, err
    assert (other_work / "config.py").read_text() == CHANGED
    out, err = outer.communicate(timeout=200)
    assert outer.returncode == 0, f"{out}\n{err}"
    assert (work / task.fixed_path).read_text() == task.fixed_text
    codes = (work / "codes").read_text().split()
    assert codes[0] == "0", (work / "err").read_text()
    assert (work / "config.py").read_text() == CHANGED
    assert "inside the sandbox of another run" in (work / "err").read_text()
    assert float((work / "ended").read_text().split()[0]) < other_ended
