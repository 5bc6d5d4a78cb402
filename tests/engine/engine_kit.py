"""A home folder of its own per test, fake engines in it, and the hunt for leftovers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from glmcode.core.events import Event
from glmcode.engine.attach import EngineAddress, attach
from glmcode.engine.family import processes
from glmcode.engine.halt import halt
from glmcode.engine.holder import holder
from glmcode.engine.paths import EnginePaths, engine_paths, known_engines
from glmcode.engine.profile import load_profile

HERE = Path(__file__).resolve().parent
BOOTSTRAP = HERE.parent.parent / "glmcode" / "engine" / "bootstrap.py"


class Home:
    """A GLMCODE_HOME with profiles whose engine is the fake one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.events: list[Event] = []

    def profile(self, name: str = "fake", *options: str, direct: bool = False, **keys: Any) -> str:
        """Write a profile for a fake engine; returns its name.

        direct: without bootstrap.py, so without its guard and its group.
        """
        words = [str(HERE / "fake_vllm.py")]
        if not direct:
            words = [str(BOOTSTRAP), "--lifeline", "{lifeline}", "--cache", str(self.folder)]
            words += ["--module", "fake_vllm", "--"]
        command = [sys.executable, "-S", *words, "--uds", "{socket}", *options]
        lines = [f"engine_command = {json.dumps(command)}", 'model = "none/fake"']
        lines += [f"{key} = {json.dumps(value)}" for key, value in keys.items()]
        lines += ["[env]", f"PYTHONPATH = {json.dumps(str(HERE))}"]
        self.write(name, "\n".join(lines))
        return name

    def write(self, name: str, text: str) -> None:
        """Write a person's profile as it is."""
        folder = self.folder / "config" / "profiles"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.toml").write_text(text, encoding="utf-8")

    def attach(self, name: str = "fake", **how: Any) -> EngineAddress:
        """Attach from this process, with a fresh event loop."""
        how.setdefault("timeout_s", 60.0)
        return asyncio.run(attach(load_profile(name), self.events.append, **how))

    def paths(self, name: str = "fake") -> EnginePaths:
        return engine_paths(name)

    def child(self, name: str = "fake") -> int:
        """The engine's main process."""
        return int(json.loads(engine_paths(name).child.read_text())["pid"])

    def supervisor(self, name: str = "fake") -> int:
        pid = holder(engine_paths(name))
        assert pid
        return pid

    def noted(self, name: str = "fake") -> str:
        """What the fake engine wrote down about its requests."""
        path = Path(f"{engine_paths(name).engine_socket}.events")
        return path.read_text() if path.exists() else ""

    def living(self) -> list[str]:
        """Command lines of all processes that belong to this home."""
        marks = (os.fsencode(self.folder), b"glmcode.engine.supervisor")
        found = []
        for pid in processes():
            try:
                line = Path(f"/proc/{pid}/cmdline").read_bytes()
                env = Path(f"/proc/{pid}/environ").read_bytes()
            except OSError:
                continue
            ours = marks[0] in line or (marks[1] in line and marks[0] in env)
            if ours and pid != os.getpid():
                found.append(f"{pid} {line.replace(bytes(1), b' ').decode(errors='replace')}")
        return found

    def close(self) -> None:
        """End everything; leftovers that needed force are killed."""
        for paths in known_engines():
            asyncio.run(halt(paths))
        for line in self.living():
            os.kill(int(line.split()[0]), signal.SIGKILL)


@contextlib.contextmanager
def new_home(patch: pytest.MonkeyPatch) -> Iterator[Home]:
    """A GLMCODE_HOME of its own; whatever runs in it is ended afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="glm-"))
    patch.setenv("GLMCODE_HOME", str(folder))
    patch.delenv("GLMCODE_ENGINE__PROFILE", raising=False)
    made = Home(folder)
    try:
        yield made
    finally:
        made.close()
        shutil.rmtree(folder, ignore_errors=True)


def command_lines() -> list[str]:
    """The command lines of all living processes."""
    found = []
    for pid in processes():
        with contextlib.suppress(OSError):
            line = Path(f"/proc/{pid}/cmdline").read_bytes()
            found.append(line.replace(bytes(1), b" ").decode(errors="replace"))
    return found


def until(true: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait for something to become true, or fail."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
