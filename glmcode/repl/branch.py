"""Which branch is checked out, read from the repository's own file: no process, no library.

For the status line, which looks again and again. What is no regular file, or odd, has no
branch. Must not open anything that could be waited for.
"""

from __future__ import annotations

from pathlib import Path

from glmcode.base.files import FileFault, load

MOST_BYTES = 4_096
SHORT = 8
"""Digits of a commit that is checked out without a branch."""
DEEPEST = 64


def branch_of(folder: Path) -> str:
    """The branch at `folder` or above it; a commit's first digits without one; else ""."""
    for place in [folder, *folder.parents][:DEEPEST]:
        git = place / ".git"
        if git.is_dir():
            return _head(git)
        if git.is_file():  # a worktree: it names the folder
            named = _text(git).removeprefix("gitdir:").strip()
            return _head(place / named) if named else ""
    return ""


def _head(folder: Path) -> str:
    text = _text(folder / "HEAD")
    if text.startswith("ref:"):
        return text.removeprefix("ref:").strip().removeprefix("refs/heads/")
    return text[:SHORT] if text.isalnum() else ""


def _text(path: Path) -> str:
    try:
        return load(path, MOST_BYTES).data.decode("utf-8", "replace").strip()
    except (FileFault, OSError):
        return ""
