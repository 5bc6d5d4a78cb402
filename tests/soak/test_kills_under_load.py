"""kill -9 and SIGSTOP while several front ends ask the real vLLM all the time.

GLMCODE_SOAK_ROUNDS: how often each of the four is killed (20).
"""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import end_engines, tiny_home
from tests.engine.load_kit import Load, Victim

ROUNDS = int(os.environ.get("GLMCODE_SOAK_ROUNDS", "20"))
STOP_S = 30.0
LIMIT_S = 600.0


@pytest.fixture(scope="module")
def load() -> Iterator[Load]:
    folder = Path(tempfile.mkdtemp(prefix="glm-soak-"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLMCODE_HOME", str(folder))
        tiny_home(folder)
        profiles = folder / "config" / "profiles"
        profiles.mkdir(parents=True, exist_ok=True)
        # An engine core of its own beside the API server, as where the model is large.
        profile = 'extends = "tiny"\n[env]\nVLLM_ENABLE_V1_MULTIPROCESSING = "1"\n'
        (profiles / "cored.toml").write_text(profile)
        seed = random.randrange(10**6)
        print(f"seed {seed}", flush=True)
        made = Load("cored", 4, LIMIT_S, random.Random(seed))
        try:
            made.all_go_on(0.0)
            yield made
        finally:
            made.abandon()
            end_engines(folder)
            shutil.rmtree(folder, ignore_errors=True)


def test_one_that_is_stopped_for_long_does_not_stop_the_others(load: Load) -> None:
    answers = load.stop_one(STOP_S)
    print(f"{answers} answers in {STOP_S:g} s while one was stopped", flush=True)
    assert answers > 20


def test_each_is_killed_at_random_moments_and_each_request_is_answered_once(load: Load) -> None:
    victims: list[Victim] = ["supervisor", "server", "core", "front end"] * ROUNDS
    load.chance.shuffle(victims)
    for number, victim in enumerate(victims):
        load.slowest = 0.0
        load.kill(victim)
        print(f"{number} {victim}: all served after {load.slowest:.1f} s", flush=True)
    counts = load.close()
    print(dict(counts), flush=True)
    load.nothing_is_left()
    assert counts["failed"] > 0 and load.shared
