"""The private store of one workspace: contents by their sha256, and the log of what was changed.

One SQLite file (0600, in a 0700 folder of the state folder): a transaction counts whole or not at
all, so a kill or a full disk at any moment leaves every earlier checkpoint as it was, and several
processes take turns. Bytes are kept as they are (zlib where that is shorter); no git, no filters.
Each content is checked against its name when it is read. Must not look at the workspace.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import secrets
import sqlite3
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from glmcode.base.paths import private_folder, state_folder

BUSY_S = 5.0
VERSION = 1
_SMALL = 128
_SCHEMA = """
CREATE TABLE IF NOT EXISTS object (id BLOB PRIMARY KEY, size INTEGER NOT NULL, data BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS unit (
    id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, session TEXT NOT NULL,
    kind TEXT NOT NULL, label TEXT NOT NULL, undoes TEXT NOT NULL DEFAULT '',
    undone INTEGER NOT NULL DEFAULT 0, state TEXT NOT NULL DEFAULT 'done',
    root BLOB NOT NULL DEFAULT x'');
CREATE TABLE IF NOT EXISTS step (
    id INTEGER PRIMARY KEY AUTOINCREMENT, unit INTEGER NOT NULL, at REAL NOT NULL,
    tool TEXT NOT NULL, subject TEXT NOT NULL, owner TEXT NOT NULL, state TEXT NOT NULL,
    root BLOB NOT NULL DEFAULT x'', known BLOB NOT NULL DEFAULT x'',
    expected TEXT NOT NULL DEFAULT '', delta BLOB NOT NULL DEFAULT x'');
CREATE INDEX IF NOT EXISTS step_unit ON step (unit);
CREATE TABLE IF NOT EXISTS note (
    id INTEGER PRIMARY KEY AUTOINCREMENT, session TEXT NOT NULL, text TEXT NOT NULL,
    paths TEXT NOT NULL, told INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS extra (path BLOB PRIMARY KEY);
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value BLOB NOT NULL);
"""


class StoreError(Exception):
    """The store cannot be written or read: one sentence that says why and what helps."""


class NotKept(Exception):
    """A content that was asked for is not in the store, or is damaged there."""


def checkpoints_root() -> Path:
    """Where the stores of all workspaces lie."""
    return state_folder() / "checkpoints"


def store_folder(workspace: Path) -> Path:
    """Where the store of one workspace lies: a readable name and a hash of the real path."""
    digest = hashlib.sha256(os.fsencode(workspace)).hexdigest()[:12]
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", workspace.name)[:40] or "root"
    return checkpoints_root() / f"{name}-{digest}"


class Store:
    """One process's hand on a store. Used by one thread at a time: callers hold a lock."""

    def __init__(self, folder: Path) -> None:
        """Opens or makes it. Raises StoreError."""
        self.folder = folder
        self.path = folder / "store.db"
        self.notices: list[str] = []
        self.owner = secrets.token_hex(8)
        self._alive = -1
        try:
            private_folder(folder.parent)
            private_folder(folder)
            self._base = self._opened()
            self._alive = self._living()
        except OSError as error:
            raise StoreError(_cannot(self.path, error.strerror or str(error))) from error

    def _opened(self) -> sqlite3.Connection:
        try:
            return _connect(self.path)
        except sqlite3.OperationalError as error:
            raise StoreError(_cannot(self.path, str(error))) from error
        except sqlite3.DatabaseError as error:
            aside = self.path.with_name(f"damaged-{time.strftime('%Y%m%d-%H%M%S')}.db")
            self.path.rename(aside)
            for end in ("-wal", "-shm"):
                self.path.with_name(self.path.name + end).unlink(missing_ok=True)
            self.notices.append(
                f"the checkpoint store was damaged ({error}): it was put aside as {aside}, and "
                "what it held can't be undone any more"
            )
        try:
            return _connect(self.path)
        except sqlite3.Error as error:
            raise StoreError(_cannot(self.path, str(error))) from error

    def _living(self) -> int:
        """Hold a file for as long as this process lives: so others know whose steps are torn."""
        folder = private_folder(self.folder / "live")
        descriptor = os.open(folder / self.owner, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        return descriptor

    def is_alive(self, owner: str) -> bool:
        """Whether the process that opened the store under this name still runs."""
        if owner == self.owner:
            return True
        path = self.folder / "live" / owner
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
        else:
            path.unlink(missing_ok=True)
            return False
        finally:
            os.close(descriptor)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing; other processes wait meanwhile. Raises StoreError."""
        base = self._base
        try:
            base.execute("BEGIN IMMEDIATE")
            yield base
            base.execute("COMMIT")
        except sqlite3.Error as error:
            raise StoreError(_cannot(self.path, str(error))) from error
        finally:
            if base.in_transaction:
                with suppress(sqlite3.Error):
                    base.execute("ROLLBACK")

    def rows(self, query: str, *values: object) -> list[tuple[object, ...]]:
        """What a question gives. Raises StoreError."""
        try:
            return self._base.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise StoreError(_cannot(self.path, str(error))) from error

    def put(self, data: bytes) -> bytes:
        """Keep a content; its sha256. Inside a transaction. Raises sqlite3.Error."""
        key = hashlib.sha256(data).digest()
        if not self.has(key):
            short = zlib.compress(data, 1) if len(data) > _SMALL else data
            kept = short if len(short) < len(data) else data
            self._base.execute("INSERT INTO object VALUES (?, ?, ?)", (key, len(data), kept))
        return key

    def has(self, key: bytes) -> bool:
        """Whether a content is kept. Raises sqlite3.Error."""
        found = self._base.execute("SELECT 1 FROM object WHERE id = ?", (key,))
        return found.fetchone() is not None

    def get(self, key: bytes) -> bytes:
        """A content by its sha256. Raises NotKept, StoreError."""
        found = self.rows("SELECT size, data FROM object WHERE id = ?", key)
        if not found:
            raise NotKept("is not kept any more")
        size, data = found[0]
        assert isinstance(size, int) and isinstance(data, bytes)
        try:
            whole = data if len(data) == size else zlib.decompress(data)
        except zlib.error as error:
            raise NotKept("is damaged in the checkpoint store") from error
        if hashlib.sha256(whole).digest() != key:
            raise NotKept("is damaged in the checkpoint store")
        return whole

    def meta(self, key: str) -> bytes:
        """A single value; b"" where there is none. Raises StoreError."""
        found = self.rows("SELECT value FROM meta WHERE key = ?", key)
        value = found[0][0] if found else b""
        assert isinstance(value, bytes)
        return value

    def size(self) -> int:
        """Bytes that the store takes up, without what it can use again. Raises StoreError."""
        (pages,), (free,), (page,) = (
            self.rows(f"PRAGMA {what}")[0] for what in ("page_count", "freelist_count", "page_size")
        )
        assert isinstance(pages, int) and isinstance(free, int) and isinstance(page, int)
        return (pages - free) * page

    def close(self) -> None:
        """Let go of it; safe to call twice."""
        if self._alive >= 0:
            (self.folder / "live" / self.owner).unlink(missing_ok=True)
            os.close(self._alive)
            self._alive = -1
            with suppress(sqlite3.Error):
                self._base.close()


def set_meta(base: sqlite3.Connection, key: str, value: bytes) -> None:
    """Set a single value, inside a transaction."""
    base.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))


def _connect(path: Path) -> sqlite3.Connection:
    """Raises sqlite3.Error, OSError."""
    # Only where there is none: closing a file drops all locks that this process has on it.
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    base = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
    try:
        base.execute("PRAGMA auto_vacuum = INCREMENTAL")
        base.execute("PRAGMA journal_mode = WAL")
        base.execute("PRAGMA synchronous = NORMAL")
        if not base.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetchone():
            base.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")
    except BaseException:
        base.close()
        raise
    return base


def _cannot(path: Path, why: str) -> str:
    return (
        f"no checkpoint can be written or read at {path} ({why}): free space or fix the folder, "
        "or do without undo (tools.checkpoints = false)"
    )
