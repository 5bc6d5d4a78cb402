"""Undo and redo of whole turns: choose, look, then apply, with a record of its own.

What is about to happen is written into the log first (with the contents that it replaces), so an
undo that was killed can be finished, and a finished one can be taken back. One at a time in a
workspace. The sessions whose turns are concerned get a note for their next message. Must not ask
anybody: callers show the plan and decide.
"""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal

from glmcode.base.files import FileFault, load
from glmcode.checkpoints.apply import CHANGED, Applied, Hands, apply, stands
from glmcode.checkpoints.entries import Damaged, Delta, Entry, pack_delta, same
from glmcode.checkpoints.log import (
    Unit,
    files_of,
    steps_of,
    units,
    without_folders,
)
from glmcode.checkpoints.plan import Item, items_of
from glmcode.checkpoints.recorder import CheckpointError, Checkpoints, insert
from glmcode.checkpoints.store import NotKept, Store, StoreError

NAMED = 10
REVERTED = "[The user put back how these were before this session, by /diff revert: files {files}]"


class UndoError(Exception):
    """There is nothing to undo, or it can't be done; one sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What an undo or a redo would do. units: what is taken back, the newest first."""

    kind: Literal["undo", "redo"]
    units: tuple[Unit, ...]
    items: tuple[Item, ...]

    @property
    def against(self) -> list[Item]:
        """The paths that something speaks against."""
        return [item for item in self.items if item.why]


