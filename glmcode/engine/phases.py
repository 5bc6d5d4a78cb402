"""Reads vLLM's log: how far a start has come, when it will be done, and why it failed.

A start takes ten seconds or ten minutes, so it must never look like a hang; what is left
is told from how long each phase took the last time. The words belong to vLLM and may
change: an unknown log only makes the progress coarser. Must not read files or clocks.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why an engine ended. final: the same start would fail again, so it is not repeated."""

    reason: str
    final: bool = False


_KNOWN: tuple[tuple[re.Pattern[str], str], ...] = (
    (
        re.compile(r"Check the logs of the remote worker|ncclRemoteError|remote process exit"),
        "the connection to one of its workers broke; of a profile for several machines run the "
        "other machines' commands again (`glmcode engine plan` prints them)",
    ),
    (
        re.compile(r"out of memory|OutOfMemoryError|No available memory for the cache", re.I),
        "it ran out of GPU memory: lower gpu_memory or the window in the profile, or free the GPUs",
    ),
    (
        re.compile(r"(?:Free|Available) memory on .*(?:less than|requested)"),
        "there is not enough free memory for it: something else uses the GPUs or the machine",
    ),
    (
        re.compile(r"larger than the available KV cache"),
        "its window does not fit the memory for the KV cache: lower the window in the profile",
    ),
    (
        re.compile(r"Cannot find any model weights"),
        "the model's folder holds no weights",
    ),
    (
        re.compile(r"SafetensorError|incomplete metadata|not fully covered"),
        "a weight file of the model is damaged or incomplete: fetch the model again",
    ),
    (
        re.compile(
            r"HFValidationError|RepositoryNotFoundError|LocalEntryNotFoundError"
            r"|does not appear to have a file named config\.json|Can't load the configuration"
        ),
        "the model was not found: neither a folder of that name nor a downloaded model",
    ),
    (
        re.compile(r"No space left on device|Disk quota exceeded"),
        "the disk is full: free some (`glmcode clean`; vLLM's caches, the model, /dev/shm) and "
        "start it again",
    ),
    (
        re.compile(
            r"No module named 'flashinfer|Selected backend \S*FLASHINFER is not valid[^\n]*Import"
            r"|FlashInfer (?:is not installed|backend is not available)"
        ),
        "its attention backend FlashInfer is not installed: install flashinfer-python for its "
        'interpreter, or set kv_dtype = "int8_per_token_head" and the attention-backend to '
        "TRITON_ATTN in a profile of yours",
    ),
    (
        re.compile(
            r"Selected backend \S*?\.?(\w+) is not valid for this configuration\. (.{1,200})"
        ),
        "the attention backend {0} can't do what the profile asks ({1}): change attention-backend "
        "or kv_dtype in a profile of yours",
    ),
    (
        re.compile(r"No valid attention backend found for (.{1,60}?) with"),
        "no attention backend of vLLM can do what the profile asks on {0}: change kv_dtype or "
        "dtype in a profile of yours",
    ),
    (
        re.compile(r"CUDA driver version is insufficient|driver .{0,40}too old", re.I),
        "the NVIDIA driver is older than this PyTorch needs: update the driver, or install a "
        "vLLM built for an older CUDA",
    ),
    (
        re.compile(r"no kernel image is available", re.I),
        "this vLLM was not built for the GPUs' compute capability",
    ),
    (
        re.compile(r"(?:torch\.distributed\.DistBackendError: )?NCCL (?:error|WARN)|nccl\w+Error"),
        'the GPUs could not talk to each other (NCCL): try env.NCCL_P2P_DISABLE = "1" in a '
        'profile of yours; env.NCCL_DEBUG = "INFO" makes it say more',
    ),
    (
        re.compile(r"World size \((\d+)\) is larger than the number of available GPUs \((\d+)\)"),
        "the profile wants {0} GPUs and vLLM sees {1}: set tensor_parallel and "
        "env.CUDA_VISIBLE_DEVICES in a profile of yours",
    ),
    (
        re.compile(r"ModuleNotFoundError: No module named '([\w.]+)'"),
        "its Python lacks the package {0}: install vLLM again",
    ),
    (
        re.compile(r"No CUDA GPUs are available|Failed to infer device type"),
        "vLLM found no GPU that it can use",
    ),
)
_VALUE = re.compile(r"^\s+Value error, (.*?)(?: \[type=.*)?$")
_ERROR = re.compile(r"^(?:.*? ERROR .*?\] )?[\w.]*(?:Error|Exception|Interrupt): (.+)$")
_VAGUE = re.compile(r"Engine core initialization failed|encountered an issue|SystemExit")
_CORE_DIED = "EngineDeadError"
_REFUSED = re.compile(r"error: unrecognized arguments: (.*)$")
_NOISE = re.compile(r"Route: |nanobind|leaked |skipped remainder|checkpoint shards: |^\s*$")


def explain(lines: Sequence[str], code: int) -> Failure:
    """Why the engine ended, in one clause. code: exit code, or minus the signal's number."""
    for pattern, reason in _KNOWN:
        for line in lines:
            if found := pattern.search(line):
                return Failure(reason=reason.format(*found.groups()), final=True)
    ended = f"it ended with exit code {code}" if code >= 0 else f"it was killed by signal {-code}"
    if any(_CORE_DIED in line for line in lines):
        ended = "its engine core died"
    elif code == -9:
        ended += " (by a person, or by the kernel because memory ran out)"
    said = _first_error(lines)
    return Failure(reason=f"{ended}: {said}" if said else ended)


def refused_flags(lines: Sequence[str]) -> list[str]:
    """Flags (no dashes) that vLLM's argument parser does not know."""
    for line in lines:
        if found := _REFUSED.search(line):
            return [word[2:].partition("=")[0] for word in found[1].split() if word[:2] == "--"]
    return []


def last_lines(lines: Sequence[str], count: int = 12) -> tuple[str, ...]:
    """The last telling lines, each at most 400 characters."""
    return tuple(line[:400] for line in lines if not _NOISE.search(line))[-count:]


def _first_error(lines: Sequence[str]) -> str:
    for pattern in (_VALUE, _ERROR):
        for line in lines:
            found = pattern.match(line)
            if found and not _VAGUE.search(line):
                return found[1].strip()[:300]
    return ""
