"""Fixtures of the whole suite: one real vLLM, started once by its real supervisor."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from glmcode.engine.attach import EngineAddress, attach
from glmcode.engine.family import processes
from glmcode.engine.halt import halt
from glmcode.engine.paths import known_engines
from glmcode.engine.profile import load_profile

# A runner started with nohup or in the background hands ignored signals to everything that the
# tests start.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)

# A loaded machine takes longer over an example, which says nothing about the code.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

ROOT = Path(__file__).resolve().parent.parent
START_LIMIT_S = 900.0


@dataclass(frozen=True, slots=True)
class TinyEngine:
    """A real engine that is up. home is its GLMCODE_HOME: set it to reach the engine.

    trained: the weights are those of models/tiny; else random ones of the same shape, which
    answer nonsense.
    """

    address: EngineAddress
    home: Path
    trained: bool


def tiny_home(folder: Path) -> bool:
    """Make a GLMCODE_HOME in which the profile tiny can be served; whether it is trained."""
    if (ROOT / "models" / "tiny" / "model.safetensors").is_file():
        return True
    model = folder / "random-model"
    command = [sys.executable, "-m", "tests.random_checkpoint", str(model)]
    subprocess.run(command, cwd=ROOT, check=True)
    profiles = folder / "config" / "profiles"
    profiles.mkdir(parents=True)
    (profiles / "tiny.toml").write_text(f'model = "{model}"\n')
    return False


def end_engines(folder: Path) -> None:
    """Stop every engine of a home that GLMCODE_HOME names now; kill what is left."""
    for paths in known_engines():
        asyncio.run(halt(paths))
    mark = os.fsencode(folder)
    for pid in processes().keys() - {os.getpid()}:
        try:
            line = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if mark in line:
            os.kill(pid, signal.SIGKILL)


@pytest.fixture(autouse=True)
def own_signals() -> Iterator[None]:
    """What a run in this process did to signals must not reach the next test's processes."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        if signal.getsignal(number) is not handler:
            signal.signal(number, handler)


@pytest.fixture(scope="session")
def tiny_engine() -> Iterator[TinyEngine]:
    folder = Path(tempfile.mkdtemp(prefix="glm-tiny-"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLMCODE_HOME", str(folder))
        try:
            trained = tiny_home(folder)
            waiting = attach(load_profile("tiny"), lambda event: None, timeout_s=START_LIMIT_S)
            address = asyncio.run(waiting)
            patch.undo()
            yield TinyEngine(address, folder, trained)
        finally:
            patch.setenv("GLMCODE_HOME", str(folder))
            end_engines(folder)
            shutil.rmtree(folder, ignore_errors=True)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that share the real engine run in one worker, or each worker would start its own."""
    for item in items:
        if "tiny_engine" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group("engine"))
