"""Remembers that a person stopped an engine, so that nobody who waited for it starts it again.

A front end that waits sees its supervisor go, as it does when that is killed, and starts another:
right after a kill, wrong after `glmcode engine stop`. So a stop leaves its time behind, in a file
that outlives every process; who began to wait before that ends, who asks later starts the engine.
It is written before anything is ended and read after a new supervisor has its lock, so that no
start slips through between the two. Must not end or start anything.
"""

from __future__ import annotations

import contextlib
import time

from glmcode.engine.paths import EnginePaths


def mark_stopped(paths: EnginePaths) -> None:
    """A person stops the engine now; a disk that is full does not keep it from that."""
    with contextlib.suppress(OSError):
        paths.stopped.write_text(f"{time.time():.6f}\n", encoding="ascii")


def stopped_since(paths: EnginePaths, moment: float) -> bool:
    """Whether a person stopped the engine after a moment, a Unix time."""
    try:
        return moment < float(paths.stopped.read_text(encoding="ascii")) <= time.time()
    except (OSError, ValueError):
        return False


def stopped_text(name: str) -> str:
    """What one is told who waited."""
    return (
        f"the engine of profile {name} was stopped while it was starting (glmcode engine stop): "
        f"ask again, or glmcode engine start --profile {name}"
    )
