"""Running commands in tests: a session's context, one call, and who is still alive."""

from __future__ import annotations

import asyncio
import os
import random
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from glmcode.core.tool import ToolResult
from glmcode.tools import background, bash
from glmcode.tools.context import Call, ToolContext


@dataclass
class Session:
    """A context in a temporary folder, and what was shown live."""

    ctx: ToolContext
    live: list[str] = field(default_factory=list)

    @property
    def shown(self) -> str:
        return "".join(self.live)

    async def bash(self, command: str, *, call_id: str = "call_1", **arguments: Any) -> ToolResult:
        call = Call(call_id, self.live.append)
        return await (await bash.prepare(self.ctx, call, command=command, **arguments)).commit()

    async def text(self, command: str, **arguments: Any) -> str:
        return (await self.bash(command, **arguments)).for_model

    async def look(self, task_id: str) -> str:
        call = Call("call_2", self.live.append)
        action = await background.prepare_output(self.ctx, call, task_id=task_id)
        return (await action.commit()).for_model

    async def kill(self, task_id: str) -> str:
        call = Call("call_3", self.live.append)
        action = await background.prepare_kill(self.ctx, call, task_id=task_id)
        return (await action.commit()).for_model

    async def close(self) -> None:
        await background.close_all(self.ctx)


def session(tmp_path: Path, *, limit: int = 30_000, **environment: str) -> Session:
    workspace = tmp_path / "work"
    workspace.mkdir(exist_ok=True)
    names = ("PATH", "HOME", "LANG", "TMPDIR")
    given = {name: os.environ[name] for name in names if name in os.environ}
    return Session(
        ToolContext(
            workspace=workspace.resolve(),
            spill_folder=tmp_path / "spill",
            environment=given | environment,
            result_limit=lambda: limit,
        )
    )


def marker() -> str:
    """Seconds that no other sleep has: how a process of this test is found again."""
    return f"{random.randrange(10**5, 10**6)}.{random.randrange(10**5, 10**6)}"


def alive(mark: str) -> list[int]:
    """Processes with the marker among their arguments, zombies left out."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if mark.encode() in words:
                found.append(int(entry.name))
    return found


async def appear(mark: str, count: int = 1, within_s: float = 20.0) -> None:
    """Wait until so many processes with the marker live."""
    end = time.monotonic() + within_s
    while len(alive(mark)) < count and time.monotonic() < end:  # noqa: ASYNC110 (no event tells)
        await asyncio.sleep(0.01)


def dies(mark: str, within_s: float = 10.0) -> bool:
    """Wait until no process with the marker is left."""
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        if not alive(mark):
            return True
        time.sleep(0.02)
    return False
