"""Who belongs to an engine: found by group, by descent and by a mark, ended to the last one.

No single way is enough: a worker may lead a session of its own, its parent may have died,
and a process title may overwrite the environment that bears the mark. Linux only (/proc).
Must not know what the processes do.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

MARK = "GLMCODE_ENGINE"
"""The variable that all processes of an engine inherit; its value is unique to a start."""

_KILL_GRACE_S = 10.0
_ORPHANS_GRACE_S = 0.5
_TRACKER_GRACE_S = 1.0
_PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True, slots=True)
class Kin:
    """One living process: its parent, group and start time (clock ticks since boot)."""

    parent: int
    group: int
    started: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """The processes of one engine.

    group: its process group, 0 for none. mark: the value of MARK, "" for none. adopted: all
    descendants of this process belong to it (see adopt_orphans).
    """

    group: int
    mark: str
    adopted: bool = False

    def living(self) -> set[int]:
        """Those that live now, this process excepted."""
        alive, own = processes(), os.getpid()
        family = {pid for pid, kin in alive.items() if self.group and kin.group == self.group}
        family |= ({self.group} & alive.keys()) | self._marked(alive)
        family |= {own} if self.adopted else set()
        while more := {pid for pid, kin in alive.items() if kin.parent in family} - family:
            family |= more
        return family - {own}

    def _marked(self, pids: Iterable[int]) -> set[int]:
        wanted = f"{MARK}={self.mark}\0".encode()
        found: set[int] = set()
        for pid in pids if self.mark else ():
            with contextlib.suppress(OSError):
                if wanted in Path("/proc", str(pid), "environ").read_bytes() + b"\0":
                    found.add(pid)
        return found

    async def end(self, grace_s: float) -> bool:
        """SIGTERM, up to `grace_s` seconds, SIGKILL; returns when none is left.

        The result tells whether there was any.
        """
        victims = self.living()
        seen = set(victims)
        _send(victims, signal.SIGTERM)
        _send(victims, signal.SIGCONT)  # one that is stopped hears nothing else
        began = quiet_since = time.monotonic()
        while victims and time.monotonic() - began < grace_s:
            await asyncio.sleep(0.03)
            victims = self._left(victims, seen)
            if self.group in victims:
                quiet_since = time.monotonic()
            elif time.monotonic() - quiet_since > _ORPHANS_GRACE_S:
                break  # the main process is done, and what it left behind had its moment
        began = time.monotonic()
        while victims and time.monotonic() - began < _KILL_GRACE_S:
            spared = _trackers(victims) if time.monotonic() - began < _TRACKER_GRACE_S else set()
            _send(victims - spared, signal.SIGKILL)
            await asyncio.sleep(0.02)
            victims = self._left(victims, seen)
        _collect((seen | self._ended()) - {self.group})
        return bool(seen)

    def _ended(self) -> set[int]:
        """Our children of its group that ended before anybody looked, as zombies."""
        own = os.getpid()
        return {
            pid
            for pid, state, kin in _all()
            if state == "Z" and kin.parent == own and kin.group == self.group
        }

    def _left(self, victims: set[int], seen: set[int]) -> set[int]:
        found = self.living()
        seen |= found
        return found | (victims & processes().keys())


def adopt_orphans() -> None:
    """From now on descendants whose parent died become our children, so none is lost."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def processes() -> dict[int, Kin]:
    """All living processes of this machine by pid, zombies left out."""
    return {pid: kin for pid, state, kin in _all() if state not in "ZX"}


def _all() -> Iterator[tuple[int, str, Kin]]:
    """Number, state letter and kin of everything in /proc."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                text = (entry / "stat").read_text(errors="replace")
            except OSError:
                continue
            values = text.rpartition(")")[2].split()
            yield int(entry.name), values[0], Kin(int(values[1]), int(values[2]), int(values[19]))


def shared_memory(pids: Iterable[int]) -> set[str]:
    """Names of the shared memory (files of /dev/shm) that processes have mapped.

    Python's trackers remove what a program leaves, but not always after kill -9, and it would take
    memory until the machine starts anew.
    """
    found: set[str] = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            lines = Path(f"/proc/{pid}/maps").read_text(errors="replace").splitlines()
            paths = (line.partition(" /dev/shm/")[2] for line in lines)
            found |= {name for name in paths if name and "/" not in name and " " not in name}
    return found


def remove_shared(names: Iterable[str]) -> None:
    """Remove what dead processes left in shared memory; what is gone or not ours stays so."""
    for name in names:
        path = Path("/dev/shm") / Path(name).name
        with contextlib.suppress(OSError):
            if path.stat().st_uid == os.getuid():
                path.unlink()


def boot() -> str:
    """Tells one run of the machine from the next, because process numbers start anew."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def _send(pids: set[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(OSError):
            os.kill(pid, number)


def _trackers(pids: set[int]) -> set[int]:
    """Python's resource trackers: when the others are gone, each removes their shared memory."""
    found = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            if b"multiprocessing.resource_tracker" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.add(pid)
    return found


def _collect(pids: set[int]) -> None:
    """Take note of the end of processes that became our children, or they stay as zombies."""
    for pid in pids:
        with contextlib.suppress(OSError):
            os.waitpid(pid, os.WNOHANG)
