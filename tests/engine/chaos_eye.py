"""Sees all that happens in an engine's queue, and what must not.

A thread follows the supervisor's events, each of which is the whole queue at one moment: who has
the engine, who waits. Another counts engines.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from glmcode.engine.control import ControlError, follow
from glmcode.engine.family import processes
from glmcode.engine.lane import CLASSES
from glmcode.engine.paths import EnginePaths
from glmcode.engine.queue import MOST_BREAKS

SLACK_S = 0.05
"""Who came so shortly before another began may have come after it, by two clocks."""


class Eye:
    """Watches until `close`. nested: the runs that are nested in others, whose class is not all;
    so are those in a folder of that name.

    faults: what was seen and must not be, once each. seen: how many moments, and how often one had
    the engine while others waited, was broken off, and so on.
    """

    def __init__(self, paths: EnginePaths, folder: Path) -> None:
        self.faults: dict[str, str] = {}
        self.seen: Counter[str] = Counter()
        self.most_engines = 0
        self.nested: set[str] = set()
        self._paths = paths
        self._mark = os.fsencode(folder)
        self._over = threading.Event()
        self._last = ""
        self._kept_out: set[str] = set()
        self._threads = [
            threading.Thread(target=work, daemon=True) for work in (self._follow, self._count)
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive()

    def _follow(self) -> None:
        while not self._over.wait(0.02):
            with contextlib.suppress(ControlError):
                asyncio.run(follow(self._paths.socket, "/glmcode/events", self._moment))

    def _moment(self, value: Mapping[str, Any]) -> bool:
        """One event; whether to look no further."""
        self.seen["moments"] += 1
        running, waiting = list(value["running"]), list(value["waiting"])
        if len(running) > 1:
            self._fault("two at an engine that serves one", value)
        runs = Counter(str(one["run"]) for one in (*running, *waiting) if _ours(one))
        if any(count > 1 for count in runs.values()):
            self._fault("a run that asks once has two places", value)
        for one in (*running, *waiting):
            self.seen["broken off"] += bool(one["breaks"])
            if one["breaks"] > MOST_BREAKS:
                self._fault("broken off more than twice", value)
        for one in running:
            self._order(one, waiting, value)
        self._kept_out |= {str(one["run"]) for one in waiting if one["kept_out"]}
        self.seen["kept out"] += any(one["kept_out"] for one in waiting)
        places = [one["position"] for one in waiting]
        if places != list(range(1, len(places) + 1)):
            self._fault("places are not counted from the first", value)
        return self._over.is_set()

    def _order(
        self, one: Mapping[str, Any], waiting: Sequence[Mapping[str, Any]], value: Mapping[str, Any]
    ) -> None:
        """Nobody more urgent may have waited when one was given the engine."""
        if one["run"] in self.nested or str(one["label"]).endswith("/nested"):
            self.seen["nested"] += 1
            return
        began = f"{one['run']} {one['since']}"
        self.seen["order looked at"] += bool(waiting) and began != self._last
        self._last = began
        rank = CLASSES.index(one["class"])
        for other in waiting:
            before = other["since"] < one["since"] - SLACK_S
            # One that was broken off has the time of when it came first, and one that waits for the
            # end of a turn does not keep the engine from others.
            kept_out = other["kept_out"] or other["run"] in self._kept_out
            free = before and not other["breaks"] and not kept_out
            if free and CLASSES.index(other["class"]) < rank:
                self._fault("one that was more urgent waited", value)

    def _fault(self, what: str, value: Mapping[str, Any]) -> None:
        self.faults.setdefault(what, f"{value['running']}\n{value['waiting']}")

    def _count(self) -> None:
        """How many engines' main processes live at once; a guard is a fork in the same group."""
        while not self._over.wait(0.03):
            groups = set()
            for pid, kin in processes().items():
                with contextlib.suppress(OSError):
                    line = Path(f"/proc/{pid}/cmdline").read_bytes()
                    if b"fake_vllm" in line and self._mark in line and pid == kin.group:
                        groups.add(kin.group)
            self.most_engines = max(self.most_engines, len(groups))


def _ours(one: Mapping[str, Any]) -> bool:
    return str(one["label"]).startswith("request ")
