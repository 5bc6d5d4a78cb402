from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.repl.pty_driver import glmcode

ENGINE = Path(__file__).resolve().parent / "own_engine.py"


@pytest.fixture
def home() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="glm-"))
    profiles = folder / "home" / "config" / "profiles"
    profiles.mkdir(parents=True)
    script = folder / "script.json"
    script.write_text(json.dumps([{"text": "words that come slowly " * 30, "gap": 0.1}]))
    command = [sys.executable, str(ENGINE), str(script), "{socket}"]
    (profiles / "own.toml").write_text(
        f'engine_command = {json.dumps(command)}\nmodel = "none/own"\nserved_name = "glm"\n'
        'protocol = "chat"\n'
    )
    yield folder
    environment = os.environ | {"GLMCODE_HOME": str(folder / "home")}
    stop = [sys.executable, "-m", "glmcode", "engine", "stop", "--profile", "own"]
    subprocess.run(stop, env=environment, check=True, timeout=120, capture_output=True)
    shutil.rmtree(folder)


def engine_process(home: Path) -> int:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if os.fsencode(ENGINE) in words[:3] and os.fsencode(home / "script.json") in words:
                return int(entry.name)
    raise AssertionError("no engine runs")


def test_a_start_is_shown_and_an_engine_that_dies_in_a_turn_is_told_and_started_again(
    home: Path,
) -> None:
    with glmcode(home, "--profile", "own") as session:
        session.type("an early task\r")
        session.wait_for_visible("queued: an early task")
        session.wait_for("engine: ")
        session.wait_for("words that come slowly")
        first = engine_process(home)
        os.kill(first, signal.SIGKILL)
        session.wait_for("✗")
        session.wait_for("| the last words of the engine")
        session.wait_for("Your next message tries again.")
        session.wait_for_visible("ready")
        shown = session.screen.text.count("words that come slowly")
        session.type("go on\r")
        session.wait_until(
            lambda: session.screen.text.count("words that come slowly") > shown, "the new engine"
        )
        assert engine_process(home) != first
        session.type("\x1b")
        session.wait_for("interrupted")
        session.type("\x04")
        assert session.wait_exit() == 0
        assert session.terminal_is_restored()
    time.sleep(0.2)
    assert engine_process(home), "leaving the session leaves the engine"


def test_an_engine_killed_while_it_loads_leaves_the_session_and_what_was_typed(
    home: Path,
) -> None:
    (home / "script.json").write_text(json.dumps([{"text": "Answered.", "times": 9}]))
    with glmcode(home, "--profile", "own", size=(150, 40)) as session:
        session.type("an early task\r")
        session.wait_for_visible("loading weights")
        os.kill(engine_process(home), signal.SIGKILL)
        session.wait_for("what you type is kept")
        session.wait_for_visible("queued: an early task")
        session.type("another\r")
        session.wait_until(lambda: session.screen.text.count("Answered.") == 2, "both answers")
        session.wait_for_visible("ready")
        session.type("/engine log\r")
        session.wait_for("the last words of the engine")
        session.type("/engine stop\r")
        session.wait_for_visible("Stop it?")
        assert "1 use this engine" in session.screen.text
        session.read(0.4)
        session.type("y")
        session.wait_for("your next message starts it again")
        session.type("once more\r")
        session.wait_until(lambda: session.screen.text.count("Answered.") == 3, "the third")
        session.type("\x04")
        assert session.wait_exit() == 0


def test_an_engine_whose_gpus_are_needed_is_stopped_only_after_a_yes(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = home / "bin"
    tools.mkdir()
    (tools / "pynvml.py").write_text("raise ImportError\n")
    card = "0, Some Card, 24576, 24000, 8.6, 570.1"
    (tools / "nvidia-smi").write_text(f"#!/bin/sh\necho '{card}'\n")
    (tools / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", f"{tools}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    (home / "script.json").write_text(json.dumps([{"text": "Answered.", "times": 9}]))
    profiles = home / "home" / "config" / "profiles"
    text = (profiles / "own.toml").read_text() + "gpu_memory = 0.9\n"
    (profiles / "own.toml").write_text(text)
    (profiles / "other.toml").write_text(text.replace('"glm"', '"glm-other"'))
    with glmcode(home, "--profile", "own", size=(150, 40)) as session:
        session.type("hello\r")
        session.wait_for("Answered.")
        session.wait_for_visible("ready")
        session.type("/profile other\r")
        session.wait_for("its GPUs are those of own, which is stopped for it")
        session.wait_for("1 use this engine")
        session.read(0.4)
        session.type("y")
        session.wait_for("messages wait")
        session.type("and here\r")
        session.wait_until(lambda: session.screen.text.count("Answered.") == 2, "the other engine")
        session.wait_for_visible("glm-other")
        session.type("/profile\r")
        session.wait_for("this one")
        session.type("\x04")
        assert session.wait_exit() == 0
    told = run(home, "engine", "status")
    assert "other: ready" in told and "own: absent" in told.replace("stopped", "absent")
    run(home, "engine", "stop", "--profile", "other")


def run(home: Path, *words: str) -> str:
    environment = os.environ | {"GLMCODE_HOME": str(home / "home")}
    command = [sys.executable, "-m", "glmcode", *words]
    return subprocess.run(
        command, env=environment, timeout=120, capture_output=True, text=True
    ).stdout
