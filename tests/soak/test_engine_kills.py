"""kill -9 on everything that can be killed, twenty rounds each, with the real vLLM."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from glmcode.engine.attach import attach, engine_status, wake
from glmcode.engine.family import processes
from glmcode.engine.halt import halt
from glmcode.engine.paths import engine_paths
from glmcode.engine.profile import load_profile
from tests.conftest import START_LIMIT_S, end_engines, tiny_home
from tests.engine.engine_kit import until

ROUNDS = 20
FRONT_END = """
import asyncio, sys, time
from glmcode.engine.attach import attach
from glmcode.engine.profile import load_profile
asyncio.run(attach(load_profile("tiny"), lambda event: None))
print("up", flush=True)
time.sleep(1000)
"""


@pytest.fixture(scope="module")
def soak_home() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="glm-soak-"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLMCODE_HOME", str(folder))
        tiny_home(folder)
        try:
            yield folder
        finally:
            end_engines(folder)
            shutil.rmtree(folder, ignore_errors=True)


def up() -> None:
    """Bring the engine up as a person would who asks for it."""
    profile = load_profile("tiny")
    asyncio.run(wake(profile))
    asyncio.run(attach(profile, lambda event: None, timeout_s=START_LIMIT_S))


def family() -> set[int]:
    """All processes of the engine now."""
    group = json.loads(engine_paths("tiny").child.read_text())["pid"]
    return {pid for pid, kin in processes().items() if kin.group == group}


def shared_memory() -> set[str]:
    return {path.name for path in Path("/dev/shm").iterdir()}


def test_front_ends_that_are_killed_leave_the_engine_to_the_next(soak_home: Path) -> None:
    up()
    before = engine_status("tiny").engine_pid
    for _ in range(ROUNDS):
        end = subprocess.Popen([sys.executable, "-c", FRONT_END], stdout=subprocess.PIPE)
        assert end.stdout is not None and end.stdout.readline() == b"up\n"
        end.kill()
        end.communicate()
    assert engine_status("tiny").engine_pid == before


def test_the_engine_and_its_workers_are_killed_in_every_order(soak_home: Path) -> None:
    for number in range(ROUNDS):
        up()
        living = family()
        victim = sorted(living)[number % len(living)]
        os.kill(victim, signal.SIGKILL)
        leader = json.loads(engine_paths("tiny").child.read_text())["pid"]
        alone = victim != leader and len(living) > 2 and victim == sorted(living)[1]
        if not alone:  # the guard's death alone ends nothing
            until(lambda: engine_status("tiny").state == "failed", 120)
            assert not living & processes().keys()


def test_the_supervisor_is_killed_and_nothing_is_left(soak_home: Path) -> None:
    for _ in range(ROUNDS):
        up()
        living = family()
        os.kill(engine_status("tiny").supervisor_pid, signal.SIGKILL)
        until(lambda living=living: not living & processes().keys(), 60)  # type: ignore[misc]


def test_a_start_that_is_killed_at_any_moment_can_be_repeated(soak_home: Path) -> None:
    chance = random.Random(7)
    profile = load_profile("tiny")
    for number in range(ROUNDS):
        asyncio.run(wake(profile))
        time.sleep(chance.uniform(0.0, 8.0))
        status = engine_status("tiny")
        victim = status.supervisor_pid if number % 2 else status.engine_pid
        if victim:
            os.kill(victim, signal.SIGKILL)
            until(lambda: engine_status("tiny").state in ("failed", "absent"), 60)
    up()
    asyncio.run(halt(engine_paths("tiny")))


def test_a_thousand_requests_half_of_them_left_alone_do_not_wear_the_engine_out(
    soak_home: Path,
) -> None:
    up()
    socket = str(engine_paths("tiny").socket)
    body: dict[str, Any] = {
        "sampling_params": {"max_tokens": 400, "temperature": 0, "ignore_eos": True}
    }
    body |= {"output_mode": "tokens", "stream": True}
    with httpx.Client(
        transport=httpx.HTTPTransport(uds=socket), base_url="http://x", timeout=120.0
    ) as http:
        for number in range(1000):
            ids = [300 + (number * 7 + i) % 700 for i in range(200)]
            with http.stream("POST", "/inference/v1/generate", json=body | {"token_ids": ids}) as s:
                lines = s.iter_lines()
                for _ in range(number % 20):
                    next(lines)
        assert http.get("/health").status_code == 200
    until(lambda: engine_status("tiny").state == "ready")


def test_no_shared_memory_is_left_behind(soak_home: Path) -> None:
    before = shared_memory()
    up()
    asyncio.run(halt(engine_paths("tiny")))
    assert shared_memory() <= before
