"""Five front ends at once on a machine where no engine runs: terminals, then headless runs."""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from glmcode.engine.attach import engine_status
from tests.repl.pty_driver import PtySession, glmcode

COUNT = 5
STATUSES = 20


@dataclass(frozen=True, slots=True)
class Took:
    """Seconds of one command: on the clock, and of the processor."""

    wall: float
    processor: float


def time_status(name: str) -> Took:
    """One `glmcode engine status`, its process's start included."""
    command = [sys.executable, "-m", "glmcode", "engine", "status", "--profile", name]
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0
    return Took(time.monotonic() - began, usage.ru_utime + usage.ru_stime)


def statuses_while_it_starts(name: str) -> list[Took]:
    """As many as there are to be, all of them before the engine is up."""
    found = []
    while len(found) < STATUSES:
        took = time_status(name)
        assert engine_status(name).state in ("absent", "starting"), "it was up too soon"
        found.append(took)
    return found


def median(of: Sequence[Took]) -> Took:
    """Of each of the two by itself."""
    return Took(
        statistics.median(one.wall for one in of), statistics.median(one.processor for one in of)
    )


def five_terminals(
    home: Path, name: str, answered: Callable[[PtySession], bool], during: Callable[[], None]
) -> list[str]:
    """Start five terminals at once, type before anything is ready; what each of them shows.

    during: called while the engine starts.
    """
    with contextlib.ExitStack() as stack:
        sessions = []
        for number in range(COUNT):
            folder = home.parent / f"folder-{number}"
            folder.mkdir(exist_ok=True)
            one = stack.enter_context(glmcode(home.parent, "--profile", name, cwd=folder))
            sessions.append(one)
        for number, one in enumerate(sessions):
            one.type(f"hello, this is terminal {number}\r")
        during()
        for one in sessions:
            one.wait_until(lambda one=one: answered(one), "the answer")  # type: ignore[misc]
            one.wait_for_visible("ready")
        for one in sessions:
            one.type("\x04")
        assert [one.wait_exit() for one in sessions] == [0] * COUNT
        assert all(one.terminal_is_restored() for one in sessions)
        return [one.screen.text for one in sessions]


def five_runs(home: Path, name: str, during: Callable[[], None]) -> list[tuple[int, str, str]]:
    """Start five `glmcode -p` at once; exit code, stdout and stderr of each."""
    runs = []
    for number in range(COUNT):
        folder = home.parent / f"folder-{number}"
        folder.mkdir(exist_ok=True)
        command = [sys.executable, "-m", "glmcode", "--profile", name, "-p", f"hello {number}"]
        runs.append(
            subprocess.Popen(
                command,
                cwd=folder,
                env=os.environ | {"GLMCODE_HOME": str(home)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    during()
    ended = []
    for run in runs:
        out, err = run.communicate(timeout=600)
        ended.append((run.returncode, out, err))
    return ended
