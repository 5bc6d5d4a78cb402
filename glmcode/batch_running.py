"""Runs the tasks of a batch, some at once, and keeps what came of each as soon as it is known.

Done is what has a record; a run that says nothing about its task (no engine, a signal) leaves none.
The first task gets its first answer alone, so that the others find the preamble in the cache. One
task's fault is its own; a full disk stops all, for nothing could be kept. Must not print.
"""

from __future__ import annotations

import asyncio
import errno
import signal
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from glmcode.base.trust import answer_for
from glmcode.batch_process import run
from glmcode.batch_progress import Progress
from glmcode.batch_tasks import BatchError, Output, Task
from glmcode.batch_worktree import WorktreeError, Worktrees
from glmcode.exits import Exit

LATER = (Exit.UNAVAILABLE, Exit.INTERRUPTED, Exit.TERMINATED, -signal.SIGKILL)
"""Codes of a run that says nothing about its task: it is not done, and --resume tries it again."""
IN_VAIN = 3
"""After so many tasks in a row that no engine answered the rest is not tried."""
TICK_S = 0.5

Record = dict[str, Any]


class DiskFull(Exception):
    """Nothing can be kept any more; the text says where."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What holds for every task. words: options of a run. workspace: where the batch was started.
    lock: a descriptor that the runs hold, too."""

    words: Sequence[str]
    workspace: Path
    worktrees: bool
    jobs: int
    lock: int


