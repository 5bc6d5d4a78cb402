"""Reads vLLM's last lines: why an engine ended, in one clause with what to do.

A wrong explanation is worse than none, so what vLLM only remarks (its levels below ERROR) explains
nothing, and each pattern asks for the words of the fault itself. What nobody knows is quoted. Must
not read files or clocks.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why an engine ended. final: the same start would fail again, so it is not repeated.

    memory: the GPUs' ran out, which ends the same start again even if it went well for long.
    """

    reason: str
    final: bool = False
    memory: bool = False


_MEMORY = re.compile(
    r"OutOfMemoryError|CUDA_ERROR_OUT_OF_MEMORY|\b(?:CUDA|Cuda|HIP|XPU)\b.{0,40}out of memory"
)
_KNOWN: tuple[tuple[re.Pattern[str], str], ...] = (
    (
        _MEMORY,
        "it ran out of GPU memory: lower gpu_memory or the window in the profile, or free the GPUs",
    ),
    (
        re.compile(r"No available memory for the cache"),
        "its weights leave no memory for the KV cache: raise gpu_memory in the profile, or take "
        "more GPUs (`glmcode engine plan` counts)",
    ),
    (
        re.compile(r"DefaultCPUAllocator: can't allocate memory|Errno 12\b|^MemoryError"),
        "the machine's own memory ran out, not the GPUs': end what else uses it",
    ),
    (
        re.compile(r"(?:Free|Available) memory on .*(?:less than|requested)"),
        "there is not enough free memory for it: something else uses the GPUs or the machine",
    ),
    (
        re.compile(r"larger than the available KV cache"),
        "its window does not fit the memory for the KV cache: lower the window in the profile, or "
        "raise gpu_memory",
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
            r"Selected backend (?:\S*\.)?(\w+) is not valid for this configuration\. (.{1,200})"
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
        # One that lost the others tells of their end, not of its cause.
        re.compile(
            r"^(?!.*(?:remote process|ncclRemoteError)).*"
            r"(?:DistBackendError: |NCCL error(?: in)?: |nccl[A-Z]\w*Error)"
        ),
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
_REMARK = re.compile(r"^(?:\S+ )?(?:\([^)]*\) )?(?:DEBUG|INFO|WARNING) \d\d-\d\d \d\d:\d\d:\d\d ")
_PREFIX = re.compile(r"^(?:[^\s(]\S* )?(?:\([^)]*\) )?(?:ERROR \d\d-\d\d [\d:]+ \[[^\]]*\] ?)?")
_MISSING = "ModuleNotFoundError: No module named"
_HANDLED = "During handling of the above exception"
_VALUE = re.compile(r"^\s+Value error, (.*?)(?: \[type=.*)?$")
_ERROR = re.compile(r"^(?:.{0,80}? ERROR .{0,80}?\] )?[\w.]*(?:Error|Exception|Interrupt): (.+)$")
_VAGUE = re.compile(
    r"Engine core initialization failed|encountered an issue|SystemExit"
    r"|remote process exit|process exiting prematurely|ncclRemoteError|Connection closed by peer \["
    r"|Check the logs of the remote worker"
)
_LOST = re.compile(
    r"Check the logs of the remote worker|ncclRemoteError|remote process exit"
    r"|Connection closed by peer \["
)
_CORE_DIED = "EngineDeadError"
_REFUSED = re.compile(r"error: unrecognized arguments: (.*)$")
_NOISE = re.compile(r"Route: |nanobind|leaked |skipped remainder|checkpoint shards: |^\s*$")


def explain(lines: Sequence[str], code: int) -> Failure:
    """Why the engine ended, in one clause. code: exit code, or minus the signal's number."""
    lines = _evidence(lines)
    for pattern, reason in _KNOWN:
        for line in lines:
            if found := pattern.search(line):
                words = reason.format(*found.groups())
                return Failure(reason=words, final=True, memory=pattern is _MEMORY)
    ended = f"it ended with exit code {code}" if code >= 0 else f"it was killed by signal {-code}"
    if any(_CORE_DIED in line for line in lines):
        ended = "its engine core died"
    elif code == -9:
        ended += " (by a person, or by the kernel because memory ran out)"
    elif code == -7:
        ended += " (a bus error: often /dev/shm is full)"
    said = _first_error(lines)
    if not said and any(_LOST.search(line) for line in lines):
        words = (
            "the connection to one of its workers broke; of a profile for several machines run the "
            "other machines' commands again (`glmcode engine plan` prints them)"
        )
        return Failure(reason=words, final=True)
    return Failure(reason=f"{ended}: {said}" if said else ended)


def _evidence(lines: Sequence[str]) -> list[str]:
    """The lines that may tell of a fault: no remarks, no lack of a package that vLLM got over."""
    found: list[str] = []
    for line in lines:
        if _REMARK.match(line) or not _PREFIX.sub("", line).strip():
            continue
        if _HANDLED in line and found and _MISSING in found[-1]:
            found.pop()
        found.append(line)
    return found


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
