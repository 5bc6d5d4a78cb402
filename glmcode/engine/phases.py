"""Reads vLLM's log: how far a start has come, and when it will be done.

A start takes ten seconds or ten minutes, so it must never look like a hang; what is left
is told from how long each phase took the last time. The words belong to vLLM and may
change: an unknown log only makes the progress coarser. Must not read files or clocks.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

_MARKS: tuple[tuple[str, re.Pattern[str] | None], ...] = (
    ("looking for vLLM", None),
    ("importing vLLM", None),
    ("reading the model's configuration", re.compile(r"non-default args:|Resolved architecture")),
    ("starting the workers", re.compile(r"Initializing a V1 LLM engine")),
    ("looking for the weights", re.compile(r"Starting to load model")),
    ("downloading the model", re.compile(r"Fetching \d+ files|\.safetensors: +\d+%")),
    ("loading weights", re.compile(r"Loading \S+ checkpoint shards|Time spent downloading")),
    (
        "compiling",
        re.compile(
            r"Model loading took|Warming up model|Dynamo bytecode|Compiling a graph"
            r"|torch\.compile took|Directly load"
        ),
    ),
    ("allocating the KV cache", re.compile(r"Available KV cache memory|KV cache size:")),
    ("capturing graphs", re.compile(r"Capturing CUDA graphs|Graph capturing")),
    ("opening the API", re.compile(r"init engine \(|Starting vLLM server")),
)
PHASES = tuple(name for name, _ in _MARKS)
IMPORTING = "importing vLLM"
LATE, LATE_S = 1.5, 2.0
_SHARDS = re.compile(r"checkpoint shards:.*?(\d+)/(\d+)")


@dataclass(slots=True)
class StartTracker:
    """One start: feed it log lines, ask it for progress. Times are seconds of one clock.

    expected: seconds per phase of the last start; {} when there was none.
    """

    expected: Mapping[str, float]
    began: float
    phase: str = PHASES[0]
    entered: float = 0.0
    shards: tuple[int, int] | None = None
    took: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.entered = self.began

    def enter(self, phase: str, now: float) -> None:
        """Go to a phase; going back is ignored, because eight workers say the same."""
        if PHASES.index(phase) > PHASES.index(self.phase):
            self.took[self.phase] = now - self.entered
            self.phase, self.entered = phase, now

    def feed(self, line: str, now: float) -> None:
        """Take one line of the log."""
        for phase, mark in _MARKS:
            if mark is not None and mark.search(line):
                self.enter(phase, now)
        if found := _SHARDS.search(line):
            self.shards = (int(found[1]), int(found[2]))

    def words(self) -> str:
        """The phase as a person reads it."""
        if self.phase == "loading weights" and self.shards and self.shards[1] > 1:
            return f"loading weights ({self.shards[0]}/{self.shards[1]})"
        return self.phase

    def progress(self, now: float) -> tuple[float | None, float | None]:
        """Percent and seconds left; (None, None) when there is nothing to compare with.

        Of a phase that takes much longer than it did only its own count tells seconds.
        """
        total = sum(self.expected.values())
        if total <= 0:
            return None, None
        here = self.expected.get(self.phase, 0.0)
        took = max(0.0, now - self.entered)
        spent = min(took, here)
        if self.phase == "loading weights" and self.shards:
            spent = max(spent, here * self.shards[0] / max(1, self.shards[1]))
        position = PHASES.index(self.phase)
        before = sum(self.expected.get(name, 0.0) for name in PHASES[:position])
        after = sum(self.expected.get(name, 0.0) for name in PHASES[position + 1 :])
        percent = min(99.0, 100 * (before + spent) / total)
        if took > LATE * here + LATE_S:
            done, shards = self.shards or (0, 0)
            if self.phase != "loading weights" or not 0 < done < shards:
                return percent, None
            return percent, took * (shards - done) / done + after
        return percent, here - spent + after

    def durations(self, now: float) -> dict[str, float]:
        """Seconds per phase of a start that has just ended."""
        return {**self.took, self.phase: now - self.entered}
