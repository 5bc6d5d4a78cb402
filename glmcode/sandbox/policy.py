"""What a sandbox is asked to enforce, and what that means on this disk now.

`SandboxPolicy` is the wish: mode, folders, network. `layout` turns it into paths that exist:
what may be written, what stays read-only inside that, what is hidden. It is computed for each
command, because a command may have made the folders that the next one must not touch. Reads
the disk, changes nothing, and knows no mechanism.
"""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from glmcode.base.settings import SandboxMode
from glmcode.sandbox.gitfolders import GitFolders, git_folders
from glmcode.sandbox.looking import exists, is_link

MOST_PROCESSES = 4096
"""Processes and threads of a sandboxed command; a fork bomb ends here (not for root)."""
PRIVATE = ("/tmp", "/var/tmp", "/run")
"""Places full of other programs' sockets and files; a mount sandbox puts private ones there."""

OWN = Path(__file__).resolve().parents[2]
"""What holds glmcode itself, which may run inside: a checkout need not lie with the interpreter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxPolicy:
    """What commands may do. All paths are absolute; they need not exist.

    workspace and folders (--add-dir) are writable in workspace-write, as are `caches`.
    temporary: the private folder that TMPDIR names; writable in both modes. hidden: glmcode's
    own folders, of which a command must see nothing. unread: what a rule forbids to read.
    kept: the person's start-up files and keys, to stay as they are where a root holds them.
    """

    mode: SandboxMode
    workspace: Path
    temporary: Path
    folders: tuple[Path, ...] = ()
    caches: tuple[Path, ...] = ()
    hidden: tuple[Path, ...] = ()
    unread: tuple[Path, ...] = ()
    kept: tuple[Path, ...] = ()
    network: bool = False
    processes: int = MOST_PROCESSES


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Existing real paths, none twice.

    writable: roots. protected: below them, to stay as they are. absent: what must not come
    into being there, or be exchanged. hidden: invisible, except where a writable root lies
    deeper. own: those of glmcode among them that lie inside a writable root. shown: what is
    there, read-only, in places that are private (PRIVATE). foreign: the workspace belongs to
    another user, and this one is root.
    """

    writable: tuple[Path, ...]
    protected: tuple[Path, ...]
    absent: tuple[Path, ...]
    hidden: tuple[Path, ...]
    own: tuple[Path, ...]
    shown: tuple[Path, ...]
    foreign: bool


def layout(policy: SandboxPolicy, environment: Mapping[str, str]) -> Layout:
    """What the policy means now; environment: the command's, for the programs in its PATH."""
    repository = git_folders(policy.workspace)
    writable: list[Path] = [policy.temporary]
    protected: list[Path] = []
    absent: list[Path] = []
    roots = (policy.workspace, *policy.folders)
    if policy.mode == "workspace-write":
        writable += [*roots, *policy.caches]
        for found in (repository, *(git_folders(folder) for folder in policy.folders)):
            _add_git(found, writable, protected, absent)
        for root in roots:
            _sort(root / ".glmcode", protected, absent)
    roots_now = _existing(writable)
    if policy.mode == "workspace-write":
        for folder, inside in itertools.groupby(policy.kept, lambda path: path.parent):
            place = Path(os.path.realpath(folder))
            if lies_in(place, roots_now):
                for path in inside:
                    _sort(place / path.name, protected, absent)
    hidden = _existing(policy.hidden)
    return Layout(
        writable=roots_now,
        # A link that leads elsewhere protects nothing, and must not show what is hidden there.
        protected=tuple(path for path in _existing(protected) if lies_in(path, roots_now)),
        absent=tuple(dict.fromkeys(absent)),
        hidden=_existing((*hidden, *policy.unread)),
        own=tuple(path for path in hidden if lies_in(path.parent, roots_now)),
        shown=_existing((*_programs(environment), *_ways((*roots, *writable), policy.temporary))),
        foreign=os.geteuid() == 0 and _owner(policy.workspace) != 0,
    )


def _add_git(
    found: GitFolders | None, writable: list[Path], protected: list[Path], absent: list[Path]
) -> None:
    if found is not None:
        writable += found.writable
        protected += found.pointers
        for path in found.guarded:
            _sort(path, protected, absent)


def _sort(path: Path, protected: list[Path], absent: list[Path]) -> None:
    if os.path.lexists(path):
        protected.append(path)
    if not exists(path) or is_link(path):
        absent.append(path)  # a link may be exchanged for a folder, whatever it points to


def _existing(paths: Iterable[Path]) -> tuple[Path, ...]:
    """Real paths of those that exist. A dangling link is none."""
    found = (Path(os.path.realpath(path)) for path in paths)
    return tuple(dict.fromkeys(path for path in found if exists(path)))


def lies_in(path: Path, roots: Iterable[Path | str]) -> bool:
    """Whether a path is one of the roots or below one; on strings, for pathlib takes ten times."""
    text = f"{path}/"
    return any(text.startswith(f"{root}/" if str(root) != "/" else "/") for root in roots)


def _owner(path: Path) -> int:
    try:
        return path.stat().st_uid
    except OSError:
        return 0


def _programs(environment: Mapping[str, str]) -> list[Path]:
    """Folders in private places that hold programs: those of PATH, this interpreter's, our own.

    The parent of `bin` is meant, because programs need their libraries beside it.
    """
    folders = [Path(folder) for folder in environment.get("PATH", "").split(os.pathsep) if folder]
    whole = [folder.parent if folder.name in ("bin", "sbin") else folder for folder in folders]
    whole += [Path(sys.prefix), Path(sys.base_prefix), OWN]
    return [path for path in whole if private_place(path) and str(path) not in PRIVATE]


def _ways(folders: Iterable[Path], temporary: Path) -> Iterator[Path]:
    """What a private place holds on the way to the folders of the work, as a whole.

    Otherwise there would be empty folders around it: a repository without its files, and
    writes beside the workspace that seem to succeed and are lost.
    """
    for path in folders:
        real = Path(os.path.realpath(path))
        for place in PRIVATE:
            if path != temporary and str(real) != place and lies_in(real, (place,)):
                yield Path(place) / real.relative_to(place).parts[0]


def private_place(path: Path) -> bool:
    """Whether the path lies in a place that a mount sandbox makes private."""
    return lies_in(path, PRIVATE)
