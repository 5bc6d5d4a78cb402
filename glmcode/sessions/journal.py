"""The journal: the one writer of one session file.

A line is on disk (written, not only buffered) before anyone is shown what it says; it is
synced before the first write of a turn and at the turn's end. There is one writer, held by
flock. A line that could not be written whole is cut off again, and the turn stops before the
edit. Append-only: what stands in the file is never changed. Must not know how a message is
rendered or shown.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from glmcode.base.paths import private_folder, state_folder
from glmcode.core.calls import TurnStop
from glmcode.core.messages import Message, message_to_json
from glmcode.core.tool import FileChange
from glmcode.sessions.lines import SessionError, encode_line, read_entries

COPY_BYTES = 1 << 20
LOCK_WAIT_S = 0.3


class JournalError(TurnStop):
    """The journal cannot be written (full disk, gone folder): nothing may happen unrecorded."""


class SessionBusy(SessionError):
    """Another process writes this session; `holder` says who, in words."""

    def __init__(self, path: Path, holder: str) -> None:
        super().__init__(
            f"the session {path.stem} is in use by {holder}: end that one first, or go on in a "
            f"copy with --resume {path.stem} --fork-session"
        )
        self.holder = holder


def sessions_root() -> Path:
    """Where the folders of all workspaces lie."""
    return state_folder() / "sessions"


def sessions_folder(workspace: Path) -> Path:
    """Where the sessions of one workspace lie; readable name plus a hash of the path."""
    import hashlib

    digest = hashlib.sha256(os.fsencode(workspace)).hexdigest()[:8]
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", workspace.name)[:40] or "root"
    return sessions_root() / f"{name}-{digest}"


def new_session_id() -> str:
    """Sortable by time, unique without asking anyone: 20261125-124501-9f3a1c."""
    return f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"


class Journal:
    """The one writer of one session file."""

    def __init__(self, path: Path, descriptor: int, session_id: str) -> None:
        self.path = path
        self.session_id = session_id
        self._descriptor = descriptor
        self._size = os.fstat(descriptor).st_size
        self._unsynced = False
        self._turn_synced = False
        self._empty = False

    @classmethod
    def create(
        cls, workspace: Path, header: Mapping[str, Any], session_id: str | None = None
    ) -> Journal:
        """Make the file (0600) and write its header. Raises JournalError.

        A file that never gets more than its header is removed when the journal is closed.
        """
        session_id = session_id or new_session_id()
        path = sessions_folder(workspace) / f"{session_id}.jsonl"
        try:
            private_folder(path.parent)
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
            descriptor = os.open(path, flags, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise JournalError(_cannot_write(path, error)) from error
        journal = cls(path, descriptor, session_id)
        fields = {"id": session_id, "workspace": str(workspace), "writer": this_process()}
        journal.write("header", {**fields, **header})
        journal._empty = True
        return journal

    @classmethod
    def open(cls, path: Path) -> Journal:
        """Take hold of a file that exists, unchanged as yet: `cut` comes before the first write.

        Raises SessionBusy when another process holds it, SessionError when it cannot be opened.
        """
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        except OSError as error:
            raise SessionError(f"the session {path} cannot be opened: {error.strerror}") from error
        try:
            _lock(descriptor)
        except BlockingIOError as error:
            os.close(descriptor)
            raise SessionBusy(path, holder_of(path)) from error
        except OSError as error:
            os.close(descriptor)
            raise SessionError(f"the session {path} cannot be locked: {error.strerror}") from error
        if os.fstat(descriptor).st_nlink == 0:
            os.close(descriptor)
            raise SessionError(f"the session {path} was removed just now")
        return cls(path, descriptor, path.stem)

    def cut(self, size: int) -> None:
        """Drop what stands after `size` bytes: a torn last line. Raises JournalError."""
        if self._size <= size:
            return
        try:
            os.ftruncate(self._descriptor, size)
        except OSError as error:
            raise JournalError(_cannot_write(self.path, error)) from error
        self._size = size

    def copy(self, source: Path, start: int, end: int) -> None:
        """Append bytes of another session file, whole lines. Raises JournalError."""
        try:
            with source.open("rb") as file:
                file.seek(start)
                while start < end:
                    data = file.read(min(COPY_BYTES, end - start))
                    if not data:
                        raise OSError(f"{source} became shorter")
                    start += len(data)
                    self._append(data)
        except OSError as error:
            raise JournalError(_cannot_write(self.path, error)) from error

    def write(self, kind: str, fields: Mapping[str, Any]) -> None:
        """Append one line. Raises JournalError; a half-written line is cut off again."""
        self._append(encode_line(kind, fields))

    def message(self, message: Message, fields: Mapping[str, Any] | None = None) -> None:
        """Record a message before it counts; fields: what belongs to it (reading.py)."""
        self.write("message", {"message": message_to_json(message), **(fields or {})})

    def intent(
        self, call_id: str, tool: str, subject: str, changes: tuple[FileChange, ...]
    ) -> None:
        """Record what is about to be committed; the first of a turn is synced to the disk.

        Raises JournalError.
        """
        listed = [{"path": c.path, "before": c.before, "after": c.after} for c in changes]
        self.write("intent", {"call": call_id, "tool": tool, "subject": subject, "changes": listed})
        if not self._turn_synced:
            self.sync()
            self._turn_synced = True

    def end_turn(self) -> None:
        """Sync, and let the next turn's first intent sync again. Raises JournalError."""
        self._turn_synced = False
        self.sync()

    def sync(self) -> None:
        """Force what was written to the disk. Raises JournalError."""
        if not self._unsynced:
            return
        try:
            os.fdatasync(self._descriptor) if hasattr(os, "fdatasync") else os.fsync(
                self._descriptor
            )
        except OSError as error:
            raise JournalError(_cannot_write(self.path, error)) from error
        self._unsynced = False

    def close(self) -> None:
        """Sync if possible and let go of the file; safe to call twice."""
        if self._descriptor < 0:
            return
        if self._empty:
            self.path.unlink(missing_ok=True)
        else:
            try:
                self.sync()
            except JournalError:
                pass
        # A command that is being started holds a copy of the descriptor until it runs.
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        os.close(self._descriptor)
        self._descriptor = -1

    def _append(self, data: bytes) -> None:
        try:
            written = 0
            while written < len(data):
                written += os.write(self._descriptor, data[written:])
        except OSError as error:
            self._cut_back()
            raise JournalError(_cannot_write(self.path, error)) from error
        self._size += len(data)
        self._unsynced = True
        self._empty = False

    def _cut_back(self) -> None:
        try:
            os.ftruncate(self._descriptor, self._size)
        except OSError:
            pass  # the reader drops a torn last line


def _lock(descriptor: int) -> None:
    """Take the lock; a holder that is just ending is waited for, LOCK_WAIT_S at most.

    Raises BlockingIOError, or OSError where there can be no lock.
    """
    end = time.monotonic() + LOCK_WAIT_S
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                raise
            time.sleep(0.02)


def this_process() -> dict[str, Any]:
    """Who writes: stored in the header and at each opening, for the next one who comes."""
    return {"pid": os.getpid(), "host": socket.gethostname(), "since": round(time.time())}


def holder_of(path: Path) -> str:
    """Who wrote last that they hold this file, in words."""
    writer: Mapping[str, Any] = {}
    try:
        for entry in read_entries(path):
            writer = entry.get("writer") or writer
        since = time.strftime("%Y-%m-%d %H:%M", time.localtime(float(writer["since"])))
        where = "" if writer["host"] == socket.gethostname() else f" on {writer['host']}"
        return f"process {int(writer['pid'])}{where} (since {since})"
    except (SessionError, LookupError, TypeError, ValueError, AttributeError):
        return "another process"


def _cannot_write(path: Path, error: OSError) -> str:
    reason = error.strerror or str(error)
    return f"the session journal {path} cannot be written ({reason}); free space or fix the folder"
