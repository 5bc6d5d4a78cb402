"""Where a repository's hooks lie, and who else has a say there (husky, lefthook, pre-commit).

git decides: core.hooksPath, worktrees, submodules and bare repositories are its own business,
so it is asked. Must not write.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

Name = Literal["pre-commit", "prepare-commit-msg", "commit-msg", "pre-push"]
NAMES: tuple[Name, ...] = get_args(Name)
GIT_LIMIT_S = 20.0


class HookError(Exception):
    """It cannot be done; the text says why and what to do instead."""


@dataclass(frozen=True, slots=True)
class Place:
    """hooks: the folder (need not exist). manager: "", "husky", "lefthook" or "shared" (a folder
    outside of the repository, which all repositories use). root: of the working tree, or the
    git folder of a bare repository."""

    hooks: Path
    manager: str
    root: Path


def find_place(folder: Path) -> Place:
    """Where hooks of the repository around a folder lie. Raises HookError."""
    git_dir = Path(ask_git(folder, "rev-parse", "--absolute-git-dir"))
    common = Path(ask_git(folder, "rev-parse", "--git-common-dir"))
    common = common if common.is_absolute() else folder / common
    try:
        root = Path(ask_git(folder, "rev-parse", "--show-toplevel"))
    except HookError:
        root = git_dir
    hooks = Path(ask_git(folder, "rev-parse", "--git-path", "hooks"))
    hooks = hooks if hooks.is_absolute() else folder.absolute() / hooks
    if hooks.name == "_" and hooks.parent.name == ".husky":
        return Place(hooks.parent, "husky", root)
    if any((root / name).exists() for name in _LEFTHOOK):
        return Place(hooks, "lefthook", root)
    ours = (root.resolve(), common.resolve(), git_dir.resolve())
    shared = not any(hooks.resolve().is_relative_to(one) for one in ours)
    return Place(hooks, "shared" if shared else "", root)


_LEFTHOOK = ("lefthook.yml", "lefthook.yaml", ".lefthook.yml", "lefthook.toml", "lefthook.json")


def ask_git(folder: Path, *words: str) -> str:
    """One line of git's answer. Raises HookError."""
    done = run_git(folder, words)
    if done.returncode:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
        said = lines[-1].removeprefix("fatal: ") if lines else f"exit code {done.returncode}"
        raise HookError(f"git: {said}")
    return os.fsdecode(done.stdout.removesuffix(b"\n"))


def run_git(
    folder: Path, words: Sequence[str], more: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """One git command that changes nothing. Raises HookError where it can't be run."""
    environment = {**os.environ, "LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0", **(more or {})}
    try:
        return subprocess.run(
            ["git", *words],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=GIT_LIMIT_S,
        )
    except FileNotFoundError as error:
        raise HookError("git was not found on PATH") from error
    except subprocess.TimeoutExpired as error:
        raise HookError(f"git {words[0]} did not end within {GIT_LIMIT_S:g} s") from error
    except OSError as error:
        raise HookError(f"git cannot be run: {error.strerror or error}") from error
