"""What a person typed in one folder, over all sessions: a private file, one JSON string a line.

Several terminals append at once: each entry is one write under a lock, and the file is cut
in place under the same lock when it has grown too long. A history that cannot be read or
written is no reason to stop: it is then kept in memory alone. An entry with long pastes is a list:
typed and pasted by turns; one that would take the whole file is kept without them.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prompt_toolkit.history import History

from glmcode.base.paths import private_folder
from glmcode.repl.pastes import Pastes, described

MAX_BYTES = 1_000_000
KEPT_BYTES = 500_000
MAX_ENTRY_BYTES = 400_000


class FileHistory(History):
    """History for prompt_toolkit; newest entries come first, as it wants them."""

    def __init__(self, path: Path, older: Path | None = None) -> None:
        """older: another file, which is read after this one and never written."""
        super().__init__()
        self.pastes = Pastes()
        self.path = path
        self._older = older

    def load_history_strings(self) -> Iterator[str]:
        """All entries, newest first, a repeated one once in a row; damaged lines are skipped.

        Long pastes are folded, as pastes.Pastes has them.
        """
        for path in (self.path, self._older):
            for parts in _entries(path) if path is not None else ():
                yield self.pastes.joined(parts)

    def store_string(self, string: str) -> None:
        """Append one entry."""
        line = _line(self.pastes.parts(string))
        try:
            private_folder(self.path.parent)
            with self._locked() as descriptor:
                if os.fstat(descriptor).st_size + len(line) > MAX_BYTES:
                    _shorten(descriptor)
                os.write(descriptor, line)
        except OSError:
            pass  # it stays in this session's memory

    @contextmanager
    def _locked(self) -> Iterator[int]:
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        descriptor = os.open(self.path, flags, 0o600)
        try:
            _check(descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield descriptor
        finally:
            os.close(descriptor)


def history_file(state: Path, workspace: Path) -> Path:
    """Where what is typed in a folder is kept."""
    name = hashlib.sha256(os.fsencode(os.path.realpath(workspace))).hexdigest()[:24]
    return state / "histories" / name


def _line(parts: list[str]) -> bytes:
    """An entry as it is written: no paste where they are too much."""
    line = json.dumps(parts if len(parts) > 1 else parts[0]).encode() + b"\n"
    if len(line) <= MAX_ENTRY_BYTES:
        return line
    said = [described(part) if number % 2 else part for number, part in enumerate(parts)]
    line = json.dumps("".join(said)).encode() + b"\n"
    return line if len(line) <= MAX_ENTRY_BYTES else b""


def _entries(path: Path) -> Iterator[list[str]]:
    try:
        data = _end(path)
    except OSError:
        return
    last = None
    for line in reversed(data.split(b"\n")):
        try:
            entry = json.loads(line) if line else None
        except (ValueError, RecursionError):
            continue
        match entry:
            case str():
                entry = [entry]
            case [*parts] if parts and all(isinstance(part, str) for part in parts):
                entry = parts
            case _:
                continue
        if entry != last:
            last = entry
            yield entry


def _end(path: Path) -> bytes:
    """The end of the file, no more than it may hold. Raises OSError; waits for nobody."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _check(descriptor)
        size = os.fstat(descriptor).st_size
        return os.pread(descriptor, MAX_BYTES, max(0, size - MAX_BYTES))
    finally:
        os.close(descriptor)


def _check(descriptor: int) -> None:
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise OSError("not a regular file")  # a FIFO would be waited for, a device never ends


def _shorten(descriptor: int) -> None:
    size = os.fstat(descriptor).st_size
    data = os.pread(descriptor, KEPT_BYTES, max(0, size - KEPT_BYTES))
    kept = data[data.find(b"\n") + 1 :]
    os.ftruncate(descriptor, 0)
    os.write(descriptor, kept)