class Undo:
    """The undo of one workspace. Methods block, and raise UndoError or StoreError."""

    def __init__(self, checkpoints: Checkpoints) -> None:
        """checkpoints: of the session that asks, or of a session "" for all."""
        self._checkpoints = checkpoints
        self._root = checkpoints.workspace

    @property
    def _store(self) -> Store:
        return self._checkpoints.store

    # Looking

    def turns(self) -> list[Unit]:
        """The turns that changed something, oldest first, undone ones included."""
        with self._held():
            return [u for u in self._units() if u.kind == "turn"]

    def files(self, unit: Unit) -> list[str]:
        """The paths that a unit changed."""
        with self._held():
            return files_of(self._store, unit.id)

    def plan_since(self, at: float) -> Plan | None:
        """Undo the session's turns that began at or after a moment; None when none changed."""
        with self._held():
            standing = [u for u in self._units() if u.kind == "turn" and not u.undone]
            chosen = [unit for unit in standing if unit.at >= at]
            return self._planned("undo", chosen) if chosen else None

    def plan(self, count: int = 1, *, to: int | None = None) -> Plan:
        """Undo the last turns of the session, or everything back to before the turn `to`."""
        with self._held():
            standing = [u for u in self._units() if u.kind == "turn" and not u.undone]
            if to is not None:
                chosen = [unit for unit in standing if unit.id >= to]
                if not any(unit.id == to for unit in standing):
                    raise UndoError(f"there is no turn {to} that can be undone: see --list")
            else:
                chosen = standing[-count:]
            if not chosen:
                raise UndoError("there is nothing to undo: no turn changed a file here")
            return self._planned("undo", chosen)

    def plan_redo(self) -> Plan:
        """Take the last undo back, if no turn changed something since."""
        with self._held():
            everything = self._units()
            undos = [u for u in everything if u.kind == "undo" and not u.undone]
            if not undos:
                raise UndoError("there is nothing to redo: nothing was undone")
            last = undos[-1]
            if any(u.kind == "turn" and not u.undone and u.id > last.id for u in everything):
                raise UndoError("there is nothing to redo: a turn changed files since the undo")
            return self._planned("redo", [last])

    def content(self, entry: Entry | None) -> bytes:
        """The bytes of a file that is kept, a link's target; b"" for anything else."""
        if entry is None or entry.kind in ("d", "x"):
            return b""
        return entry.id if entry.kind == "l" else self._store.get(entry.id)

    def standing(self, item: Item) -> bytes:
        """As `content` of what stands there now; what isn't kept is read, if it is still that."""
        try:
            return self.content(item.now)
        except NotKept:
            try:
                found = load(self._root / item.path)
            except FileFault:
                raise NotKept("is not kept") from None
            if item.now is None or found.digest != item.now.id.hex():
                raise
            return found.data

    def _units(self) -> list[Unit]:
        return units(self._store, self._checkpoints.session)

    def _planned(self, kind: Literal["undo", "redo"], chosen: Sequence[Unit]) -> Plan:
        steps = steps_of(self._store, [unit.id for unit in chosen])
        items = items_of(
            steps,
            lambda path: stands(self._root, path),
            lambda key: bool(self._store.rows("SELECT 1 FROM object WHERE id = ?", key)),
            str(self._root),
        )
        return Plan(kind=kind, units=tuple(reversed(chosen)), items=tuple(items))

    # Doing

    def apply(self, plan: Plan, *, force: bool = False) -> Applied:
        """Do what was planned. Without force nothing may speak against it.

        What changed since the plan was made is left as it is and named.
        """
        chosen = [item for item in plan.items if not item.impossible]
        if plan.against and not force:
            raise UndoError(refusal(plan))
        with self._held(), self._alone():
            unit, fresh = self._announce(plan, chosen)
            applied = apply(fresh, self._hands())
            self._conclude(unit, plan.kind, [u.id for u in plan.units], applied)
            applied.failed += [(i.path, i.why) for i in plan.items if i.impossible]
            taken = {item.path for item in fresh}
            applied.failed += [(i.path, CHANGED) for i in chosen if i.path not in taken]
            return applied

    def revert(self, plan: Plan, paths: Collection[str], *, force: bool = False) -> Applied:
        """Put single files of a plan back, as a turn of its own that can be undone like any.

        Without force nothing may speak against it; what changed since the plan was made is left
        as it is and named.
        """
        named = replace(plan, items=tuple(item for item in plan.items if item.path in paths))
        if named.against and not force:
            raise UndoError(refusal(named))
        chosen = [replace(item, why="") for item in named.items if not item.impossible]
        with self._held(), self._alone():
            label = f"/diff revert {', '.join(shown(item.path) for item in chosen)}"[:200]
            unit, fresh = self._announce(named, chosen, kind="turn", label=label)
            applied = apply(fresh, self._hands())
            session = named.units[0].session
            with self._store.transaction() as base:
                undone = int(not applied.done)
                query = "UPDATE unit SET state = 'done', undone = ? WHERE id = ?"
                base.execute(query, (undone, unit))
                if applied.done:
                    files = ", ".join(shown(path) for path in applied.done[:NAMED])
                    self._tell(base, session, REVERTED.format(files=files), applied.done)
            self._store.rows("PRAGMA synchronous = NORMAL")
            applied.failed += [(i.path, i.why) for i in named.items if i.impossible]
            taken = {item.path for item in fresh}
            applied.failed += [(i.path, CHANGED) for i in chosen if i.path not in taken]
            return applied

    def finish(self) -> Applied | None:
        """Finish an undo that was interrupted; None when there is none."""
        with self._held(), self._alone():
            found = self._store.rows(
                "SELECT id, kind, undoes FROM unit WHERE state = 'applying' ORDER BY id DESC"
            )
            last: Applied | None = None
            for number, kind, undoes in reversed(found):
                assert isinstance(number, int)
                items = [
                    Item(path=path, now=old, target=new)
                    for step in steps_of(self._store, [number])
                    for path, (old, new) in step.delta.items()
                ]
                last = apply(items, self._hands())
                meant: Literal["undo", "redo"] = "redo" if kind == "redo" else "undo"
                self._conclude(number, meant, json.loads(str(undoes)), last)
            return last

    def _announce(
        self, plan: Plan, items: Sequence[Item], *, kind: str = "", label: str = ""
    ) -> tuple[int, list[Item]]:
        """Write down what is going to happen, and keep what it replaces.

        kind: of a unit that takes none of the plan's back.
        """
        store, kept = self._store, self._checkpoints
        store.rows("PRAGMA synchronous = FULL")
        with self._checkpoints.writing() as base:
            fresh: list[Item] = []
            for item in items:
                now = kept.entry(item.path) if item.now is not None else None
                if same(now, item.now) or item.why:
                    fresh.append(Item(path=item.path, now=now, target=item.target))
            delta: Delta = {item.path: (item.now, item.target) for item in fresh}
            numbers = [] if kind else [unit.id for unit in plan.units]
            label = label or ", ".join(unit.label for unit in plan.units)[:200]
            session = plan.units[0].session
            row = (time.time(), session, kind or plan.kind, label, json.dumps(numbers), "applying")
            unit = insert(base, "unit", "at, session, kind, label, undoes, state", row)
            step = (unit, time.time(), plan.kind, "", store.owner, "done", pack_delta(delta))
            insert(base, "step", "unit, at, tool, subject, owner, state, delta", step)
            return unit, fresh

    def _conclude(
        self, unit: int, kind: Literal["undo", "redo"], numbers: Sequence[int], applied: Applied
    ) -> None:
        store = self._store
        with store.transaction() as base:
            base.execute("UPDATE unit SET state = 'done' WHERE id = ?", (unit,))
            turns = list(numbers)
            if kind == "redo":
                marks = ", ".join("?" * len(numbers))
                query = f"SELECT undoes FROM unit WHERE id IN ({marks})"
                turns = [n for (row,) in base.execute(query, turns) for n in json.loads(row)]
            if not applied.hindered:
                done = [(int(kind == "undo"), number) for number in turns]
                done += [(1, number) for number in numbers if kind == "redo"]
                base.executemany("UPDATE unit SET undone = ? WHERE id = ?", done)
            elif not applied.done:
                base.execute("UPDATE unit SET undone = 1 WHERE id = ?", (unit,))
            self._note(base, kind, turns, applied)
        store.rows("PRAGMA synchronous = NORMAL")

    def _note(
        self,
        base: sqlite3.Connection,
        kind: Literal["undo", "redo"],
        turns: Sequence[int],
        applied: Applied,
    ) -> None:
        """What the conversations of these turns are to learn."""
        if not applied.done:
            return
        paths = without_folders(applied.done)
        marks = ", ".join("?" * len(turns))
        query = f"SELECT session, COUNT(*) FROM unit WHERE id IN ({marks}) GROUP BY session"
        for session, count in base.execute(query, list(turns)).fetchall():
            named = ", ".join(shown(path) for path in paths[:NAMED])
            more = len(paths) - NAMED
            files = f"{named} and {more} more" if more > 0 else named
            which = "the last turn" if count == 1 else f"the last {count} turns"
            text = (
                f"[The user undid the changes of {which}: files {files}]"
                if kind == "undo"
                else f"[The user put back the changes of {which} that were undone: files {files}]"
            )
            self._tell(base, session, text, paths)

    def _tell(
        self, base: sqlite3.Connection, session: str, text: str, paths: Sequence[str]
    ) -> None:
        row = (session, text, json.dumps([os.fspath(self._root / path) for path in paths]))
        insert(base, "note", "session, text, paths", row)

    def _hands(self) -> Hands:
        return Hands(self._root, self._store.get, self._store.folder / "backups")

    @contextmanager
    def _held(self) -> Iterator[None]:
        """This process's store, with what killed processes left open closed."""
        kept = self._checkpoints
        with kept.lock:
            try:
                if kept.store.rows("SELECT 1 FROM step WHERE state = 'open' LIMIT 1"):
                    with kept.writing() as base:
                        kept.settle(base, again=True)
                yield
            except (Damaged, OSError, CheckpointError) as error:
                raise UndoError(f"the undo could not be done: {error}") from error

    @contextmanager
    def _alone(self) -> Iterator[None]:
        path = self._store.folder / "undo.lock"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError as error:
            raise UndoError("another undo runs in this workspace: try again") from error
        finally:
            os.close(descriptor)


