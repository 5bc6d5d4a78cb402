"""Sessions: the journal of a conversation, one append-only JSONL file.

Lines are {"v":1,"t":"header|message|intent|grant|note","at":...}. A line is on disk (written,
not only buffered) before anyone is shown what it says; it is synced before the first write
of a turn and at the turn's end. There is one writer, held by flock. A line that could not be
written whole is cut off again, and the turn stops before the edit. The current conversation
is a pure fold over the file. Must not know how a message is rendered or shown.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from glmcode.base.paths import private_folder, state_folder
from glmcode.core.calls import TurnStop
from glmcode.core.messages import Message, MessageError, message_from_json, message_to_json
from glmcode.core.tool import FileChange

VERSION = 1


class JournalError(TurnStop):
    """The journal cannot be written (full disk, gone folder): nothing may happen unrecorded."""


class SessionError(Exception):
    """A stored session cannot be opened or read; the text says what to do."""


def sessions_folder(workspace: Path) -> Path:
    """Where the sessions of one workspace lie; readable name plus a hash of the path."""
    import hashlib

    digest = hashlib.sha256(os.fsencode(workspace)).hexdigest()[:8]
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", workspace.name)[:40] or "root"
    return state_folder() / "sessions" / f"{name}-{digest}"


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

    @classmethod
    def create(
        cls, workspace: Path, header: Mapping[str, Any], session_id: str | None = None
    ) -> Journal:
        """Make the file (0600) and write its header. Raises JournalError."""
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
        journal.write("header", {"id": session_id, "workspace": str(workspace), **header})
        return journal

    def write(self, kind: str, fields: Mapping[str, Any]) -> None:
        """Append one line. Raises JournalError; a half-written line is cut off again."""
        entry = {"v": VERSION, "t": kind, "at": round(time.time(), 3), **fields}
        data = _line(entry)
        try:
            written = 0
            while written < len(data):
                written += os.write(self._descriptor, data[written:])
        except OSError as error:
            self._cut_back()
            raise JournalError(_cannot_write(self.path, error)) from error
        self._size += len(data)
        self._unsynced = True

    def message(self, message: Message) -> None:
        """Record a message before it counts."""
        self.write("message", {"message": message_to_json(message)})

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
        try:
            self.sync()
        except JournalError:
            pass
        os.close(self._descriptor)
        self._descriptor = -1

    def _cut_back(self) -> None:
        try:
            os.ftruncate(self._descriptor, self._size)
        except OSError:
            pass  # the reader drops a torn last line


def read_entries(path: Path) -> Iterator[dict[str, Any]]:
    """The entries of a session file; a torn last line is dropped.

    Raises SessionError for an unreadable file, damage in the middle, or a newer version.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise SessionError(f"the session {path} cannot be read: {error.strerror}") from error
    for number, line in enumerate(lines[:-1], 1):
        try:
            entry = json.loads(line)
        except ValueError as error:
            raise SessionError(f"{path}: line {number} is damaged: {error}") from error
        if not isinstance(entry, dict) or entry.get("v", 0) > VERSION:
            raise SessionError(f"{path}: written by a newer glmcode; update this one")
        yield entry


def fold_messages(path: Path) -> tuple[Message, ...]:
    """The conversation that a session file holds. Raises SessionError."""
    try:
        return tuple(
            message_from_json(entry["message"])
            for entry in read_entries(path)
            if entry.get("t") == "message"
        )
    except (MessageError, KeyError) as error:
        raise SessionError(f"{path}: {error}") from error


def _line(entry: Mapping[str, Any]) -> bytes:
    """One JSON line in UTF-8; lone surrogates are escaped, so that the file stays valid."""
    try:
        return (json.dumps(entry, ensure_ascii=False, separators=(",", ":")) + "\n").encode()
    except UnicodeEncodeError:
        return (json.dumps(entry, separators=(",", ":")) + "\n").encode()


def _cannot_write(path: Path, error: OSError) -> str:
    reason = error.strerror or str(error)
    return f"the session journal {path} cannot be written ({reason}); free space or fix the folder"
