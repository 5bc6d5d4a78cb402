"""Forgetting: what is too old or too much goes, whole turns at a time, the oldest first.

Kept are the contents that the remaining steps need, and those of the workspace as it was last seen
(the next command may change any of them). Everything happens in one transaction, so a kill leaves
the store as it was; other processes notice by the generation that what they stored may be gone.
Must not touch a step that is still going on.
"""

from __future__ import annotations

import sqlite3
import time
from contextlib import suppress

from glmcode.checkpoints.entries import unpack, unpack_delta
from glmcode.checkpoints.store import NotKept, Store, set_meta

MAX_AGE_S = 30 * 86_400.0
MAX_BYTES = 2 * 1000 * 1000 * 1000
FULL_BYTES = MAX_BYTES * 5 // 4
"""A store of this size takes nothing more until it was pruned."""
EVERY_S = 86_400.0


def is_due(store: Store, now: float | None = None) -> bool:
    """Whether it was long ago, or the store has grown too large. Raises StoreError."""
    last = float(store.meta("pruned") or b"0")
    moment = time.time() if now is None else now
    return not 0 <= moment - last < EVERY_S or store.size() > FULL_BYTES


def prune(
    store: Store,
    current: bytes,
    *,
    now: float | None = None,
    max_age_s: float = MAX_AGE_S,
    max_bytes: int = MAX_BYTES,
) -> bytes:
    """Forget; current: the root of the workspace's tree, b"" if unknown. The new generation.

    Raises StoreError, NotKept, Damaged: then everything is as it was.
    """
    moment = time.time() if now is None else now
    with store.transaction() as base:
        old = base.execute("SELECT id FROM unit WHERE at < ?", (moment - max_age_s,)).fetchall()
        _forget(base, [number for (number,) in old])
        while True:
            kept = _sweep(store, base, current)
            if kept <= max_bytes or not _forget_oldest(base):
                break
        base.execute("DELETE FROM note WHERE told = 1 OR session NOT IN (SELECT session FROM unit)")
        base.execute(
            "DELETE FROM meta WHERE key LIKE 'accepted %' AND "
            "substr(key, 10) NOT IN (SELECT session FROM unit)"
        )
        generation = b"%d" % (int(store.meta("generation") or b"0") + 1)
        set_meta(base, "generation", generation)
        set_meta(base, "pruned", str(moment).encode())
    store.rows("PRAGMA incremental_vacuum")
    store.rows("PRAGMA wal_checkpoint(TRUNCATE)")
    return generation


def _forget(base: sqlite3.Connection, numbers: list[int]) -> None:
    for number in numbers:
        going_on = "SELECT 1 FROM step WHERE unit = ? AND state = 'open'"
        if base.execute(going_on, (number,)).fetchone():
            continue
        base.execute("DELETE FROM step WHERE unit = ?", (number,))
        base.execute("DELETE FROM unit WHERE id = ?", (number,))


def _forget_oldest(base: sqlite3.Connection) -> bool:
    """Forget the older half; False when only the last is left."""
    numbers = [n for (n,) in base.execute("SELECT id FROM unit ORDER BY id").fetchall()]
    _forget(base, numbers[: len(numbers) // 2])
    return len(numbers) > 1 and bool(
        base.execute("SELECT 1 FROM unit WHERE id = ?", (numbers[0],)).fetchone() is None
    )


def _sweep(store: Store, base: sqlite3.Connection, current: bytes) -> int:
    """Drop the contents that nothing needs; the bytes of those that are left."""
    needed: set[bytes] = set()
    roots = {current, store.meta("index_root")}
    for root, state, known, delta in base.execute("SELECT root, state, known, delta FROM step"):
        if state == "open":
            roots.add(root)
        for part in (known if state == "open" else b"", delta):
            for old, new in unpack_delta(part).values():
                needed |= {e.id for e in (old, new) if e is not None and e.kind == "f"}
    for root in roots - {b""}:
        with suppress(NotKept):
            _mark(store, root, needed)
    base.execute("CREATE TEMP TABLE IF NOT EXISTS needed (id BLOB PRIMARY KEY)")
    base.execute("DELETE FROM needed")
    base.executemany("INSERT INTO needed VALUES (?)", ((key,) for key in needed))
    base.execute("DELETE FROM object WHERE id NOT IN (SELECT id FROM needed)")
    (total,) = base.execute("SELECT COALESCE(SUM(LENGTH(data)), 0) FROM object").fetchone()
    return int(total)


def _mark(store: Store, root: bytes, needed: set[bytes]) -> None:
    stack = [root]
    while stack:
        tree = stack.pop()
        if tree in needed:
            continue
        needed.add(tree)
        for _, entry in unpack(store.get(tree)):
            if entry.kind == "d":
                stack.append(entry.id)
            elif entry.kind == "f":
                needed.add(entry.id)
