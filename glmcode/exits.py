"""Exit codes, one table for every front end (documented in --help and the README).

Beside them what every front end's edge says of a fault: most are glmcode's own, a few are a
limit of the machine, which the caller can raise. Must not import anything of glmcode.
"""

from __future__ import annotations

import errno
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


_LIMITS = {
    errno.EMFILE: "too many files are open: raise the limit (ulimit -n)",
    errno.ENFILE: "too many files are open on this machine",
    errno.ENOMEM: "there is not enough memory",
    errno.ENOSPC: "no space is left on the device: free some",
    errno.EDQUOT: "the disk quota is used up: free some space",
}


def fault_words(error: BaseException) -> str:
    """One sentence for an error that nobody expected."""
    if isinstance(error, MemoryError):
        return _LIMITS[errno.ENOMEM]
    if isinstance(error, OSError) and error.errno in _LIMITS:
        return _LIMITS[error.errno]
    return f"a fault in glmcode: {type(error).__name__}: {error}".rstrip(": ")
