"""Whose GPUs are whose: each engine's share of the memory of each GPU that it uses.

vLLM finds out that a GPU is full by failing, after minutes. A lock on each GPU would forbid two
small models to share one, so shares are counted: what the engines of this user hold on a GPU may
add up to all of it, and a start that would exceed it is refused before anything is loaded. A claim
lies in a file of the engine's folder and counts as long as its flock is held: by the supervisor and
by the engine, which inherits it, so that it lasts exactly as long as there is a process that may
hold the memory. All look and take under one lock, that of the folder of all engines. A claim is a
file of its own at each start, so that a stray process can't keep the next one out. What can't be
known (no NVML, parts of a GPU, Ray's choice) is not claimed. Must not touch a GPU.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from glmcode.base.locks import LockBusy, folder_lock
from glmcode.engine.fit import DEFAULT_SHARE
from glmcode.engine.gpus import Gpus
from glmcode.engine.holder import holder
from glmcode.engine.paths import EnginePaths, known_engines, run_root
from glmcode.engine.profile import Profile
from glmcode.engine.state import gpu_numbers

LEAVING_S = 20.0
"""How long one whose supervisor is dead may take to be gone."""
_LOCK_S = 1.0
_AGAIN_S = 0.1
_ALL = 1.0 + 1e-6


class ClaimError(Exception):
    """The GPUs are taken; one sentence that says by whom and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a profile's engine holds. gpus: their numbers as NVML counts, none: it sleeps; share: of
    the memory of each (0 to 1)."""

    profile: str
    gpus: tuple[int, ...]
    share: float

    def words(self) -> str:
        """As `0.6 of GPU 0 and 1`."""
        return f"{self.share:g} of GPU {gpu_numbers(self.gpus)}"

    def to_json(self) -> dict[str, object]:
        """For scripts."""
        return asdict(self)


def wanted(profile: Profile, env: Mapping[str, str], here: Gpus) -> Claim | None:
    """What the engine of a profile will hold; None where that can't be known. env: its own.

    The whole share counts where the KV cache has a size of its own, too: vLLM demands that share
    to be free at its start all the same.
    """
    seen = _visible(env, here)
    if not seen:
        return None
    many = _ranks(profile)
    if many < len(seen):
        mixed = len({gpu.name for gpu in here.found}) > 1
        if mixed and env.get("CUDA_DEVICE_ORDER") != "PCI_BUS_ID":
            return None  # CUDA counts the fastest first, NVML by their place
        if profile.flags.get("distributed-executor-backend") == "ray":
            return None  # it chooses
    share = profile.gpu_memory or DEFAULT_SHARE
    return Claim(profile=profile.name, gpus=tuple(sorted(seen[:many])), share=share)


def _visible(env: Mapping[str, str], here: Gpus) -> tuple[int, ...]:
    """The GPUs that CUDA shows to a process, in its order; none where it can't be told."""
    known = tuple(gpu.index for gpu in here.found)
    text = env.get("CUDA_VISIBLE_DEVICES")
    if text is None:
        return known
    found: list[int] = []
    for word in (part.strip() for part in text.split(",")):
        if word.isascii() and word.isdigit():
            same = [index for index in known if index == int(word)]
        elif word.startswith("GPU-"):
            same = [gpu.index for gpu in here.found if gpu.uuid.startswith(word)]
            if len(same) != 1:
                return ()
        elif word.startswith("MIG-"):
            return ()
        else:
            same = []
        if not same:
            break  # CUDA takes those before the first that is none
        found += same
    return tuple(dict.fromkeys(found))


