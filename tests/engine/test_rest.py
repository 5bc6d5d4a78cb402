from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from glmcode.engine.attach import EngineUnavailable, engine_status
from glmcode.engine.launch import plan_launch
from glmcode.engine.profile import Profile, load_profile
from glmcode.engine.rest import RestError, available_memory, check_memory, weights_size
from tests.engine.engine_kit import Home, new_home, until


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    with new_home(monkeypatch) as made:
        made.profile("fake", "--rests", "1")
        yield made


def engine(*words: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "glmcode", "engine", *words, "--profile", "fake"],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done


def test_an_engine_sleeps_and_wakes_and_is_the_same_process(home: Home) -> None:
    home.attach()
    pid = home.child()
    slept = engine("sleep")
    assert slept.returncode == 0 and slept.stdout.startswith("fake: sleeping: "), slept.stderr
    assert engine_status("fake").state == "sleeping"
    assert "POST /sleep?level=1" in home.noted()
    assert engine("sleep").returncode == 0, "asked twice it sleeps on"
    with pytest.raises(EngineUnavailable, match=r"sleeping: .*glmcode engine wake"):
        home.attach()
    socket = httpx.HTTPTransport(uds=str(home.paths().socket))
    with httpx.Client(transport=socket, base_url="http://engine") as client:
        answer = client.post("/v1/completions", json={})
    assert answer.status_code == 503 and answer.json()["error"]["type"] == "engine_sleeping"
    woken = engine("wake")
    assert woken.returncode == 0 and woken.stdout.startswith("fake: ready: "), woken.stderr
    home.attach()
    assert home.child() == pid


def test_an_engine_that_dies_in_its_sleep_is_told_and_started_again(home: Home) -> None:
    home.attach()
    assert engine("sleep").returncode == 0
    os.kill(home.child(), signal.SIGKILL)
    until(lambda: engine_status("fake").state == "failed")
    assert "died" in engine_status("fake").reason
    home.attach()
    assert engine_status("fake").state == "ready"


def test_a_sleeping_engine_is_stopped_like_any_other(home: Home) -> None:
    home.attach()
    assert engine("sleep").returncode == 0
    assert engine("stop").returncode == 0
    assert home.living() == []


def test_what_cannot_sleep_says_why_and_goes_on(home: Home) -> None:
    none = engine("sleep")
    assert none.returncode == 75 and "no engine of profile fake is running" in none.stderr
    home.profile("fake")
    home.attach()
    refused = engine("sleep")
    assert refused.returncode == 75 and "without sleep mode" in refused.stderr
    assert engine_status("fake").state == "ready"
    assert engine("wake").returncode == 0, "it is awake"


def test_the_host_must_have_room_for_the_weights(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"x" * 1000)
    profile = Profile(name="x", model=str(tmp_path))
    assert weights_size(profile) == 1000
    check_memory(profile, 100 << 30)
    with pytest.raises(RestError, match=r"has 1 GiB of memory free: glmcode engine stop"):
        check_memory(profile, 1 << 30)
    assert available_memory() > 1 << 20 and available_memory(tmp_path / "none") == 0


def test_the_routes_of_sleep_are_asked_for_where_the_profile_wants_it() -> None:
    plan = plan_launch(load_profile("reap-268b-8x3090"), None, "/s")
    assert plan.env["VLLM_SERVER_DEV_MODE"] == "1"
    assert "VLLM_SERVER_DEV_MODE" not in plan_launch(load_profile("tiny"), None, "/s").env
