from __future__ import annotations

import os
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from glmcode.sandbox import Backend, Sandbox, choose_backend
from glmcode.tools.context import ToolContext
from tests.commands import Session

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
        return Sandbox(
            mode,
            self.workspace,
            hidden=(self.home / "state",),
            backend=lambda: found,
            **options,
        )

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
