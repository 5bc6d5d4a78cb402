"""Recording: what stood there before each action that changes something, and what stands after.

`before` and `after` frame an action. Edits name the files that they change; around a command, and
before the first change of a turn, the whole workspace is looked at. What a step changed is what
differs between its two looks, so that an undo can tell it from what the person changed in between.
Files that no look shows (ignored ones, those outside) are known from the moment a tool writes
them. Methods block: call them in a thread. Must not change the workspace.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

from glmcode.checkpoints.entries import Damaged, Delta, Entry, pack_delta, same
from glmcode.checkpoints.index import recall, save
from glmcode.checkpoints.log import plausible, settle
from glmcode.checkpoints.places import is_linked, own_folders, too_wide, within
from glmcode.checkpoints.prune import FULL_BYTES, is_due, prune
from glmcode.checkpoints.reading import read_entry
from glmcode.checkpoints.scan import Scanner
from glmcode.checkpoints.store import NotKept, Store, StoreError, store_folder
from glmcode.checkpoints.trees import diff
from glmcode.checkpoints.watch import SlowTree
from glmcode.checkpoints.words import MANY, PARTLY, TOO_SLOW, TOO_WIDE, UNKNOWN

TURN_S = 2.0
"""The most that the looks before the actions of one turn take, in all."""
LEAST_S = 0.5
AFTER_S = 4.0
WARM_S = 0.4
MAX_EXTRAS = 1_000
FULL_EVERY = 64
NAMED = 5


class CheckpointError(Exception):
    """There is no checkpoint, so the action must not happen; one sentence that says why."""


@dataclass(slots=True)
class Step:
    """An action between its two looks. root: the tree before a command, else b"".

    known: what stood at single paths. expected: path -> sha256 hex that an edit leaves behind.
    """

    id: int
    root: bytes
    known: dict[str, Entry | None]
    began: float = field(default_factory=time.time)


class Checkpoints:
    """The checkpoints that one session makes in one workspace. notices: what was not said yet."""

    def __init__(self, workspace: Path, session: str) -> None:
        """workspace: a real path. Nothing is opened before it is needed."""
        self.workspace = workspace
        self.session = session
        self.lock = Lock()
        self.notices: list[str] = []
        self._store: Store | None = None
        self.scanner = Scanner(workspace, self._put, own_folders(), self._is_full)
        self._extras: dict[str, None] = {}
        self._generation = b""
        self._label = ""
        self._unit = 0
        self._closed = False
        self._settled = False
        self._asked, self._full = 0, False
        self._indexed = b""
        self._left = TURN_S
        self._said: set[str] = set()
        self.whole = not too_wide(workspace)

    # What the agent calls

    def begin(self, label: str) -> None:
        """A turn begins; label: what the person asked for, shown in lists."""
        self._label = _short(label)
        self._unit = 0
        self._left = TURN_S

    def warm(self, stopped: Callable[[], bool]) -> None:
        """Read ahead in small pieces what the first checkpoint needs. Raises nothing."""
        while self.whole and not stopped():
            before = self.scanner.root.tree
            try:
                with self.lock, self.writing() as base:
                    after = self.scanner.scan(WARM_S, AFTER_S)
                    self._keep_index(base)
            except (CheckpointError, SlowTree):
                return
            if not self.scanner.late or after == before:
                break
        with self.lock:
            if self.whole and not self._closed and not stopped():
                self.scanner.watch.engage()
        self._prune()

    def _prune(self) -> None:
        with suppress(StoreError, NotKept, Damaged), self.lock:
            if self._store is not None and not self._closed and is_due(self._store):
                self._generation = prune(self._store, self.scanner.root.tree)

    def before(
        self,
        tool: str,
        subject: str,
        paths: Sequence[str] = (),
        expected: Mapping[str, str] | None = None,
        *,
        command: bool = False,
        due: Step | None = None,
    ) -> Step:
        """Record what is there. paths: absolute real paths that the action names; expected:
        sha256 hex of the content that it leaves at a path; command: it may change anything;
        due: a step of which `after` was not called yet, closed here.

        Raises CheckpointError: then the action must not happen, and due is still open.
        """
        command = command or any(map(is_linked, paths))  # its other names change as well
        with self.lock, self.writing() as base:
            seen = b"" if due is None else self._close_step(base, due)
            self.settle(base)
            if not self._unit:
                root = self._look(seen)
                turn = (time.time(), self.session, "turn", self._label, root)
                self._unit = insert(base, "unit", "at, session, kind, label, root", turn)
            elif command:
                root = self._look(seen)
            known = self._known(base, paths, extras=command)
            step = Step(0, root if command else b"", known)
            row = (
                *(
                    self._unit,
                    step.began,
                    tool,
                    _short(subject),
                    self.store.owner,
                    "open",
                    step.root,
                ),
                *(pack_known(known), json.dumps(self._relative(expected or {}))),
            )
            columns = "unit, at, tool, subject, owner, state, root, known, expected"
            step.id = insert(base, "step", columns, row)
            return step

    def after(self, step: Step) -> None:
        """Record what the action changed. Raises CheckpointError."""
        with self.lock, self.writing() as base:
            self._close_step(base, step)

    def _close_step(self, base: sqlite3.Connection, step: Step) -> bytes:
        """The tree that was seen, if the whole workspace was looked at; else b""."""
        delta, seen = self._changed(step)
        values = ("done", pack_delta(delta), step.id)
        base.execute("UPDATE step SET state = ?, delta = ? WHERE id = ?", values)
        self._tell_losses(delta)
        return seen

    def settle(self, base: sqlite3.Connection, *, again: bool = False) -> None:
        """Close what killed processes left open, once (or again); inside `writing`."""
        if again or not self._settled:
            settle(self.store, base, self.entry, self._since)
            self._settled = True

    def _since(self, root: bytes, at: float) -> Delta:
        """What differs now from a recorded tree, as far as it can have come about since."""
        try:
            now = self.scanner.scan(AFTER_S)
        except SlowTree:
            self._say(UNKNOWN)
            return {}
        return plausible(diff(self.store.get, root, now), str(self.workspace), at)

    def _keep_index(self, base: sqlite3.Connection) -> None:
        if not self.scanner.late and self.scanner.root.tree != self._indexed:
            save(self.scanner, base)
            self._indexed = self.scanner.root.tree

    def close(self) -> None:
        """Let go of the store."""
        with self.lock:
            if self._store is not None and not self._closed and not self.scanner.fresh:
                with suppress(CheckpointError), self.writing() as base:
                    self._keep_index(base)
            if self._store is not None:
                self._store.close()
            self.scanner.watch.close()
            self._closed = True

    # The store

    @property
    def store(self) -> Store:
        """The open store. Raises StoreError."""
        if self._closed:
            raise StoreError("the session was closed")
        if self._store is None:
            self._store = Store(store_folder(self.workspace))
            self.notices += self._store.notices
            self._extras = self._stored_extras()
        return self._store

    def _stored_extras(self) -> dict[str, None]:
        if self._store is None:
            return {}
        found = self._store.rows("SELECT path FROM extra")
        return dict.fromkeys(os.fsdecode(p) for (p,) in found if isinstance(p, bytes))

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction; a failure leaves nothing behind, here or in the store."""
        done, unit, settled = False, self._unit, self._settled
        try:
            with self.store.transaction() as base:
                now = self.store.meta("generation")
                if now != self._generation:  # another process pruned: what is kept is not known
                    self.scanner.forget()
                    self._generation = now
                if self.scanner.fresh and self.whole:
                    recall(self.scanner, self.store)
                    self._indexed = self.scanner.root.tree
                yield base
            done = True
        except (StoreError, NotKept, Damaged) as error:
            raise CheckpointError(str(error)) from error
        except OSError as error:
            what = f"{error.filename or 'the workspace'}: {error.strerror or error}"
            raise CheckpointError(f"the workspace can't be looked at ({what})") from error
        finally:
            if not done:
                self._unit, self._settled = unit, settled
                self.scanner.forget()
                with suppress(StoreError):
                    self._extras = self._stored_extras()

    def _is_full(self) -> bool:
        """Asked before each file that is read: looked up every now and then."""
        if self._asked % FULL_EVERY == 0:
            self._full = self.store.size() > FULL_BYTES
        self._asked += 1
        return self._full

    def _put(self, data: bytes) -> bytes:
        return self.store.put(data)

    # Looking

    def _look(self, seen: bytes = b"") -> bytes:
        """The tree of the workspace, or b"" where it can't be had; says so once.

        seen: a tree that was had just now.
        """
        if not self.whole:
            self._say(TOO_WIDE.format(folder=self.workspace))
            return b""
        limit = max(LEAST_S, self._left)
        began = time.monotonic()
        self.scanner.blind.clear()
        if seen:
            return seen
        try:
            root = self.scanner.scan(limit)
        except SlowTree:
            self._say(TOO_SLOW.format(limit=limit))
            return b""
        finally:
            self._left -= time.monotonic() - began
        if self.scanner.late:
            self._say(PARTLY.format(limit=limit))
        if self.scanner.many:
            self._say(MANY)
        return root

    def _changed(self, step: Step) -> tuple[Delta, bytes]:
        """What differs from what a step found, and the tree if all of it was seen."""
        delta: Delta = {}
        for path, old in step.known.items():
            new = self.entry(path)
            if not same(old, new):
                delta[path] = (old, new)
        if step.root:
            try:
                root = self.scanner.scan(AFTER_S)
            except SlowTree:
                self._say(TOO_SLOW.format(limit=AFTER_S))
                return delta, b""
            found = diff(self.store.get, step.root, root)
            blind = self.scanner.blind
            delta |= {p: change for p, change in found.items() if not within(p, blind)}
            if not (self.scanner.late or self.scanner.many):
                return delta, root
        return delta, b""

    def _known(
        self, base: sqlite3.Connection, paths: Sequence[str], *, extras: bool
    ) -> dict[str, Entry | None]:
        """What stands at single paths now, and at the folders that are still to be made."""
        found: dict[str, Entry | None] = {}
        for path in paths:
            self._follow(base, path)
            short = self.short(path)
            found[short] = self.entry(short)
            folder = os.path.dirname(path)  # noqa: PTH120 (text, for odd bytes)
            while found[short] is None and not os.path.lexists(folder):
                found[self.short(folder)] = None
                folder = os.path.dirname(folder)  # noqa: PTH120
        if extras:
            found |= {path: self.entry(path) for path in self._extras if path not in found}
        return found

    def _follow(self, base: sqlite3.Connection, path: str) -> None:
        """From now on look at a file that no look at the workspace shows."""
        short = self.short(path)
        covered = self.whole and not short.startswith("/") and self.scanner.covers(short)
        if covered or short in self._extras or len(self._extras) >= MAX_EXTRAS:
            return
        self._extras[short] = None
        base.execute("INSERT OR IGNORE INTO extra VALUES (?)", (os.fsencode(short),))

    def entry(self, path: str) -> Entry | None:
        """What stands at a path (relative to the workspace, or absolute) now; kept at once."""
        try:
            found = read_entry(str(self.workspace / path), None, self._put)
        except OSError:
            return None
        return found.entry if found is not None else None

    def short(self, path: str) -> str:
        """An absolute path as the log has it: relative if it lies in the workspace."""
        root = str(self.workspace).rstrip("/") + "/"
        return path[len(root) :] if path.startswith(root) else path

    def _relative(self, expected: Mapping[str, str]) -> dict[str, str]:
        return {self.short(path): digest for path, digest in expected.items()}

    # Words

    def _tell_losses(self, delta: Delta) -> None:
        lost = [(p, old.why) for p, (old, _) in delta.items() if old is not None and old.why]
        if lost:
            named = ", ".join(f"{path} ({why})" for path, why in lost[:NAMED])
            more = f" and {len(lost) - NAMED} more" if len(lost) > NAMED else ""
            self._say(f"changed, and undo can't bring it back: {named}{more}")

    def _say(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            self.notices.append(text)

    def take_notices(self) -> list[str]:
        """What the person should know and was not told yet."""
        taken, self.notices = self.notices, []
        return taken


def _short(text: str) -> str:
    """A line for lists: SQLite takes no surrogates."""
    line = " ".join(text.split())[:200]
    return line.encode("utf-8", "surrogatepass").decode("utf-8", "replace")


def pack_known(known: Mapping[str, Entry | None]) -> bytes:
    """Entries of single paths as bytes."""
    return pack_delta({path: (entry, entry) for path, entry in known.items()})


def insert(base: sqlite3.Connection, table: str, columns: str, values: Sequence[object]) -> int:
    marks = ", ".join("?" * len(values))
    done = base.execute(f"INSERT INTO {table} ({columns}) VALUES ({marks})", values)
    return done.lastrowid or 0
