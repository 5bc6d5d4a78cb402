"""Where git keeps a repository, and what in there would run programs: found by reading files.

A commit writes objects, refs, index and logs; hooks and configuration make git *run* things,
later and outside of any sandbox, so they must stay as they are. `.git` may be a file that
points elsewhere (worktree, submodule): it is believed only where the folder it names points
back, and lies where git puts it, so that planted files can't make another folder writable.
Must not run git, which would read that configuration.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from glmcode.sandbox.looking import exists, is_file, is_folder, is_link

MOST_NESTED = 64
"""Submodules, and worktrees, of one repository that are looked at; beyond, all are kept whole."""
MOST_LOOKED = 2000
"""Folders in which submodules are looked for: their names may hold slashes, and they nest."""
_OBEYED = ("hooks", "config", "config.worktree", "commondir")
_OF_WORKTREE = ("config.worktree", "commondir", "gitdir")


@dataclass(frozen=True, slots=True, kw_only=True)
class GitFolders:
    """writable: what a commit must write. pointers: `.git` files. guarded: what git obeys."""

    writable: tuple[Path, ...]
    pointers: tuple[Path, ...]
    guarded: tuple[Path, ...]


def git_folders(folder: Path) -> GitFolders | None:
    """The repository that a folder lies in; None where there is none, or none that is safe."""
    for root in (folder, *folder.parents):
        dot = root / ".git"
        if root != folder and not _same_owner(root, folder):
            return None
        if is_link(dot):
            return GitFolders(writable=(), pointers=(), guarded=(dot,))
        if is_folder(dot):
            return _of_folder(dot) if _is_git(dot) else None
        if is_file(dot):
            return _of_pointer(dot)
    return None


def _of_folder(git: Path) -> GitFolders:
    return GitFolders(writable=(git,), pointers=(), guarded=tuple(_guarded(git)))


def _of_pointer(dot: Path) -> GitFolders:
    """A worktree or a submodule; nothing is writable where the two don't name each other."""
    nothing = GitFolders(writable=(), pointers=(dot,), guarded=())
    line = _text(dot)
    if not line.startswith("gitdir: "):
        return nothing
    git = _joined(dot.parent, line.removeprefix("gitdir: "))
    if _text(git / "gitdir"):
        common = _joined(git, _text(git / "commondir") or ".")
        back = _joined(git, _text(git / "gitdir"))
        inside = git.parent == common / "worktrees" and _is_git(common)
        if back != Path(os.path.realpath(dot)) or not inside:
            return nothing
        return GitFolders(
            writable=(git, common),
            pointers=(dot,),
            guarded=(*_guarded(common), git / "config.worktree", git / "commondir", git / "gitdir"),
        )
    if _is_git(git) and _worktree_of(git) == Path(os.path.realpath(dot.parent)):
        return GitFolders(writable=(git,), pointers=(dot,), guarded=tuple(_guarded(git)))
    return nothing


def _guarded(git: Path) -> Iterator[Path]:
    yield from (git / name for name in _OBEYED)
    modules = _modules(git)
    if modules is None:
        yield git / "modules"
    yield from (module / name for module in modules or () for name in _OBEYED)
    for each in (git, *(modules or ())):
        worktrees = _folders(each / "worktrees")
        if len(worktrees) > MOST_NESTED:
            yield each / "worktrees"
        else:
            yield from (one / name for one in worktrees for name in _OF_WORKTREE)


def _modules(git: Path) -> list[Path] | None:
    """The git folders of submodules, and of theirs, at any depth; None: too many to look at."""
    found: list[Path] = []
    queue = [git / "modules"]
    for looked, folder in enumerate(queue):
        if looked >= MOST_LOOKED or len(found) > MOST_NESTED:
            return None
        if is_file(folder / "HEAD"):
            found.append(folder)
            queue.append(folder / "modules")
        else:
            queue += _folders(folder)
    return found


def _folders(folder: Path) -> list[Path]:
    """The folders in a folder, without links; none where it can't be looked at."""
    try:
        return sorted(path for path in folder.iterdir() if is_folder(path) and not is_link(path))
    except OSError:
        return []


def _same_owner(one: Path, other: Path) -> bool:
    """Whether a folder above belongs to the same user: /tmp is anybody's."""
    try:
        return one.stat().st_uid == other.stat().st_uid
    except OSError:
        return False


def _is_git(folder: Path) -> bool:
    return all(exists(folder / name) for name in ("HEAD", "objects", "refs"))


def _worktree_of(git: Path) -> Path | None:
    """`core.worktree` of a submodule's git folder."""
    for line in _text(git / "config").split("\n"):
        key, equals, value = line.strip().partition("=")
        if equals and key.strip().lower() == "worktree":
            return _joined(git, value.strip().strip('"'))
    return None


def _joined(folder: Path, written: str) -> Path:
    return Path(os.path.realpath(folder / written))


def _text(path: Path) -> str:
    try:
        with path.open(encoding="utf-8", errors="surrogateescape") as file:
            return file.read(1 << 16).strip()
    except (OSError, ValueError):
        return ""
