"""What files were found to define, kept between runs: content -> encoded tags, in SQLite.

A key is a hash of the content and of what reads it, so an entry can never be stale and nothing
has to be invalidated; what is no longer asked for is dropped when the file grows too large.
Several processes use it at once (WAL, a patient lock). It is a cache: a damaged file is made
anew, and where the disk is full, locked or read-only, everything goes on without. No method
raises. Must not know what the values mean.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from glmcode.base.paths import private_folder

MAX_BYTES = 512 << 20
"""Beyond this size the older half of the entries is dropped."""
BUSY_MS = 5_000
_ASKED = 500
_SCHEMA = "CREATE TABLE IF NOT EXISTS tags (key BLOB PRIMARY KEY, value BLOB NOT NULL)"


class TagCache:
    """The cache in one file; `close` it, in the thread that opened it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._base: sqlite3.Connection | None = None
        try:
            private_folder(path.parent)
        except OSError:
            return
        try:
            self._base = _opened(path)
        except sqlite3.OperationalError:
            return
        except sqlite3.DatabaseError:
            self._renew()

    def get(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """The values of those keys that are known."""
        found: dict[bytes, bytes] = {}
        for start in range(0, len(keys), _ASKED):
            part = keys[start : start + _ASKED]
            marks = ",".join("?" * len(part))
            if self._base is None:
                break
            try:
                query = f"SELECT key, value FROM tags WHERE key IN ({marks})"
                found.update(self._base.execute(query, part).fetchall())
            except sqlite3.OperationalError:
                break
            except sqlite3.DatabaseError:
                self._renew()
                break
        return {key: value for key, value in found.items() if isinstance(value, bytes)}

    def put(self, entries: Iterable[tuple[bytes, bytes]]) -> None:
        """Keep values; what is there already stays."""
        if self._base is None:
            return
        try:
            with self._base:
                self._base.executemany("INSERT OR IGNORE INTO tags VALUES (?, ?)", entries)
        except sqlite3.OperationalError:
            return
        except sqlite3.DatabaseError:
            self._renew()

    def close(self) -> None:
        """Close the file; drop the older half first when it has grown too large."""
        if self._base is None:
            return
        with suppress(sqlite3.Error):
            self._trim(self._base)
        with suppress(sqlite3.Error):
            self._base.close()
        self._base = None

    def _trim(self, base: sqlite3.Connection) -> None:
        pages = base.execute("PRAGMA page_count").fetchone()[0]
        free = base.execute("PRAGMA freelist_count").fetchone()[0]
        if (pages - free) * base.execute("PRAGMA page_size").fetchone()[0] <= MAX_BYTES:
            return
        with base:
            base.execute(
                "DELETE FROM tags WHERE rowid <= (SELECT (min(rowid) + max(rowid)) / 2 FROM tags)"
            )

    def _renew(self) -> None:
        """Make a damaged file anew, unless another process did so just now."""
        if self._base is not None:
            with suppress(sqlite3.Error):
                self._base.close()
        self._base = None
        try:
            lock = os.open(f"{self._path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            return
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            try:
                self._base = _opened(self._path, check=True)
                return
            except sqlite3.OperationalError:
                return
            except sqlite3.DatabaseError:
                pass
            for end in ("", "-wal", "-shm"):
                Path(f"{self._path}{end}").unlink(missing_ok=True)
            self._base = _opened(self._path)
        except (OSError, sqlite3.Error):
            self._base = None
        finally:
            os.close(lock)


def _opened(path: Path, *, check: bool = False) -> sqlite3.Connection:
    """The opened file with its table. Raises sqlite3.DatabaseError for a damaged one."""
    base = sqlite3.connect(path, timeout=BUSY_MS / 1000)
    try:
        base.execute("PRAGMA journal_mode=WAL")
        base.execute("PRAGMA synchronous=OFF")
        base.execute(_SCHEMA)
        if check and base.execute("PRAGMA quick_check").fetchone() != ("ok",):
            raise sqlite3.DatabaseError("damaged")
    except sqlite3.Error:
        base.close()
        raise
    return base
