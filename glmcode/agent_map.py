"""The repository map of a new session: read while the engine is reached, rendered when it is known.

What is slow (reading and ranking) runs in a thread from the launch on, with a time limit; the
window and the tokenizer, which decide how much is shown, are known only when the engine answers.
What was read before the limit stays in the map's cache, so the next session gets further. A
session without a map works as well: it is only told to the person. Must not hold up a launch
longer than the limit.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

from glmcode.base.data import prompt_text
from glmcode.base.paths import cache_folder, private_folder
from glmcode.context.instructions import repository_root
from glmcode.core.events import Notice
from glmcode.core.model import Emit

if TYPE_CHECKING:
    from glmcode.context.ranking import Ranked

REPOSITORY_S = 10.0
PATIENT_S = 60.0
"""The limit where the setting context.map says "on"."""
FOLDER_S = 2.0
"""The limit in a folder that is no repository: it may be anything, a home too."""
AGAIN_S = 1.0
"""The limit where an earlier session waited in vain."""
UNKNOWN_WINDOW = 65_536
"""Tokens that a window of unknown size is taken for."""
GRACE_S = 2.0
"""How long a reading that is told to end may take for that."""
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

    def __init__(self, workspace: Path, patient: bool) -> None:
        """patient: wait as long as it may ever take."""
        root = repository_root(workspace)
        self._root = root
        self._mark = _mark(root)
        self._is_repository = os.path.lexists(root / ".git")
        self._limit = REPOSITORY_S if self._is_repository else FOLDER_S
        if os.path.lexists(self._mark):
            self._limit = AGAIN_S
        if patient:
            self._limit = PATIENT_S
        self._begun = time.monotonic()
        self._end = math.inf  # as long as the engine is not there, nobody waits
        self._read: asyncio.Future[_Read] = asyncio.get_running_loop().create_future()
        self._loop = asyncio.get_running_loop()
        Thread(target=self._work, daemon=True).start()

    def stop(self) -> None:
        """It is not wanted after all."""
        self._end = 0.0

    async def text(self, count: Callable[[str], int], window: int, emit: Emit) -> str:
        """The map as it stands in the preamble; "" where there is none.

        count: tokens of a text. window: tokens, 0 when unknown. emit gets what the person
        should know.
        """
        self._end = max(time.monotonic(), self._begun + self._limit)
        done, _ = await asyncio.wait({self._read}, timeout=QUIET_S)
        if not done:
            left = max(1.0, self._end - time.monotonic())
            if left > 2 * AGAIN_S:
                emit(Notice(text=f"reading the repository for its map (at most {left:.0f} s)"))
            done, _ = await asyncio.wait({self._read}, timeout=left + GRACE_S)
        found = self._read.result() if done else None
        if found is not None and found.whole:
            with suppress(OSError):
                self._mark.unlink(missing_ok=True)
            return await asyncio.to_thread(_rendered, found, count, window)
        files = f"{found.files:,} source files" if found is not None else "the repository"
        said = f"no repository map in this session: {files} took longer than {self._limit:g} s"
        advice = f"from now on it is waited for {AGAIN_S:g} s; --set context.map=on waits longer"
        emit(Notice(text=f"{said} ({advice})"))
        self._note_late()
        return ""

    def _note_late(self) -> None:
        try:
            private_folder(self._mark.parent)
            self._mark.write_text(f"{self._root}\n", encoding="utf-8", errors="replace")
        except OSError:
            pass  # then the next session waits again

    def _work(self) -> None:
        """The thread: a daemon, so that leaving never waits for a reading."""
        try:
            found = self._reading()
        except BaseException as error:  # raised where the map is awaited, as executors do it
            self._tell(partial(self._read.set_exception, error))
        else:
            self._tell(partial(self._read.set_result, found))

    def _tell(self, settle: Callable[[], None]) -> None:
        def once() -> None:
            if not self._read.done():
                settle()

        try:
            self._loop.call_soon_threadsafe(once)
        except RuntimeError:
            pass  # the loop has ended: nobody waits any more

    def _reading(self) -> _Read:
        from glmcode.context.ranking import ranked
        from glmcode.context.sources import source_files
        from glmcode.context.tagging import tags_of_files

        nowhere = (os.path.expanduser("~"), "/")  # noqa: PTH111 (never raises)
        if str(self._root) in nowhere and not self._is_repository:
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


def _mark(root: Path) -> Path:
    """The file that says that a repository's map once took too long."""
    name = hashlib.sha256(os.fsencode(root)).hexdigest()[:16]
    return cache_folder() / "map" / f"late-{name}"
