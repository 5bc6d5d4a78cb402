"""Where a repository's hooks lie, and who else has a say there (husky, lefthook, pre-commit).

git decides: core.hooksPath, worktrees, submodules and bare repositories are its own business,
so it is asked. Must not write.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from glmcode.review.git import GitError, ask_git, repository, run_git

Name = Literal["pre-commit", "prepare-commit-msg", "commit-msg", "pre-push"]
NAMES: tuple[Name, ...] = get_args(Name)


class HookError(GitError):
    """It cannot be done; the text says why and what to do instead."""


@dataclass(frozen=True, slots=True)
class Place:
    """hooks: the folder (need not exist). manager: "", "husky", "lefthook" or "shared" (a folder
    outside of the repository, which all repositories use). root: of the working tree, or the
    git folder of a bare repository. tracked: the folder lies among the files that are committed."""

    hooks: Path
    manager: str
    root: Path
    tracked: bool


def find_place(folder: Path) -> Place:
    """Where hooks of the repository around a folder lie. Raises GitError."""
    git_dir = Path(ask_git(folder, "rev-parse", "--absolute-git-dir"))
    common = Path(ask_git(folder, "rev-parse", "--git-common-dir"))
    common = common if common.is_absolute() else folder / common
    root = repository(folder)
    named = run_git(folder, ("config", "--get", "core.hooksPath"))
    if named.returncode == 0 and not named.stdout.strip():
        raise HookError("core.hooksPath is empty, so git runs no hooks here: unset it first")
    hooks = Path(ask_git(folder, "rev-parse", "--git-path", "hooks"))
    hooks = hooks if hooks.is_absolute() else folder.absolute() / hooks
    own = (common.resolve(), git_dir.resolve())
    manager = ""
    if hooks.name == "_" and hooks.parent.name == ".husky":
        hooks, manager = hooks.parent, "husky"
    elif any((root / name).exists() for name in _LEFTHOOK):
        manager = "lefthook"
    elif not any(hooks.resolve().is_relative_to(one) for one in (root.resolve(), *own)):
        manager = "shared"
    tracked = manager != "shared" and not any(hooks.resolve().is_relative_to(one) for one in own)
    return Place(hooks, manager, root, tracked)


_LEFTHOOK = ("lefthook.yml", "lefthook.yaml", ".lefthook.yml", "lefthook.toml", "lefthook.json")
