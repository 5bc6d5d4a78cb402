"""Puts back what a command changed where no mechanism could keep it from doing so.

Landlock allows what lies below a folder as a whole, and a mount needs something to be mounted
on: so `.git/hooks` under Landlock, and a `.git/commondir` that isn't there yet, are looked at
before and after. What differs is moved aside, never deleted, and what was there is restored.
Between the two looks a change can be used, so this is a second line, and coverage.py says so.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

MOST_BYTES = 1 << 20
MOST_FILES = 500


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


_State: TypeAlias = _File | _Link | _Folder | None
"""None: nothing is there, or something that can't be kept (a device, a file of megabytes)."""


class Guard:
    """The state of some paths at one moment."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._left = MOST_FILES
        self._before = {path: self._look(path) for path in paths if path.parent.is_dir()}

    def put_back(self, aside: Path) -> list[Path]:
        """Restore what differs now; the changed state goes below `aside`. Returns the paths."""
        changed: list[Path] = []
        for path, before in self._before.items():
            if not path.parent.is_dir():
                continue  # with its folder gone there is nothing that would be obeyed
            self._left = MOST_FILES
            if self._look(path) != before:
                try:
                    _restore(path, before, aside / f"changed-{len(changed)}")
                except OSError:
                    pass
                changed.append(path)
        return changed

    def _look(self, path: Path) -> _State:
        try:
            if path.is_symlink():
                return _Link(os.readlink(path))  # noqa: PTH115
            found = path.lstat()
            if path.is_dir():
                names = sorted(entry.name for entry in os.scandir(path))
                kept = []
                for name in names[: max(0, self._left)]:
                    self._left -= 1
                    kept.append((name, self._look(path / name)))
                return _Folder(tuple(kept), found.st_mode & 0o7777)
            if path.is_file() and found.st_size <= MOST_BYTES:
                return _File(path.read_bytes(), found.st_mode & 0o7777)
        except OSError:
            pass
        return None


def _restore(path: Path, state: _State, aside: Path) -> None:
    if os.path.lexists(path):
        number = 0
        while os.path.lexists(place := aside.with_name(f"{aside.name}-{number}")):
            number += 1
        shutil.move(path, place)
    _write(path, state)


def _write(path: Path, state: _State) -> None:
    match state:
        case _File():
            path.write_bytes(state.data)
            path.chmod(state.mode)
        case _Link():
            path.symlink_to(state.target)
        case _Folder():
            path.mkdir()
            for name, entry in state.entries:
                _write(path / name, entry)
            path.chmod(state.mode)
        case None:
            pass
