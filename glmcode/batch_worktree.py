"""A git worktree for one task: made at a commit, told as a patch against it, and removed.

git itself is asked, without hooks, and never touches the caller's index, branch or files. Must not
know what a task is.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path


class WorktreeError(Exception):
    """git could not do it; the text says what it said."""


def base_commit(folder: Path) -> tuple[Path, str]:
    """The root of the repository around a folder, and the commit of HEAD. Raises WorktreeError."""
    root = os.fsdecode(_git(folder, "rev-parse", "--show-toplevel").rstrip(b"\n"))
    return Path(root), _git(folder, "rev-parse", "--verify", "HEAD^{commit}").decode().strip()


def make(root: Path, base: str, place: Path) -> None:
    """A worktree at a commit, on no branch; what was left there goes. Raises WorktreeError."""
    remove(root, place)
    _git(root, "worktree", "add", "--quiet", "--detach", "--force", str(place), base)


def patch(place: Path, base: str) -> bytes:
    """What changed since the commit: commits, new files and binary ones too; ignored ones not.

    Raises WorktreeError.
    """
    index = place.with_name(f".{place.name}.index")
    index.with_name(f"{index.name}.lock").unlink(missing_ok=True)  # of a batch that was killed
    more = {"GIT_INDEX_FILE": str(index)}
    try:
        _git(place, "read-tree", base, more=more)
        _git(place, "add", "--all", more=more)
        words = ("diff", "--cached", "--binary", "--full-index", "--no-ext-diff", "--no-textconv")
        return _git(place, *words, "--no-color", base, more=more)
    finally:
        index.unlink(missing_ok=True)


def remove(root: Path, place: Path) -> None:
    """Remove a worktree and what git remembers of it, and of no other. Raises WorktreeError."""
    try:
        _git(root, "worktree", "remove", "--force", "--force", str(place))
    except WorktreeError:
        shutil.rmtree(place, ignore_errors=True)  # git knows it no more, or never did
        if os.path.lexists(place):
            raise


def _git(folder: Path, *words: str, more: dict[str, str] | None = None) -> bytes:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment = {**kept, "LC_ALL": "C", **(more or {})}
    command = ["git", "-c", "core.hooksPath=/dev/null", "-c", "core.quotePath=true", *words]
    try:
        done = subprocess.run(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True
        )
    except OSError as error:
        raise WorktreeError(f"git cannot be run: {error.strerror or error}") from error
    if done.returncode:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
        said = lines[-1].removeprefix("fatal: ") if lines else f"exit code {done.returncode}"
        raise WorktreeError(f"git {words[0]}: {said}")
    return done.stdout
