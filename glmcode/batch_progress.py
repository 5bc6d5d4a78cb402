"""How far a batch is: a bar with the time that is left on a terminal, plain lines elsewhere.

The time is told only after a task has shown how long one takes, and on --resume those that were
done before count. Must not decide what is run.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

from glmcode.base.duration import left
from glmcode.batch_cached import cached_of
from glmcode.batch_tasks import Task
from glmcode.exits import Exit
from glmcode.moving import MovingLine, size
from glmcode.repl.clean import one_line, visible

WIDEST = 30
"""Columns of the bar itself."""


def seconds_left(
    known: Sequence[float], running: Sequence[float], waiting: int, jobs: int
) -> float:
    """Seconds until all are done, by the mean of those known (seconds; at least one).

    running: how long each of those that run has been at it.
    """
    mean = sum(known) / len(known)
    open_ = sum(max(mean - so_far, 0.1 * mean) for so_far in running)
    return (mean * waiting + open_) / max(1, min(jobs, waiting + len(running)))


def bar_text(done: int, total: int, columns: int) -> str:
    """The bar, as wide as there is room for beside its words; "" where there is none."""
    width = min(WIDEST, columns - 50)
    if width < 5:
        return ""
    full = width * done // total if total else width
    return f"[{'#' * full}{'.' * (width - full)}] "


class Progress:
    """Of one run of a batch: `total` tasks, `jobs` at once. Never raises."""

    def __init__(self, total: int, jobs: int) -> None:
        self.total, self.jobs = total, jobs
        self.done = self.failed = 0
        self._known: list[float] = []
        self._running: dict[str, tuple[float, int]] = {}
        self._numbers: dict[str, int] = {}
        self._line = MovingLine()
        self._began = time.monotonic()

    @property
    def moves(self) -> bool:
        """Whether there is a bar, which `draw` brings up to date."""
        return self._line.moves

    def known(self, number: int, task: Task, record: Mapping[str, Any]) -> None:
        """A task that was done before."""
        self._numbers[task.id] = number
        self._count(record)

    def begin(self, number: int, task: Task) -> None:
        """A task begins; number: its place in the file, from 1."""
        self._numbers[task.id] = number
        self._running[task.id] = (time.monotonic(), 0)
        if not self.moves:
            self.say(f"{self._where(task)}: {one_line(task.prompt, 70)}")
        self.draw()

    def step(self, task: Task) -> None:
        """The model gave an answer."""
        began, steps = self._running[task.id]
        self._running[task.id] = (began, steps + 1)
        self.draw()

    def end(self, task: Task, record: Mapping[str, Any], *, kept: bool) -> None:
        """A task ended; kept: it is done, and not for a later try."""
        self._running.pop(task.id, None)
        if kept:
            self._count(record)
        self.say(f"{self._where(task)}: {told(record)}{'' if self.moves else self._left()}")
        self.draw()

    def say(self, text: str) -> None:
        """A line that stays, above the bar."""
        self._line.clear()
        say(text)

    def draw(self) -> None:
        """The bar as it is now."""
        if not self.moves:
            return
        steps = " + ".join(str(steps) for _, steps in list(self._running.values())[:8])
        running = f", {len(self._running)} running (steps: {steps})" if self._running else ""
        failed = f", {self.failed} failed" if self.failed else ""
        minutes, seconds = divmod(round(time.monotonic() - self._began), 60)
        bar = bar_text(self.done, self.total, size(2)[0])
        text = f"{bar}{self.done} of {self.total}{failed}{self._left()}{running}"
        self._line.show(f"{text}, {minutes}:{seconds:02}")

    def close(self) -> None:
        """The bar goes."""
        self._line.clear()

    def _count(self, record: Mapping[str, Any]) -> None:
        result = record["result"]
        self.done += 1
        self.failed += result["exit_code"] not in (Exit.DONE, Exit.UNANSWERED)
        took = result.get("duration_ms", 0)
        if isinstance(took, int | float) and took > 0:
            self._known.append(took / 1000)

    def _where(self, task: Task) -> str:
        return f"[{self._numbers[task.id]}/{self.total}] {task.id}"

    def _left(self) -> str:
        waiting = self.total - self.done - len(self._running)
        if not self._known or self.done == self.total:
            return ""
        now = time.monotonic()
        running = [now - began for began, _ in self._running.values()]
        return left(seconds_left(self._known, running, waiting, self.jobs))


def told(record: Mapping[str, Any]) -> str:
    """How a task ended, in one line."""
    result = record["result"]
    code = result["exit_code"]
    if code not in (Exit.DONE, Exit.UNANSWERED):
        return f"exit code {code}: {one_line(str(result.get('error', '')), 200)}"
    share = str(cached_of(result))
    seconds = result.get("duration_ms", 0) / 1000
    denied = ", something was not allowed" if code == Exit.UNANSWERED else ""
    steps = result.get("num_turns", 0)
    return f"done in {steps} steps, {seconds:.1f} s{share and f', {share}'}{denied}"


def say(text: str) -> None:
    """A line on standard error, whoever reads it."""
    try:
        os.write(2, f"glmcode: {visible(text)}\n".encode("utf-8", "replace"))
    except OSError:
        pass
