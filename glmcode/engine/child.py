"""The engine's processes: started as one group, watched, ended to the last one.

vLLM is an API server, an engine core and perhaps eight workers. They live in a group of
their own and hold the read end of a pipe (the lifeline), so that they end when the
supervisor dies; what nevertheless stays behind is found by its group, which is written to
a file, and ended by the next supervisor. Must not know what the processes do.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

TERM_GRACE_S = 15.0
_KILL_GRACE_S = 10.0


@dataclass(frozen=True, slots=True)
class Kin:
    """One living process: its parent, group and start time (clock ticks since boot)."""

    parent: int
    group: int
    started: int


class Child:
    """A running engine. `wait` may be awaited once; `end` any number of times."""

    def __init__(self, process: subprocess.Popen[bytes], lifeline: int, record: Path) -> None:
        self._process = process
        self._lifeline = lifeline
        self._record = record
        self.pid = process.pid

    async def wait(self) -> int:
        """The exit code once the main process has ended (minus the signal's number)."""
        return await asyncio.to_thread(self._process.wait)

    async def end(self, grace_s: float = TERM_GRACE_S) -> None:
        """End the whole group and every descendant; returns when none is left."""
        await end_group(self.pid, grace_s)
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1
        with contextlib.suppress(OSError):
            self._record.unlink()


def spawn(command: Sequence[str], env: Mapping[str, str], log: Path, record: Path) -> Child:
    """Start an engine in a group of its own; "{lifeline}" in the command is the pipe's number.

    Its output is appended to `log`; `record` tells a later supervisor of it. Raises OSError.
    """
    read_end, write_end = os.pipe()
    try:
        with log.open("ab") as output:
            process = subprocess.Popen(
                [word.replace("{lifeline}", str(read_end)) for word in command],
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=(read_end,),
                start_new_session=True,
                cwd="/",
            )
    except BaseException:
        os.close(write_end)
        raise
    finally:
        os.close(read_end)
    found = processes().get(process.pid)
    started = found.started if found else 0
    note = {"pid": process.pid, "started": started, "boot": _boot()}
    record.write_text(json.dumps(note), encoding="utf-8")
    return Child(process, write_end, record)


async def end_leftover(record: Path) -> bool:
    """End the engine of a supervisor that was killed; returns whether there was one.

    It is usually ending already, because its lifeline is closed.
    """
    try:
        value = json.loads(record.read_text(encoding="utf-8"))
        group, started = int(value["pid"]), int(value["started"])
        group = group if value["boot"] == _boot() else 0
    except FileNotFoundError:
        return False
    except (OSError, ValueError, KeyError, TypeError):
        group, started = 0, 0
    found = False
    if group > 1:
        alive = processes()
        leader = alive.get(group)
        members = _members(group, alive)
        # A later process may have been given the same number; it began later.
        ours = (
            leader.started == started
            if leader
            else all(alive[pid].started >= started for pid in members)
        )
        if ours and members:
            found = True
            await end_group(group, grace_s=6.0)
    with contextlib.suppress(OSError):
        record.unlink()
    return found


async def end_group(group: int, grace_s: float) -> None:
    """SIGTERM, up to `grace_s` seconds, SIGKILL; returns when group and kin are gone."""
    victims = _members(group, processes())
    _send(victims, signal.SIGTERM)
    leader_gone_at: float | None = None
    began = time.monotonic()
    while time.monotonic() - began < grace_s:
        alive = processes()
        victims = (victims | _members(group, alive)) & alive.keys()
        if group not in alive:
            # The main process is done: what it left behind gets a moment only.
            leader_gone_at = leader_gone_at or time.monotonic()
            if not victims or time.monotonic() - leader_gone_at > 0.5:
                break
        await asyncio.sleep(0.03)
    began = time.monotonic()
    while time.monotonic() - began < _KILL_GRACE_S:
        alive = processes()
        victims = (victims | _members(group, alive)) & alive.keys()
        if not victims:
            return
        _send(victims, signal.SIGKILL)
        await asyncio.sleep(0.02)


def _members(group: int, alive: Mapping[int, Kin]) -> set[int]:
    """The processes of a group and all their descendants, this process excepted."""
    family = {pid for pid, kin in alive.items() if kin.group == group or pid == group}
    while True:
        more = {pid for pid, kin in alive.items() if kin.parent in family} - family
        if not more:
            return family - {os.getpid()}
        family |= more


def _send(pids: set[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(OSError):
            os.kill(pid, number)


def _boot() -> str:
    """Tells one run of the machine from the next, because process numbers start anew."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def processes() -> dict[int, Kin]:
    """All living processes of this machine by pid, zombies left out."""
    found: dict[int, Kin] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                text = (entry / "stat").read_text(errors="replace")
            except OSError:
                continue
            values = text.rpartition(")")[2].split()
            if values[0] not in "ZX":
                found[int(entry.name)] = Kin(int(values[1]), int(values[2]), int(values[19]))
    return found
