from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.repl.pty_driver import PtySession, glmcode
from tests.repl.test_warming import home, run, script, steps

__all__ = ["home"]

DUMB = {"TERM": "dumb"}


@contextmanager
def holder(home: Path) -> Iterator[None]:
    command = [sys.executable, "-m", "glmcode", "-p", "first", "--profile", "own"]
    environment = os.environ | {"GLMCODE_HOME": str(home / "home")}
    asked = len(steps(home))
    with subprocess.Popen(
        command, cwd=home / "workspace", env=environment, stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        end = time.monotonic() + 60
        while "running: " not in run(home, "engine", "status") and time.monotonic() < end:
            time.sleep(0.1)
        assert len(steps(home)) in (asked, asked + 1)
        try:
            yield
        finally:
            process.wait(90)


def only_lines(session: PtySession) -> bool:
    """Whether nothing was written but lines."""
    return "\x1b" not in session.raw and not re.search(r"\r(?!\r*\n)", session.raw)


def test_on_a_dumb_terminal_phases_and_how_far_a_prompt_is_are_lines_and_few(home: Path) -> None:
    script(home, {"text": "The first.", "delay": 4.0}, {"text": "The second.", "delay": 4.0})
    run(home, "-p", "one", "--profile", "own")
    run(home, "engine", "stop", "--profile", "own")
    script(home, {"text": "The second.", "delay": 4.0})
    with glmcode(home, "--profile", "own", "two", env=DUMB) as session:
        session.wait_for("The second.")
        session.type("\x04")
        assert session.wait_exit() == 0
        assert only_lines(session)
        lines = session.screen.text.splitlines()
    phases = [line for line in lines if line.startswith("engine: ")]
    assert any(line.startswith("engine: loading weights") for line in phases)
    assert len(phases) == len({re.sub(r" \(.*| \d+ %.*", "", line) for line in phases})
    told = [line for line in lines if line.startswith("waiting for the engine: ")]
    assert len(told) == 1
    assert re.search(r" tokens\), ~\d\d % computed", told[0])


def test_on_a_dumb_terminal_the_place_in_the_queue_is_a_line_and_few(home: Path) -> None:
    script(home, {"text": "x"}, {"text": "The first.", "delay": 9.0}, {"text": "The second."})
    run(home, "-p", "zero", "--profile", "own")
    with holder(home), glmcode(home, "--profile", "own", "two", env=DUMB) as session:
        session.wait_for("queue: 1st after the scripted run in")
        session.wait_for("The second.")
        session.type("\x04")
        assert session.wait_exit() == 0
        assert only_lines(session)
        assert session.screen.text.count("queue: ") == 1


def test_a_run_whose_stderr_is_a_pipe_says_in_one_line_for_whom_it_waits(home: Path) -> None:
    script(home, {"text": "x"}, {"text": "The first.", "delay": 14.0}, {"text": "The second."})
    run(home, "-p", "zero", "--profile", "own")
    environment = os.environ | {"GLMCODE_HOME": str(home / "home")}
    command = [sys.executable, "-m", "glmcode", "-p", "two", "--profile", "own"]
    with holder(home):
        ran = subprocess.run(
            command, cwd=home / "workspace", env=environment, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=90,
        )  # fmt: skip
    assert (ran.returncode, ran.stdout) == (0, "The second.\n")
    told = ran.stderr.splitlines()
    assert 1 <= len(told) <= 2
    assert re.match(
        r"queue: 1st after the scripted run in .*workspace \(for \d+ s\).*; waiting for [23] s$",
        told[0],
    )


def test_one_whose_turn_has_come_is_not_shown_as_waiting_for_others(home: Path) -> None:
    slow = {"delay": 9.0}
    script(home, {"text": "x"}, {"text": "The first.", **slow}, {"text": "The second.", **slow})
    run(home, "-p", "zero", "--profile", "own")
    with holder(home), glmcode(home, "--profile", "own", "two") as session:
        session.wait_for_visible("queue: 1st")
        session.wait_gone("queue: 1st")
        assert "The second." not in session.screen.text
        session.wait_until(
            lambda: bool(re.search(r" tokens: .*~\d+ %", session.screen.visible)), "~"
        )
        session.wait_for("The second.")
        session.type("\x04")
        assert session.wait_exit() == 0
