"""The whole path on a real vLLM with models/tiny: demo, cache, headless, a terminal, a stall."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from glmcode.engine.attach import engine_status
from glmcode.engine.profile import load_profile
from tests.conftest import TinyEngine
from tests.repl.pty_driver import PtySession

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("engine")]
SEEDS = range(910_001, 910_009)
BLOCK = 128


@pytest.fixture
def environment(tiny_engine: TinyEngine) -> dict[str, str]:
    assert tiny_engine.trained, "models/tiny has no weights"
    return {**os.environ, "GLMCODE_HOME": str(tiny_engine.home)}


def glmcode(
    environment: dict[str, str], *arguments: str, cwd: Path, timeout: float = 120
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "glmcode", *arguments],
        capture_output=True,
        text=True,
        env=environment,
        cwd=cwd,
        timeout=timeout,
        stdin=subprocess.DEVNULL,
    )


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    (tmp_path / "config.py").write_text("NAME = 'x'\nMAX_SIZE = 10\nMIN_SIZE = 2\n")
    return tmp_path


def test_the_demo_repairs_repositories_it_never_saw_and_every_full_block_is_cached(
    environment: dict[str, str], tmp_path: Path
) -> None:
    solved = 0
    for seed in SEEDS:
        done = glmcode(environment, "demo", "--task-seed", str(seed), "--verbose", cwd=tmp_path)
        assert done.returncode in (0, 1), done.stderr
        assert "demonstration" in done.stdout
        solved += done.returncode == 0
        found = re.findall(
            r"prompt ([\d,]+) tokens, cached ([\d,]+), .* answer ([\d,]+)", done.stdout
        )
        steps = [tuple(int(number.replace(",", "")) for number in row) for row in found]
        assert steps
        for (prompt, _, answer), (_, cached, _) in itertools.pairwise(steps):
            assert cached >= (prompt + answer - 1) // BLOCK * BLOCK - BLOCK
    assert solved >= 7  # 50 of 50 other seeds with these weights


def test_the_demo_works_with_a_nonce_in_every_name(
    environment: dict[str, str], tmp_path: Path
) -> None:
    codes = [
        glmcode(
            environment, "demo", "--task-seed", str(seed), "--nonce", f"q{seed % 997}", cwd=tmp_path
        ).returncode
        for seed in range(920_001, 920_004)
    ]
    assert codes.count(0) >= 2


def test_a_demo_leaves_nothing_behind_unless_it_is_asked_to(
    environment: dict[str, str], tmp_path: Path
) -> None:
    environment = {**environment, "TMPDIR": str(tmp_path)}
    glmcode(environment, "demo", "--task-seed", "910001", cwd=tmp_path)
    assert not list(tmp_path.glob("glmcode-demo-*"))
    done = glmcode(environment, "demo", "--task-seed", "910001", "--keep", cwd=tmp_path)
    (kept,) = tmp_path.glob("glmcode-demo-*")
    assert str(kept) in done.stdout and (kept / ".git").is_dir()


def test_a_headless_run_changes_the_file(environment: dict[str, str], settings: Path) -> None:
    prompt = "Set MAX_SIZE in config.py to 20."
    done = glmcode(
        environment, "-p", prompt, "--profile", "tiny", "-y", "--output-format", "json",
        cwd=settings,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (settings / "config.py").read_text() == "NAME = 'x'\nMAX_SIZE = 20\nMIN_SIZE = 2\n"
    result = json.loads(done.stdout)
    assert result["usage"]["cache_read_input_tokens"] > 0 and result["engine"]["cache_hit"] > 0


def test_a_task_typed_in_a_terminal_is_approved_and_done(
    environment: dict[str, str], settings: Path
) -> None:
    argv = [sys.executable, "-m", "glmcode", "--profile", "tiny"]
    environment = {**environment, "TERM": "xterm-256color"}
    session = PtySession(argv, settings, environment, (100, 40))
    try:
        session.wait_for("tiny")
        session.type("Set MAX_SIZE in config.py to 20.\r")
        session.wait_for("MAX_SIZE = 20")
        time.sleep(0.8)
        assert (settings / "config.py").read_text() == "NAME = 'x'\nMAX_SIZE = 10\nMIN_SIZE = 2\n"
        session.type("y")
        session.wait_for("edited config.py")
        session.wait_until(
            lambda: "MAX_SIZE = 20" in (settings / "config.py").read_text(), "the edit"
        )
        session.read(2.0)
        session.type("\x04")
        assert session.wait_exit() == 0
        assert session.terminal_is_restored()
    finally:
        session.close()


def test_a_stopped_engine_stalls_the_run_and_a_woken_one_finishes_it(
    environment: dict[str, str], tiny_engine: TinyEngine, settings: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("GLMCODE_HOME", str(tiny_engine.home))
    engine = engine_status(load_profile("tiny")).engine_pid
    assert engine
    group = os.getpgid(engine)
    os.killpg(group, signal.SIGSTOP)
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "glmcode", "-p", "Set MAX_SIZE in config.py to 21.",
             "--profile", "tiny", "-y"],
            env=environment, cwd=settings, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        time.sleep(6)
        assert process.poll() is None
        assert "MAX_SIZE = 10" in (settings / "config.py").read_text()
    finally:
        os.killpg(group, signal.SIGCONT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert "MAX_SIZE = 21" in (settings / "config.py").read_text()
