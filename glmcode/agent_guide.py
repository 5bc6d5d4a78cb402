"""Where tool results get what the touched folder asks for: the one place that adds to them.

Tools know nothing of instructions; here each is wrapped so that the first result that touches a
folder ends with that folder's AGENTS.md. Room for it is taken from the result beforehand, so the
sum stays within the limit of a result. Must not change what a tool returns in any other way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from glmcode.context.folders import FolderInstructions
from glmcode.core.tool import Action, Tool, ToolResult

SHARE = 3
"""One result gives at most a third of its room to instructions."""

_LEAST = 200


class Room:
    """Characters that a result may hold now: a limit, less what was put aside."""

    def __init__(self, limit: Callable[[], int]) -> None:
        self._limit = limit
        self._aside = 0

    def __call__(self) -> int:
        """What is left for a tool."""
        return max(_LEAST, self._limit() - self._aside)

    @contextmanager
    def aside(self, characters: int) -> Iterator[None]:
        """Put some room aside for as long as the block runs."""
        self._aside += characters
        try:
            yield
        finally:
            self._aside -= characters


def guided(tools: Mapping[str, Tool], guide: FolderInstructions, room: Room) -> dict[str, Tool]:
    """The same tools, whose results carry the instructions of the folders that they touch."""
    return {name: _guided(tool, guide, room) for name, tool in tools.items()}


def _guided(tool: Tool, guide: FolderInstructions, room: Room) -> Tool:
    async def prepared(action: Awaitable[Action]) -> Action:
        proposed = await action
        if not proposed.paths:
            return proposed
        return replace(proposed, commit=lambda: _commit(proposed, guide, room))

    def prepare(
        call_id: str, arguments: Mapping[str, Any], output: Callable[[str], None]
    ) -> Awaitable[Action]:
        return prepared(tool.prepare(call_id, arguments, output))

    return replace(tool, prepare=prepare)


async def _commit(action: Action, guide: FolderInstructions, room: Room) -> ToolResult:
    if not guide.concerns(action.paths):
        return await action.commit()
    pending = await asyncio.to_thread(guide.pending, action.paths, room() // SHARE)
    if not pending:
        return await action.commit()
    with room.aside(sum(len(one.text) + 2 for one in pending)):
        result = await action.commit()
    return replace(result, for_model=result.for_model + guide.hand(pending))