def _ranks(profile: Profile) -> int:
    """The GPUs that it uses on this machine."""

    def flag(name: str) -> int:
        value = profile.flags.get(name)
        return value if isinstance(value, int) and value > 1 else 1

    many = max(1, profile.tensor_parallel) * flag("pipeline-parallel-size")
    if "data-parallel-size-local" in profile.flags:
        return many * flag("data-parallel-size-local")
    return max(1, many * flag("data-parallel-size") // profile.nodes)


def refusal(mine: Claim, others: Sequence[Claim]) -> str:
    """Why a claim can't be had beside others, "" when it can."""

    def sum_of(gpu: int) -> float:
        return mine.share + sum(other.share for other in others if gpu in other.gpus)

    full = [gpu for gpu in mine.gpus if sum_of(gpu) > _ALL]
    if not full:
        return ""
    whose = [other for other in others if set(full).intersection(other.gpus)]
    held = " and ".join(f"profile {other.profile} holds {other.words()}" for other in whose)
    ways = " or ".join(f"`glmcode engine stop --profile {other.profile}`" for other in whose)
    return (
        f"profile {mine.profile} wants {mine.words()}, but {held}, and a GPU has only 1: free it "
        f"({ways}), or lower gpu_memory in both profiles until they add up to 1"
    )


def taken() -> list[Claim]:
    """What the engines of this user on this machine hold now."""
    try:
        with folder_lock(run_root(), _LOCK_S) as locked:
            return [claim for claim, _ in _living("")] if locked else []
    except LockBusy:
        return []


def _living(besides: str) -> Iterator[tuple[Claim, EnginePaths]]:
    """The claims whose engines or supervisors live. Only under the lock."""
    for paths in known_engines():
        claim = _read(paths) if paths.name != besides else None
        if claim is not None and claim.gpus:
            yield claim, paths


def _read(paths: EnginePaths) -> Claim | None:
    try:
        with paths.gpus.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                value = json.loads(file.readline())
                gpus = tuple(sorted(int(gpu) for gpu in value["gpus"]))
                return Claim(profile=paths.name, gpus=gpus, share=float(value["share"]))
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return None


class Place:
    """The claim of one supervisor's engine. Its deeds are short, and for the event loop alone."""

    def __init__(self, paths: EnginePaths) -> None:
        self._paths = paths
        self._claim: Claim | None = None
        self._fd = -1
        self._held = False

    @property
    def gpus(self) -> tuple[int, ...]:
        """Those that it holds now."""
        return self._claim.gpus if self._claim is not None and self._held else ()

    @property
    def share(self) -> float:
        """Of the memory of each; 0 when it holds none."""
        return self._claim.share if self._claim is not None and self._held else 0.0

    @property
    def descriptors(self) -> tuple[int, ...]:
        """What the engine has to inherit."""
        return (self._fd,) if self._fd >= 0 else ()

    async def take(self, claim: Claim | None) -> None:
        """Hold it until `drop`; None: hold nothing. One whose supervisor was killed is waited for
        until it is gone. Raises ClaimError."""
        self.drop()
        deadline = time.monotonic() + LEAVING_S
        while claim is not None:
            why, leaving = self._try(claim)
            if not why:
                return
            if not leaving or time.monotonic() > deadline:
                raise ClaimError(why)
            await asyncio.sleep(_AGAIN_S)

    def again(self) -> None:
        """Hold it as before `lend`. Raises ClaimError."""
        if self._claim is not None and not self._held:
            why, _ = self._try(self._claim)
            if why:
                raise ClaimError(why)

    def lend(self) -> None:
        """The engine sleeps: others may have it."""
        if self._claim is not None:
            with contextlib.suppress(OSError):
                self._write(replace(self._claim, gpus=()))
            self._held = False

    def drop(self) -> None:
        """The engine is gone."""
        if self._fd >= 0:
            with contextlib.suppress(OSError):
                if os.path.samestat(os.fstat(self._fd), self._paths.gpus.stat()):
                    self._paths.gpus.unlink()
            os.close(self._fd)
        self._fd, self._claim, self._held = -1, None, False

    def _try(self, claim: Claim) -> tuple[str, bool]:
        """Look and take, as one step; why not, or "", and whether those before are leaving."""
        try:
            with folder_lock(run_root(), _LOCK_S) as locked:
                if not locked:
                    return "", False
                others = list(_living(self._paths.name))
                why = refusal(claim, [other for other, _ in others])
                if not why:
                    self._put(claim)
        except LockBusy as error:
            return f"{error}: try again", False
        dying = {paths.name for _, paths in others if holder(paths) is None} if why else set()
        staying = [other for other, paths in others if paths.name not in dying]
        return why, bool(dying) and not refusal(claim, staying)

    def _put(self, claim: Claim) -> None:
        """Without locks or room on the disk there is no claim, and no refusal for want of it."""
        with contextlib.suppress(OSError):
            if self._fd < 0:
                self._fd = _new_file(self._paths.gpus)
            self._write(claim)
            self._claim, self._held = claim, True

    def _write(self, claim: Claim) -> None:
        """In place, because the lock is the file's; a reader takes the first line."""
        text = json.dumps({"gpus": claim.gpus, "share": claim.share}).encode() + b"\n"
        os.pwrite(self._fd, text, 0)


def _new_file(path: Path) -> int:
    """A new file in place of the old one, with its lock. Raises OSError."""
    draft = path.with_suffix(".draft")
    draft.unlink(missing_ok=True)
    fd = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        draft.replace(path)
    except BaseException:
        os.close(fd)
        raise
    return fd