@dataclass(slots=True)
class Running:
    """One run of a batch. `records` holds those of all tasks that are done or were tried."""

    tasks: Sequence[Task]
    output: Output
    settings: Settings
    progress: Progress
    records: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    _trees: Worktrees = field(init=False)
    _places: dict[str, tuple[Path, str] | WorktreeError] = field(default_factory=dict)
    _pending: deque[tuple[int, Task]] = field(default_factory=deque)
    _answered: asyncio.Event = field(init=False)
    _in_vain: int = 0

    async def all(self, done: Mapping[str, Mapping[str, Any]]) -> None:
        """Run what is not done. Raises BatchError, WorktreeError, DiskFull, OSError."""
        self._answered = asyncio.Event()
        self._trees = Worktrees(self.output.folder / "worktrees", self.settings.lock)
        if self.settings.worktrees:
            await self._find_places(done)
        for number, task in enumerate(self.tasks, 1):
            if task.id in done:
                self.records[task.id] = done[task.id]
                self.progress.known(number, task, done[task.id])
            else:
                self._pending.append((number, task))
        workers = [asyncio.ensure_future(self._work(n)) for n in range(self.settings.jobs)]
        ticking = asyncio.ensure_future(self._tick())
        try:
            await asyncio.gather(*workers)
        finally:
            for one in (*workers, ticking):
                if not one.cancelling():  # a second time would break off the clearing up
                    one.cancel()
            await asyncio.gather(*workers, ticking, return_exceptions=True)
            self.progress.close()

    async def _tick(self) -> None:
        while self.progress.moves:
            self.progress.draw()
            await asyncio.sleep(TICK_S)

    async def _find_places(self, done: Mapping[str, Any]) -> None:
        """Which repository and commit each task is for; what a killed batch left there goes."""
        own, roots = Path(), set()
        if not all(task.repo for task in self.tasks):
            own = await self._trees.root(self.settings.workspace)
            self.output.base(own, await self._trees.commit(own, "HEAD"))
        for task in self.tasks:
            try:
                root = await self._trees.root(self._start(task)) if task.repo else own
                roots.add(root)
                if task.id not in done:
                    commit = await self._trees.commit(root, task.base or "HEAD")
                    base = commit if task.base else self.output.base(root, commit)
                    self._places[task.id] = (root, base)
            except WorktreeError as error:
                self._places[task.id] = error
        await self._trees.sweep(roots)

    def _start(self, task: Task) -> Path:
        return self.settings.workspace / Path(task.repo).expanduser()

    async def _work(self, worker: int) -> None:
        if worker:
            await self._answered.wait()
        try:
            while self._pending and self._in_vain < IN_VAIN:
                await self._one(*self._pending.popleft())
                self._answered.set()
        finally:
            self._answered.set()

    async def _one(self, number: int, task: Task) -> None:
        self.progress.begin(number, task)
        record = await self._record(task)
        code = record["result"]["exit_code"]
        kept = code not in LATER
        self._in_vain = self._in_vain + 1 if code == Exit.UNAVAILABLE else 0
        self.records[task.id] = record
        self.progress.end(task, record, kept=kept)

    async def _record(self, task: Task) -> Record:
        """Run one task and keep what came of it, if anything did. Leaves no worktree."""
        place = self._trees.place(task.id)
        record: Record = {"v": 1, "id": task.id, "task": task.digest}
        try:
            try:
                record["result"] = await self._result(task, place)
            except (WorktreeError, BatchError) as error:
                record["result"] = _fault(error)
            if record["result"]["exit_code"] in LATER:
                return record
            if self.settings.worktrees and place.is_dir():
                await self._patch(task, place, record)
            self.output.keep_json(f"results/{task.id}.json", record)
            return record
        finally:
            if self.settings.worktrees:
                await self._trees.remove(place)

    async def _result(self, task: Task, place: Path) -> dict[str, Any]:
        """Raises BatchError, WorktreeError, OSError."""
        start, trust = self.settings.workspace, False
        if self.settings.worktrees:
            found = self._places[task.id]
            if isinstance(found, WorktreeError):
                raise found
            root, base = found
            await self._trees.make(root, base, place)
            inner = Path() if task.repo else self.settings.workspace.relative_to(root)
            start, trust = place / inner, bool(answer_for(root / inner))
        folder = self._folder(task, start, place)
        words = ["-p", *self.settings.words, *task.words, "--output-format", "stream-json"]
        words += ["--trust"] if trust else []
        try:
            return await run(
                [*words, "--cd", str(folder)],
                task.prompt,
                cwd=self.settings.workspace,
                log=self.output.folder / "logs" / f"{task.id}.log",
                hold=self.settings.lock,
                heard=lambda: self._heard(task),
            )
        except ValueError as error:
            raise BatchError(f"this locale cannot say its options: {error}") from error
        except OSError as error:
            if error.errno != errno.E2BIG:
                raise
            raise BatchError("its options are too long for a command line") from error

    def _heard(self, task: Task) -> None:
        self._answered.set()
        self.progress.step(task)

    def _folder(self, task: Task, start: Path, place: Path) -> Path:
        """Where a task works. Raises BatchError."""
        try:
            folder = (start / task.cwd).resolve()
            there = folder.is_dir()
        except (OSError, RuntimeError, ValueError):
            there = False
        if not there:
            raise BatchError(f"its folder {task.cwd or start.name} is not there")
        if self.settings.worktrees and not folder.is_relative_to(place.resolve()):
            raise BatchError(f"its folder {task.cwd} lies outside of the worktree")
        return folder

    async def _patch(self, task: Task, place: Path, record: Record) -> None:
        """Keep the patch; one that can't be made fails the task. Raises DiskFull, OSError."""
        found = self._places[task.id]
        assert not isinstance(found, WorktreeError)
        name = f"patches/{task.id}.patch"
        try:
            self.output.keep(name, await self._trees.patch(place, found[1]))
            record |= {"base": found[1], "patch": name}
        except WorktreeError as error:
            record["result"] |= _fault(error)


def _fault(error: WorktreeError | BatchError) -> dict[str, Any]:
    """The result of a task that could not be run, or told. Raises DiskFull."""
    if isinstance(error, WorktreeError) and error.full:
        raise DiskFull(str(error)) from error
    return {"exit_code": int(Exit.ERROR), "is_error": True, "error": str(error)}
