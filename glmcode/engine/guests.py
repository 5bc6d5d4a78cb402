"""Who uses an engine: those whose connection is open, and those who asked a short while ago.

A front end that sits at its prompt is no request, so the queue does not know whom a restart would
hit; and one whose last answer was broken off has no connection either, but its process lives. Our
front ends say who they are on every request; a foreign program counts once it asks for the
engine's time. Must not decide anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from glmcode.engine.lane import Lane

MOST = 256
"""So many are known without a connection at the most; those who asked last."""
RECENT_S = 600.0
"""Seconds after its last request for which one without a connection still counts as attached."""


@dataclass(slots=True)
class _Guest:
    """Times are Unix times. pid: 0 where it is not of this machine, born tells it from a later one
    of the same number; connections: open ones."""

    lane: Lane
    pid: int
    born: int
    since: float
    asked: float
    connections: int = 0


@dataclass(slots=True)
class Guests:
    """All who use one engine."""

    clock: Callable[[], float] = time.time
    _known: dict[str, _Guest] = field(default_factory=dict)

    def asks(self, lane: Lane, pid: int, *, first: bool) -> None:
        """A request has come. pid: of its process, 0: unknown; first: on its connection."""
        now = self.clock()
        self._forget(now)
        guest = self._known.get(lane.run)
        if guest is None:
            guest = self._known[lane.run] = _Guest(lane, pid, _born(pid), now, now)
        elif guest.pid != pid:
            guest.pid, guest.born = pid, _born(pid)
        guest.lane, guest.asked = lane, now
        guest.connections += first

    def leaves(self, run: str) -> None:
        """A connection of a run that asked has closed."""
        self._known[run].connections -= 1

    def to_json(self) -> list[dict[str, Any]]:
        """Who is attached, who asked last first: class, label, run, pid, since and asked (Unix
        times), connected."""
        self._forget(self.clock())
        return [
            {
                "class": guest.lane.kind,
                "label": guest.lane.label,
                "run": guest.lane.run,
                "pid": guest.pid,
                "since": round(guest.since, 3),
                "asked": round(guest.asked, 3),
                "connected": guest.connections > 0,
            }
            for guest in sorted(self._known.values(), key=lambda one: -one.asked)
        ]

    def _forget(self, now: float) -> None:
        for run, guest in list(self._known.items()):
            if not guest.connections and not _stays(guest, now - guest.asked):
                del self._known[run]
        if len(self._known) > MOST:
            loose = [(g.asked, run) for run, g in self._known.items() if not g.connections]
            for _, run in sorted(loose)[: max(0, len(loose) - MOST)]:
                del self._known[run]


def _stays(guest: _Guest, silent_s: float) -> bool:
    """Whether one without a connection is likely to ask again."""
    if silent_s > RECENT_S:
        return False
    if guest.pid:
        return _born(guest.pid) == guest.born > 0
    return guest.lane.kind == "interactive"  # elsewhere: nobody knows


def _born(pid: int) -> int:
    """When a process began (ticks since the machine did); 0 where none of that number lives."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        values = text.rpartition(")")[2].split()
        return 0 if values[0] in "ZX" else int(values[19])
    except (OSError, ValueError, IndexError):
        return 0


def peer_pid(writer: asyncio.StreamWriter) -> int:
    """The process at the other end of a Unix socket; 0 where it can't be told."""
    peer = writer.get_extra_info("socket")
    with contextlib.suppress(OSError, AttributeError, struct.error):
        wanted = struct.calcsize("3i")
        found = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, wanted)
        return max(0, int(struct.unpack("3i", found)[0]))
    return 0


def stranger(writer: asyncio.StreamWriter) -> Lane:
    """The lane of a program that says nothing about itself: its process, or where it is."""
    there = writer.get_extra_info("peername")
    if isinstance(there, tuple) and len(there) >= 2:
        return Lane(run=f"{there[0]}:{there[1]}", label=f"a program at {there[0]}")
    pid = peer_pid(writer)
    name = "a program"
    with contextlib.suppress(OSError):
        name = Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip()
    return Lane(run=f"process-{pid}", label=f"{name} (process {pid})")
