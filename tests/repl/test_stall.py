from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from tests.repl.pty_driver import glmcode
from tests.repl.test_warming import home, script

__all__ = ["home"]


def test_a_run_without_a_person_ends_with_75_when_the_engine_stands_still(home: Path) -> None:
    script(home, {"text": "never", "delay": 120.0})
    environment = os.environ | {"GLMCODE_HOME": str(home / "home")}
    command = [sys.executable, "-m", "glmcode", "-p", "one", "--profile", "own"]
    command += ["--set", "engine.stall=5"]
    began = time.monotonic()
    ran = subprocess.run(
        command, cwd=home / "workspace", env=environment, capture_output=True, text=True, timeout=90
    )
    assert ran.returncode == 75
    assert "stands still: no token and no progress of its scheduler for 5 s" in ran.stderr
    assert time.monotonic() - began < 60


def test_a_person_is_told_that_the_engine_stands_still_and_stops_it(home: Path) -> None:
    script(home, {"text": "never", "delay": 120.0}, {"text": "The second."})
    with glmcode(home, "--profile", "own", "--set", "engine.stall=5", "one") as session:
        session.wait_for("the engine stands still")
        session.wait_for_visible("Esc stops")
        session.type("\x1b")
        session.wait_for("interrupted")
        session.wait_for_visible("ready")
        session.type("two\r")
        session.wait_for("The second.")
        session.type("\x04")
        assert session.wait_exit() == 0
