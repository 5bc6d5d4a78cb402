"""Exit codes, one table for every front end (documented in --help and the README)."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """What the process says to its caller."""

    DONE = 0
    ERROR = 1
    USAGE = 2
    UNANSWERED = 3
    BLOCK = 4
    BUDGET = 53
    UNAVAILABLE = 75
    INTERRUPTED = 130
    TERMINATED = 143
