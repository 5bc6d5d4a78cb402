from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Callable, Coroutine
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from glmcode.sandbox import Backend, Sandbox, choose_backend
from glmcode.tools.context import ToolContext
from tests.commands import Session

T = TypeVar("T")
MECHANISMS = ("bubblewrap", "landlock")


@lru_cache
def backend(mechanism: str) -> Backend:
    return choose_backend(mechanism)


WORKING = tuple(name for name in MECHANISMS if backend(name).mechanism == name)
"""Those that this machine has: what is not here is told by test_probe.py, and not tested."""


class Place:
    """A workspace with neighbours: what a command may touch, and what it must not."""

    def __init__(self, folder: Path) -> None:
        base = Path(os.path.realpath(folder))
        self.workspace = base / "work"
        self.outside = base / "outside"
        self.home = base / "home"
        for each in (self.workspace, self.outside, self.home / "state" / "run"):
            each.mkdir(parents=True)
        (self.outside / "file").write_text("outside\n")
        (self.home / "state" / "key").write_text("the key\n")

    def sandbox(
        self, mechanism: str | Backend, mode: Any = "workspace-write", **options: Any
    ) -> Sandbox:
        found = mechanism if isinstance(mechanism, Backend) else backend(mechanism)
        given = {"hidden": (self.home / "state",)} | options
        return Sandbox(mode, self.workspace, backend=lambda: found, **given)

    def session(self, sandbox: Sandbox, **environment: str) -> Session:
        given = {"PATH": os.environ["PATH"], "HOME": str(self.home)} | environment
        return Session(
            ToolContext(
                workspace=self.workspace,
                spill_folder=self.home / "state" / "spill",
                environment=given,
                sandbox=sandbox,
            )
        )


Make = Callable[..., Session]


def go(waited: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(waited)


def tell(place: Place, mechanism: str, *commands: str, **options: Any) -> list[str]:
    """What each command's result is, in one session."""

    async def run() -> list[str]:
        session = place.session(place.sandbox(mechanism, **options))
        try:
            return [await session.text(command) for command in commands]
        finally:
            await session.close()

    return go(run())


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=n", "-c", "user.email=n@localhost")
    allowed = ("-c", "protocol.file.allow=always")
    words = ["git", *identity, *allowed, *arguments]
    return subprocess.run(words, cwd=folder, check=True, capture_output=True, text=True).stdout


def repository(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    git(folder, "init", "-q", "-b", "main")
    for name in ("name", "email"):
        git(folder, "config", f"user.{name}", "n@localhost")
    (folder / "file").write_text("one\n")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "first")
    return folder
