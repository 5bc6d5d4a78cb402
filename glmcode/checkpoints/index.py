"""What a scan knew, kept between sessions: so that the first look reads only what changed since.

The tree is in the store already; beside it stand the states in which its files were read. A file
whose state is another one is read again, as in any scan; where an ignore file changed meanwhile,
everything is. Wrong or damaged, it is dropped: it is only a saving. Must not raise but StoreError.
"""

from __future__ import annotations

import json
import os
import sqlite3
import zlib
from array import array
from collections.abc import Iterator

from glmcode.base.ignore import NAMES, Rules, rules_for
from glmcode.checkpoints.entries import Damaged, unpack
from glmcode.checkpoints.folder import UNLISTED, Folder
from glmcode.checkpoints.scan import Scanner, state_of
from glmcode.checkpoints.stats import NOTHING, Row
from glmcode.checkpoints.store import NotKept, Store, set_meta

_VERSION = 1
_ALL = 2**64


def save(scanner: Scanner, base: sqlite3.Connection) -> None:
    """Keep what the scanner knows, inside a transaction. Raises sqlite3.Error."""
    if scanner.fresh or not scanner.root.tree:
        return
    numbers = array("q")
    for folder in _sorted(scanner.root):
        rows = dict(zip(folder.names, folder.rows, strict=True))
        watched = rows.keys() - folder.entries.keys() - {"."}
        _append(numbers, NOTHING if watched or folder.unlisted else rows["."])
        for name in sorted(folder.entries):
            _append(numbers, rows.get(name, NOTHING))
    head = json.dumps({"version": _VERSION, "outer": scanner.outer}).encode()
    data = b"%d\n%b%b" % (len(head), head, numbers.tobytes())
    set_meta(base, "index", zlib.compress(data, 1))
    set_meta(base, "index_root", scanner.root.tree)


def _append(numbers: array[int], row: Row) -> None:
    """Numbers of 63 bits and a sign: of those of inodes some file systems use all 64 bits."""
    at = len(numbers)
    try:
        numbers.extend(row)
    except OverflowError:
        del numbers[at:]
        try:
            numbers.extend((row[0] - _ALL if row[0] >= _ALL // 2 else row[0], *row[1:]))
        except OverflowError:  # a time after the year 2262: read it again
            del numbers[at:]
            numbers.extend(NOTHING)


def recall(scanner: Scanner, store: Store) -> None:
    """Let a scanner that knows nothing begin with what was kept. Raises StoreError."""
    data, root = store.meta("index"), store.meta("index_root")
    if not data or not root:
        return
    try:
        size, rest = zlib.decompress(data).split(b"\n", 1)
        head = json.loads(rest[: int(size)])
        numbers = array("q")
        numbers.frombytes(rest[int(size) :])
        outer = [(path, None if row is None else _row(row)) for path, row in head["outer"]]
        if head["version"] != _VERSION or any(state_of(path) != row for path, row in outer):
            return
        folder = _Rebuilding(scanner.workspace, store, numbers).root(root)
    except (NotKept, Damaged, ValueError, KeyError, TypeError, zlib.error, _Outdated):
        return
    scanner.adopt(folder, root, outer)


def _row(values: list[int]) -> Row:
    inode, size, mtime, ctime = values
    return (inode, size, mtime, ctime)


def _sorted(root: Folder) -> Iterator[Folder]:
    """All folders, each before what it holds, by name."""
    stack = [root]
    while stack:
        folder = stack.pop()
        yield folder
        stack += [folder.folders[name] for name in sorted(folder.folders, reverse=True)]


class _Outdated(Exception):
    """What was kept says too little about what is there now."""


class _Rebuilding:
    """Reads the kept numbers in the order in which they were written."""

    def __init__(self, workspace: str, store: Store, numbers: array[int]) -> None:
        self._workspace = workspace
        self._store = store
        rows = list(zip(*[iter(numbers)] * 4, strict=True))
        if any(number < 0 for number in numbers[::4]):
            rows = [(row[0] % _ALL, *row[1:]) for row in rows]
        self._rows = iter(rows)

    def root(self, tree: bytes) -> Folder:
        """The workspace. Raises _Outdated, NotKept, Damaged, StoreError."""
        root = Folder("", None)
        stack = [(root, tree)]
        while stack:
            folder, listing = stack.pop()
            stack += reversed(self._fill(folder, listing))
        return root

    def _fill(self, folder: Folder, tree: bytes) -> list[tuple[Folder, bytes]]:
        """Fill a folder; those below it, by name, with their listings."""
        folder.tree = tree
        own = self._next()
        rows: dict[str, Row] = {}
        below: list[tuple[Folder, bytes]] = []
        for name, entry in unpack(self._store.get(tree)):
            if name == UNLISTED:
                folder.unlisted = entry.why
            elif entry.kind == "d":
                inner = folder.folders[name] = Folder(folder.under(name), folder)
                inner.mode = entry.mode
                below.append((inner, entry.id))
            else:
                folder.entries[name] = entry
                rows[name] = self._next()
        folder.expect(rows, own)
        absolute = f"{self._workspace.rstrip('/')}/{folder.path}".rstrip("/") or "/"
        folder.rules = self._rules(folder, absolute, rows, list(folder.folders))
        return below

    def _rules(
        self, folder: Folder, absolute: str, rows: dict[str, Row], below: list[str]
    ) -> Rules:
        """The rules in it, if its ignore files are as they were when the tree was read."""
        for name in NAMES:
            if name in rows and state_of(f"{absolute}/{name}", follow=False) != rows[name]:
                raise _Outdated
        above = folder.parent.rules if folder.parent else None
        names = [*rows, *below]
        if os.path.lexists(f"{absolute}/.git"):
            names.append(".git")
        return (above or rules_for(self._workspace, self._workspace)).enter(absolute, names)

    def _next(self) -> Row:
        try:
            return next(self._rows)
        except StopIteration:
            raise _Outdated from None
