"""A folder held fast while something is changed in it, whatever its name comes to mean meanwhile.

Between the judgement of a path and the change a command in the background may put a link in the
place of a folder, and a plain path would then lead out of the workspace. So the folder is opened
part by part, links refused, and what follows goes through its descriptor. Where the system has
no /proc the plain path must do. Must not follow a link.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from glmcode.base.files import FileChanged

LINKED = "is behind a link now"
_FLAGS = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | getattr(os, "O_PATH", os.O_RDONLY)


@contextmanager
def pinned(folder: Path) -> Iterator[Path]:
    """The folder under a name that can't be led elsewhere; it must be a real path.

    Raises FileChanged where a link stands on the way, OSError where it can't be opened.
    """
    descriptor = _opened(folder)
    try:
        held = Path(f"/proc/self/fd/{descriptor}")
        yield held if sys.platform == "linux" and os.path.lexists(held) else folder
    finally:
        os.close(descriptor)


def _opened(folder: Path) -> int:
    current = os.open(folder.anchor or ".", _FLAGS)
    for part in folder.parts[1:] if folder.anchor else folder.parts:
        try:
            deeper = os.open(part, _FLAGS, dir_fd=current)
        except OSError as error:
            if _is_link(part, current):
                raise FileChanged(LINKED) from error
            raise
        finally:
            os.close(current)
        current = deeper
    return current


def _is_link(name: str, folder: int) -> bool:
    try:
        return stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    except OSError:
        return False
