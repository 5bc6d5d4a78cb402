"""A hook and a person at the same real engine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from glmcode.engine.attach import engine_status
from tests.conftest import TinyEngine
from tests.engine.engine_kit import until
from tests.githooks_kit import Repository

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("engine")]
CONFIG = "NAME = 'x'\nMAX_SIZE = 10\nMIN_SIZE = 2\n"
DEADLINE_S = 60.0


def turn(repo: Repository, size: int) -> tuple[float, float]:
    """Seconds of a person's turn, and of them those in the queue, as it counts them itself."""
    work = repo.folder / f"work{size}"
    work.mkdir()
    (work / "config.py").write_text(CONFIG)
    words = ["-p", f"Set MAX_SIZE in config.py to {size}.", "--profile", "tiny"]
    words += ["--queue-class", "interactive", "--permission-mode", "acceptEdits"]
    ran = subprocess.run(
        [sys.executable, "-m", "glmcode", *words, "--output-format", "json"],
        cwd=work, env=repo.environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=120,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert f"MAX_SIZE = {size}" in (work / "config.py").read_text()
    told = json.loads(ran.stdout.splitlines()[-1])
    return told["duration_ms"] / 1000, told["engine"]["queue_s"]


def test_a_commit_at_a_busy_engine_ends_in_time_and_slows_no_turn_beyond_its_share(
    tiny_engine: TinyEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tiny_engine.trained
    monkeypatch.setenv("GLMCODE_HOME", str(tiny_engine.home))
    repo = Repository(tmp_path)
    repo.environment["GLMCODE_HOME"] = os.environ["GLMCODE_HOME"]
    options = ("--deadline", str(DEADLINE_S), "--profile", "tiny")
    assert repo.hook("install", "pre-commit", *options).returncode == 0
    repo.stage("f.py", "def f(a, b):\n    return a / b\n")
    tree, index = repo.staged_tree(), (repo.path / ".git" / "index").read_bytes()
    alone = max(turn(repo, size)[0] for size in (21, 22))
    began = time.monotonic()
    commit = subprocess.Popen(
        ["git", "commit", "-m", "one"], cwd=repo.path, env=repo.environment,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    until(lambda: any(one["class"] == "hook" for one in engine_status("tiny").running), 30)
    beside, queued = turn(repo, 23)
    assert commit.poll() is None, "the hook was there all the time"
    _, err = commit.communicate(timeout=120)
    took = time.monotonic() - began
    print(f"a turn alone {alone:.1f}, beside a hook {beside:.1f} s; the commit {took:.1f} s")
    assert commit.returncode == 0 and "glmcode: pre-commit: " in err, err
    unusable = "no usable answer" in err  # which the tiny model may give
    assert (unusable or "passed without a look" not in err) and took < DEADLINE_S
    assert queued < 1.0, "a person does not wait for a hook"
    assert beside <= 2 * alone + 4.0, "two share two cores"
    assert (repo.path / ".git" / "index").read_bytes() == index and repo.head_tree() == tree
    if unusable:  # it is asked for again
        return
    repo.git("update-ref", "-d", "HEAD")
    asked = engine_requests()
    assert asked > 0 and ", as before" in repo.git("commit", "-m", "again").stderr
    assert engine_requests() == asked


def engine_requests() -> int:
    """How many answers the engine's process has finished."""
    import httpx

    from glmcode.engine.paths import engine_paths

    transport = httpx.HTTPTransport(uds=str(engine_paths("tiny").engine_socket))
    with httpx.Client(transport=transport, base_url="http://engine", timeout=30) as http:
        lines = http.get("/metrics").text.splitlines()
    found = [line for line in lines if line.startswith("vllm:request_success_total{")]
    return sum(int(float(line.rpartition(" ")[2])) for line in found)
