"""Whether something is there, for paths that this user may not even look at.

pathlib raises where a folder above can't be entered; here that is a no, as for anything that
isn't there: what this user can't reach, a command of theirs can't either. Never raises.
"""

from __future__ import annotations

import os
from pathlib import Path


def exists(path: Path) -> bool:
    """Whether anything is there; a dangling link is nothing."""
    return os.path.exists(path)  # noqa: PTH110


def is_folder(path: Path) -> bool:
    """Whether it is a folder, or a link to one."""
    return os.path.isdir(path)  # noqa: PTH112


def is_file(path: Path) -> bool:
    """Whether it is a plain file, or a link to one."""
    return os.path.isfile(path)  # noqa: PTH113


def is_link(path: Path) -> bool:
    """Whether it is a symbolic link, wherever it leads."""
    return os.path.islink(path)  # noqa: PTH114
