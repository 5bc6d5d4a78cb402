"""Puts back what a command changed where no mechanism could keep it from doing so.

Landlock allows what lies below a folder as a whole, and a mount needs something to be mounted
on: so `.git/hooks` under Landlock, and a `.git/commondir` that isn't there yet, are looked at
before and after. What differs is moved aside, never deleted, and what was there is restored.
Between the two looks a change can be used, so this is a second line, and coverage.py says so.

This runs outside of the sandbox on folders that commands write: so every step goes through a
descriptor of the folder before it, and no link is ever followed. Otherwise the restoring
itself could be led outside.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from glmcode.sandbox.looking import is_link

MOST_BYTES = 1 << 20
MOST_FILES = 500
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class _File:
    data: bytes
    mode: int


@dataclass(frozen=True, slots=True)
class _Link:
    target: str


@dataclass(frozen=True, slots=True)
class _Folder:
    entries: tuple[tuple[str, _State], ...]
    mode: int


@dataclass(frozen=True, slots=True)
class _Other:
    """Something that is not kept: a device, a pipe, a file of megabytes."""


_State: TypeAlias = _File | _Link | _Folder | _Other | None
"""None: nothing is there."""


class Guard:
    """The state of some paths at one moment. Their folders must be real paths."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._before: dict[Path, _State] = {}
        for path in paths:
            with _opened(path.parent) as folder:
                if folder is not None:
                    self._before[path] = _look(folder, path.name, [MOST_FILES])
                elif not os.path.lexists(path.parent):
                    self._before[path] = None

    def put_back(self, aside: Path) -> list[Path]:
        """Restore what differs now; the changed state goes into `aside`. Returns the paths.

        aside: a folder on which no command can lay hands; made where it isn't there.
        """
        changed: list[Path] = []
        for path, before in self._before.items():
            with _opened(path.parent) as folder:
                if folder is None:
                    if is_link(path.parent) and path.parent not in changed:
                        changed.append(path.parent)
                        _move_aside(path.parent, aside)
                elif _look(folder, path.name, [MOST_FILES]) != before:
                    changed.append(path)
                    try:
                        _move(folder, path.name, aside)
                        _write(folder, path.name, before)
                    except OSError:
                        pass  # it is told as changed, and stays aside
        return changed


@contextmanager
def _opened(path: Path) -> Iterator[int | None]:
    """A descriptor of a folder that is reached without any link; None where it isn't."""
    try:
        current = os.open("/", _FOLDER)
    except OSError:
        yield None
        return
    try:
        for part in path.parts[1:]:
            deeper = os.open(part, _FOLDER, dir_fd=current)
            os.close(current)
            current = deeper
    except OSError:
        os.close(current)
        yield None
        return
    try:
        yield current
    finally:
        os.close(current)


def _look(folder: int, name: str, left: list[int]) -> _State:
    """What stands under a name; left: how many more entries are looked at, counted down."""
    try:
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
        mode = stat.S_IMODE(found.st_mode)
        if stat.S_ISLNK(found.st_mode):
            return _Link(os.readlink(name, dir_fd=folder))
        if stat.S_ISDIR(found.st_mode):
            inner = os.open(name, _FOLDER, dir_fd=folder)
            try:
                kept = []
                for entry in sorted(os.listdir(inner)):  # noqa: PTH208 (a descriptor)
                    if left[0] <= 0:
                        break
                    left[0] -= 1
                    kept.append((entry, _look(inner, entry, left)))
                return _Folder(tuple(kept), mode)
            finally:
                os.close(inner)
        if stat.S_ISREG(found.st_mode) and found.st_size <= MOST_BYTES:
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            with os.fdopen(os.open(name, flags, dir_fd=folder), "rb") as file:
                return _File(file.read(MOST_BYTES + 1), mode)
    except FileNotFoundError:
        return None
    except OSError:
        pass
    return _Other()


def _move(folder: int, name: str, aside: Path) -> None:
    """Move an entry into `aside`; what can't be moved there (another disk) is left by rename."""
    if _look(folder, name, [0]) is None:
        return
    number = secrets.token_hex(4)
    try:
        aside.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.rename(name, aside / f"{number}-{name}", src_dir_fd=folder)
        with suppress(OSError):  # its age there is what `glmcode clean` asks for
            os.utime(aside / f"{number}-{name}", follow_symlinks=False)
    except OSError:
        os.rename(name, f"{name}.changed-in-sandbox-{number}", src_dir_fd=folder, dst_dir_fd=folder)


def _move_aside(path: Path, aside: Path) -> None:
    with _opened(path.parent) as folder:
        if folder is not None:
            try:
                _move(folder, path.name, aside)
            except OSError:
                pass  # it is told as changed all the same


def _write(folder: int, name: str, state: _State) -> None:
    match state:
        case _File():
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with os.fdopen(os.open(name, flags, 0o600, dir_fd=folder), "wb") as file:
                file.write(state.data)
                os.fchmod(file.fileno(), state.mode)
        case _Link():
            os.symlink(state.target, name, dir_fd=folder)
        case _Folder():
            os.mkdir(name, 0o700, dir_fd=folder)
            inner = os.open(name, _FOLDER, dir_fd=folder)
            try:
                for entry, kept in state.entries:
                    _write(inner, entry, kept)
                os.fchmod(inner, state.mode)
            finally:
                os.close(inner)
        case _Other() | None:
            pass
