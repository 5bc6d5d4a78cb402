"""The repository map of a new session: read while the engine is reached, rendered when it is known.

What is slow (reading and ranking) runs in a thread from the launch on, with a time limit; the
window and the tokenizer, which decide how much is shown, are known only when the engine answers.
What was read before the limit stays in the map's cache, so the next session gets further. A
session without a map works as well: it is only told to the person. Must not hold up a launch
longer than the limit.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from glmcode.base.data import prompt_text
from glmcode.context.instructions import repository_root
from glmcode.core.events import Notice
from glmcode.core.model import Emit

if TYPE_CHECKING:
    from glmcode.context.ranking import Ranked

REPOSITORY_S = 10.0
FOLDER_S = 2.0
"""The limit in a folder that is no repository: it may be anything, a home too."""
UNKNOWN_WINDOW = 65_536
"""Tokens that a window of unknown size is taken for."""
QUIET_S = 0.7
"""How long the map is waited for before the person is told."""


@dataclass(frozen=True, slots=True)
class _Read:
    """The ranked files; how many there are; whether the time sufficed."""

    ranked: list[Ranked]
    files: int
    whole: bool


class MapAhead:
    """One reading of a repository, begun when it is made (in a running event loop)."""

    def __init__(self, workspace: Path) -> None:
        root = repository_root(workspace)
        self._root = root
        self._limit = REPOSITORY_S if os.path.lexists(root / ".git") else FOLDER_S
        self._end = time.monotonic() + self._limit
        self._read = asyncio.get_running_loop().run_in_executor(None, self._reading)

    def stop(self) -> None:
        """It is not wanted after all."""
        self._end = 0.0

    async def text(self, count: Callable[[str], int], window: int, emit: Emit) -> str:
        """The map as it stands in the preamble; "" where there is none.

        count: tokens of a text. window: tokens, 0 when unknown. emit gets what the person
        should know.
        """
        done, _ = await asyncio.wait({self._read}, timeout=QUIET_S)
        if not done:
            left = max(1.0, self._end - time.monotonic())
            emit(Notice(text=f"reading the repository for its map (at most {left:.0f} s)"))
        found = await self._read
        if not found.whole:
            emit(
                Notice(
                    text=f"no repository map in this session: {found.files:,} source files took "
                    f"longer than {self._limit:g} s (what was read is kept for the next one)"
                )
            )
            return ""
        return await asyncio.to_thread(_rendered, found, count, window)

    def _reading(self) -> _Read:
        from glmcode.context.ranking import ranked
        from glmcode.context.sources import source_files
        from glmcode.context.tagging import tags_of_files

        if self._root in (Path.home(), Path("/")) and self._limit == FOLDER_S:
            return _Read([], 0, True)
        files = source_files(self._root, self._late)
        tags = tags_of_files(os.path.realpath(self._root), files, self._late)
        if self._late():
            return _Read([], len(files), False)
        if not any(one.definitions for one in tags.values()):
            return _Read([], len(files), True)
        return _Read(ranked(tags, ()), len(files), True)

    def _late(self) -> bool:
        return time.monotonic() > self._end


def _rendered(found: _Read, count: Callable[[str], int], window: int) -> str:
    from glmcode.context.rendering import render
    from glmcode.context.repomap import map_budget

    heading = prompt_text("map.md")
    budget = map_budget(found.files, window or UNKNOWN_WINDOW) - count(heading)
    text = render(found.ranked, budget, count) if found.ranked and budget > 0 else ""
    return f"{heading}\n{text}" if text else ""
