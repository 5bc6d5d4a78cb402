"""The state of a file by which a change is noticed without reading it.

inode, size and the times of content and status; nobody can set the last. Times of access are left
out. How many are asked about at once stands in asking.py. Must not decide what a difference means.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from operator import attrgetter
from typing import TypeAlias

Row: TypeAlias = tuple[int, int, int, int]
"""inode, size, mtime_ns, ctime_ns"""

NOTHING: Row = (0, 0, 0, 0)
"""What is expected of a file that must be looked at again: no file is like that."""

row_of: Callable[[os.stat_result], Row] = attrgetter(
    "st_ino", "st_size", "st_mtime_ns", "st_ctime_ns"
)
