"""Which folders are a workspace at all, and questions about single paths.

Must not change anything.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from glmcode.base.paths import cache_folder, state_folder


def too_wide(folder: Path) -> bool:
    """Whether a folder holds far more than a project: the root, the home folder or one above."""
    home = os.path.realpath(Path.home())
    return f"{home}/".startswith(f"{str(folder).rstrip('/')}/")


def own_folders() -> list[Path]:
    """What glmcode itself writes is no part of a workspace that happens to hold it."""
    return [Path(os.path.realpath(folder)) for folder in (state_folder(), cache_folder())]


def is_linked(path: str) -> bool:
    try:
        status = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_nlink > 1


def within(path: str, places: set[str]) -> bool:
    """Whether a path, or a folder above it, is among places."""
    if not places:
        return False
    parts = path.split("/")
    return any("/".join(parts[:end]) in places for end in range(1, len(parts) + 1))