def refusal(plan: Plan) -> str:
    """Why a plan is not carried out, every path named."""
    lines = [f"  {shown(item.path)}: {item.why}" for item in plan.against]
    return "not undone, because of:\n" + "\n".join(lines)


def shown(path: str) -> str:
    """A path for a person, in one line: bytes that are no text as a mark."""
    text = path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return "".join(chr(0x2400 + ord(char)) if char < " " else char for char in text)


def notes_for(store: Store, session: str) -> list[tuple[int, str, list[str]]]:
    """What a conversation was not told yet: (number, text, absolute paths). Raises StoreError."""
    rows = store.rows(
        "SELECT id, text, paths FROM note WHERE session = ? AND told = 0 ORDER BY id", session
    )
    found: list[tuple[int, str, list[str]]] = []
    for number, text, paths in rows:
        assert isinstance(number, int)
        found.append((number, str(text), list(json.loads(str(paths)))))
    return found


def mark_notes(store: Store, numbers: Sequence[int], *, told: bool) -> None:
    """Whether these notes stand in the conversation. Raises StoreError."""
    with store.transaction() as base:
        for number in numbers:
            base.execute("UPDATE note SET told = ? WHERE id = ?", (int(told), number))


__all__ = ["Plan", "StoreError", "Undo", "UndoError", "mark_notes", "notes_for", "refusal"]
