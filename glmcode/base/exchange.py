"""Exchange two names of one file system in a single step (Linux renameat2).

An ordinary rename throws away whatever stood at the target, also what somebody saved there a
moment ago; an exchange hands it over, so that it can be compared and, if need be, put back.
Must not know what the files are for.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

_EXCHANGE = 2
_AT_FDCWD = -100
_UNKNOWN = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)


@cache
def _renameat2() -> Callable[..., int] | None:
    try:
        found: Callable[..., int] = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):
        return None
    return found


def exchange(first: Path, second: Path) -> bool:
    """Exchange the two. False where the system or the file system cannot; raises OSError."""
    renameat2 = _renameat2()
    if renameat2 is None:
        return False
    names = os.fsencode(first), os.fsencode(second)
    if renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in _UNKNOWN:
        return False
    raise OSError(number, os.strerror(number), str(second))
