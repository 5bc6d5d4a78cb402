from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from glmcode.engine.attach import EngineUnavailable, attach, engine_status, start_supervisor
from glmcode.engine.control import ControlError, ask
from glmcode.engine.halt import halt
from glmcode.engine.holder import holder
from glmcode.engine.paths import make_folders
from glmcode.engine.profile import load_profile
from tests.engine.client_kit import TOKENIZER
from tests.engine.engine_kit import Home, new_home, until
from tests.repl.pty_driver import glmcode as terminal

COUNT = 3
LOAD_S = 1.5


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    with new_home(monkeypatch) as made:
        keys = {"tokenizer": str(TOKENIZER), "protocol": "tokens", "map": False, "step_cap": 5}
        made.profile("fake", "--say", "loading", "--pause", str(LOAD_S), **keys)
        yield made


def engine(*words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "glmcode", "engine", *words, "--profile", "fake"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def headless(home: Home) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "glmcode", "-p", "hello", "--profile", "fake"]
    command += ["--max-turns", "1", "--no-instructions"]
    return subprocess.Popen(
        command, cwd=home.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def waiting(home: Home, count: int = COUNT) -> list[subprocess.Popen[str]]:
    """Headless runs and an `engine start`, all of which wait for one engine."""
    made = [headless(home) for _ in range(count - 1)] + [engine("start")]
    until(lambda: engine_status("fake").state == "starting")
    time.sleep(0.7)  # all of them have come so far
    assert engine_status("fake").state == "starting"
    return made


def answered(run: subprocess.Popen[str], said: str) -> bool:
    """The fake engine never ends an answer by itself: it came, up to its length limit."""
    return run.returncode == 0 or "the answer reached its length limit" in said


def stays_away(home: Home, seconds: float = 2.0) -> None:
    """Nobody brings it back, and nothing of it is there."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert holder(home.paths()) is None and home.living() == []
        time.sleep(0.05)


def test_a_stop_while_several_wait_for_the_start_ends_them_all_with_75(home: Home) -> None:
    home.profile("fake", "--say", "loading", "--pause", "20")
    runs = waiting(home)
    began = time.monotonic()
    stop = engine("stop")
    out, err = stop.communicate(timeout=30)
    assert (stop.returncode, out) == (0, "fake: stopped\n"), err
    for run in runs:
        _, said = run.communicate(timeout=10)
        assert run.returncode == 75, said
        assert "was stopped while it was starting (glmcode engine stop)" in said
        assert "glmcode engine start --profile fake" in said and "Traceback" not in said
    assert time.monotonic() - began < 10
    stays_away(home)
    home.profile("fake")
    home.attach()  # who asks after the stop gets an engine


def test_a_terminal_that_waits_is_told_of_the_stop_and_starts_none_anew(home: Home) -> None:
    home.profile("fake", "--say", "loading", "--pause", "20")
    mine = {"GLMCODE_HOME": str(home.folder)}
    with terminal(home.folder, "--profile", "fake", env=mine) as session:
        until(lambda: engine_status("fake").state == "starting")
        time.sleep(0.5)
        assert engine("stop").wait(30) == 0
        session.wait_for("was stopped while it was starting")
        session.wait_for_visible("no engine")
        stays_away(home)
        session.type("\x04")
        assert session.wait_exit() == 0


def test_over_a_restart_all_go_on_waiting_and_are_answered(home: Home) -> None:
    runs = waiting(home)
    first = engine_status("fake").supervisor_pid
    restart = engine("restart", "--yes")
    _, err = restart.communicate(timeout=30)
    assert restart.returncode == 0, err
    assert engine_status("fake").supervisor_pid != first
    for run in runs:
        _, said = run.communicate(timeout=30)
        assert answered(run, said), said
    assert len({line.split()[0] for line in home.living() if "supervisor" in line}) == 1


def test_over_the_kill_of_a_supervisor_that_starts_all_go_on_with_the_next(home: Home) -> None:
    runs = waiting(home)
    first = home.supervisor()
    os.kill(first, signal.SIGKILL)
    for run in runs:
        _, said = run.communicate(timeout=60)
        assert answered(run, said), said
    assert home.supervisor() != first
    assert len([line for line in home.living() if "glmcode.engine.supervisor" in line]) == 1


@pytest.mark.parametrize("round_", range(6))
def test_at_whatever_moment_a_stop_comes_nobody_who_waited_starts_it_again(
    home: Home, round_: int
) -> None:
    home.profile("fake", "--say", "loading", "--pause", "20")
    ends: list[str] = []

    def front() -> None:
        try:
            asyncio.run(attach(load_profile("fake"), lambda event: None, timeout_s=30.0))
            ends.append("up")
        except EngineUnavailable as error:
            ends.append(str(error))

    make_folders(home.paths())
    threads = [threading.Thread(target=front) for _ in range(COUNT)]
    for thread in threads:
        thread.start()
    time.sleep(0.02 + 0.12 * round_)  # from before its process lives to after it serves
    asyncio.run(halt(home.paths()))
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    assert len(ends) == COUNT and all("was stopped" in end for end in ends), ends
    stays_away(home, 1.0)


def test_a_supervisor_that_was_asked_for_before_a_stop_does_not_begin(home: Home) -> None:
    make_folders(home.paths())
    asked = time.time()
    time.sleep(0.01)
    assert asyncio.run(halt(home.paths())) is False
    with pytest.raises(EngineUnavailable, match="was stopped"):
        asyncio.run(start_supervisor(load_profile("fake"), asked))
    assert holder(home.paths()) is None
    asyncio.run(start_supervisor(load_profile("fake"), time.time()))
    assert holder(home.paths())


def test_who_waited_since_before_a_restart_may_still_start_it(home: Home) -> None:
    home.profile("fake")
    home.attach()
    asked = time.time()
    restart = engine("restart", "--yes")
    _, err = restart.communicate(timeout=60)
    assert restart.returncode == 0, err
    os.kill(home.supervisor(), signal.SIGKILL)
    until(lambda: holder(home.paths()) is None)
    asyncio.run(start_supervisor(load_profile("fake"), asked))
    assert holder(home.paths())


def test_starts_that_come_while_it_stops_leave_no_engine_behind(home: Home) -> None:
    home.profile("fake", "--workers", "1")
    for _ in range(3):
        home.attach()
        over = threading.Event()

        def asks(over: threading.Event = over) -> None:
            while not over.is_set():
                for route in ("start", "start?asked=1", "restart"):
                    with contextlib.suppress(ControlError):
                        asyncio.run(ask(home.paths().socket, "POST", f"/glmcode/{route}", {}))

        asker = threading.Thread(target=asks)
        asker.start()
        time.sleep(0.1)
        asyncio.run(halt(home.paths()))
        stays_away(home, 0.5)
        over.set()
        asker.join()
