from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from subprocess import PIPE

import pytest

from glmcode.engine.attach import engine_status
from glmcode.engine.holder import holder
from tests.engine.engine_kit import Home, until
from tests.engine.test_lifecycle import command, ended, engine, glmcode


@pytest.mark.parametrize("after_s", [0.0, 0.2, 0.4, 0.6, 0.8, 1.0])
def test_a_supervisor_that_is_killed_while_it_stops_leaves_nothing(
    home: Home, after_s: float
) -> None:
    home.profile("fake", "--linger", "0.8")
    home.attach()
    stop = command("stop")
    until(lambda: engine_status("fake").state in ("stopping", "absent"))
    time.sleep(after_s)
    with contextlib.suppress(ProcessLookupError):
        os.kill(holder(home.paths()) or 1 << 30, signal.SIGKILL)
    assert ended(stop)[:2] == (0, "fake: stopped\n")
    assert home.living() == []


@pytest.mark.parametrize("after_s", [0.0, 0.1, 0.2, 0.3, 0.5, 0.8])
def test_a_supervisor_that_is_killed_while_it_starts_is_replaced_by_who_waits(
    home: Home, after_s: float
) -> None:
    home.profile("fake", "--say", "x", "--pause", "0.5")
    start = command("start")
    until(lambda: holder(home.paths()))
    time.sleep(after_s)
    with contextlib.suppress(ProcessLookupError):
        os.kill(holder(home.paths()) or 1 << 30, signal.SIGKILL)
    code, _, err = ended(start)
    # In its first moments it is the very process that was started: then its end is told.
    assert code == 0 or (code == 75 and "the supervisor did not start: " in err)
    assert engine("stop")[0] == 0
    assert home.living() == []


@pytest.mark.parametrize("word", ["stop", "restart"])
def test_an_interrupted_stop_goes_on(home: Home, word: str) -> None:
    home.profile("fake", "--linger", "1.5")
    home.attach()
    child = home.child()
    process = command(word)
    until(lambda: engine_status("fake").state == "stopping")
    process.send_signal(signal.SIGINT)
    assert ended(process) == (130, "", "")
    until(lambda: home.living() == [])
    home.attach()
    assert home.child() != child


BROKEN = ["windw = 3\n", "not toml [", "", 'base_url = "http://127.0.0.1:1/v1"\n', None]


@pytest.mark.parametrize("text", BROKEN, ids=["key", "toml", "empty", "server", "gone"])
def test_an_engine_whose_profile_was_spoilt_is_seen_and_stopped_but_not_started(
    home: Home, text: str | None
) -> None:
    home.profile("fake", "--say", "hello")
    home.attach()
    path = home.folder / "config" / "profiles" / "fake.toml"
    path.unlink()
    if text is not None:
        path.write_text(text)
    for word in ("start", "restart"):
        code, out, err = engine(word)
        assert (code, out) == (2, "") and err.count("\n") == 1
    assert engine("status")[1].startswith("fake: ready")
    assert engine("logs")[1] == "hello\n"
    assert engine_status("fake").up
    os.kill(home.child(), signal.SIGKILL)
    until(lambda: engine_status("fake").state == "failed")
    assert engine("stop")[:2] == (0, "fake: stopped\n")
    assert home.living() == []


def test_engines_of_several_profiles_start_and_stop_at_once(home: Home) -> None:
    names = ["a", "b", "c"]
    for name in names:
        home.profile(name)
    words = [[sys.executable, "-m", "glmcode", "engine", "start", "--profile", n] for n in names]
    starts = [subprocess.Popen(one, stdout=PIPE, stderr=PIPE, text=True) for one in words]
    assert [ended(one)[0] for one in starts] == [0, 0, 0]
    assert len({home.child(name) for name in names}) == 3
    assert glmcode("engine", "stop")[1] == "a: stopped\nb: stopped\nc: stopped\n"
    assert home.living() == []


def test_starts_with_other_settings_at_once_end_in_one_engine_with_them(home: Home) -> None:
    home.profile("fake", "--say", "old", "--pause", "0.5")
    home.attach()
    home.profile("fake", "--say", "new", "--pause", "0.5")
    for code, out, err in map(ended, [command("start") for _ in range(3)]):
        assert code == 0 and out.startswith("fake: ready"), err
    assert engine("logs")[1] == "new\n"


def test_a_watch_follows_an_engine_through_all_its_states(home: Home) -> None:
    home.profile("fake", "--rests", "2", "--say", "loading", "--pause", "1.5")
    watch = command("status", "--watch", "--json")
    time.sleep(1.5)
    for word in ("start", "sleep", "wake"):
        assert engine(word)[0] == 0
    os.kill(home.supervisor(), signal.SIGKILL)
    time.sleep(1.0)
    assert engine("start")[0] == 0 and engine("stop")[0] == 0
    time.sleep(1.0)
    watch.send_signal(signal.SIGINT)
    code, out, err = ended(watch)
    assert (code, err) == (130, "")
    states = [json.loads(line)["state"] for line in out.splitlines()]
    changes = [one for n, one in enumerate(states) if n == 0 or states[n - 1] != one]
    first = ["absent", "starting", "ready", "stopping", "sleeping", "starting", "ready"]
    assert changes[: len(first)] == first
    assert changes[-2:] == ["stopping", "absent"]


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    """A home on a small disk of its own."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("nobody may mount a small disk here")
    monkeypatch.setenv("GLMCODE_HOME", str(folder))
    made = Home(folder)
    try:
        yield made
    finally:
        (folder / "filler").unlink(missing_ok=True)
        made.close()
        subprocess.run(["umount", "-l", str(folder)], check=False)


def fill(home: Home) -> Path:
    filler = home.folder / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while file.write(b"x" * 512):
            pass
    return filler


def test_a_disk_that_fills_while_the_engine_runs_stops_nothing_but_the_next_start(
    small: Home,
) -> None:
    small.profile()
    small.attach()
    filler = fill(small)
    assert engine("status")[1].startswith("fake: ready")
    code, _, err = engine("restart")
    assert code == 75 and "No space left on device" in err and "glmcode clean" in err
    assert engine_status("fake").state == "failed"
    assert engine("stop")[:2] == (0, "fake: stopped\n")
    filler.unlink()
    assert engine("start")[0] == 0
    fill(small)
    os.kill(small.supervisor(), signal.SIGKILL)
    until(lambda: small.living() == [])
    code, _, err = engine("start")
    assert code == 75 and "No space left on device" in err
    assert engine("stop")[0] == 0
    assert small.living() == []
