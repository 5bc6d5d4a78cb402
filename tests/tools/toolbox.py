"""A workspace and the tools bound to it, called as the loop calls them."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

from glmcode.core.tool import Action, ToolError, ToolRefused, ToolResult
from glmcode.tools import load_tools
from glmcode.tools.context import ToolContext


class Toolbox:
    def __init__(self, folder: Path, limit: int = 30_000) -> None:
        base = Path(os.path.realpath(folder))
        self.ws = base / "ws"
        self.ws.mkdir(exist_ok=True)
        self.limit = limit
        self.ctx = ToolContext(
            workspace=self.ws,
            spill_folder=base / "spill",
            environment={"PATH": "/usr/bin:/bin", "HOME": str(base / "home")},
            result_limit=lambda: self.limit,
        )
        self.tools = load_tools(self.ctx)

    def put(self, name: str, content: str | bytes = "") -> Path:
        path = self.ws / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def known(self, name: str, content: str | bytes) -> Path:
        path = self.put(name, content)
        self.call("Read", file_path=name)
        return path

    async def action(self, tool: str, **arguments: Any) -> Action:
        bound = self.tools[tool]
        problem = bound.check(arguments)
        if problem is not None:
            raise ToolError(problem)
        return await bound.prepare("call_1", arguments, lambda text: None)

    def prepare(self, tool: str, **arguments: Any) -> Action:
        return asyncio.run(self.action(tool, **arguments))

    async def answer(self, tool: str, **arguments: Any) -> str:
        try:
            return (await (await self.action(tool, **arguments)).commit()).for_model
        except ToolRefused as error:
            return f"not run: {error}"
        except ToolError as error:
            return f"error: {error}"

    def call(self, tool: str, **arguments: Any) -> str:
        return asyncio.run(self.answer(tool, **arguments))


def commit(action: Action) -> ToolResult:
    async def run() -> ToolResult:
        return await action.commit()

    return asyncio.run(run())
