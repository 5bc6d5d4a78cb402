"""The log of what was changed, as values: which turns there are, and the steps of each.

Also closes what a killed process left: a step without its second look. Of an edit it is known what
it would have left behind; of a command it is not, and so its changes can't be told from what a
person did afterwards: they are marked, and an undo names them instead of guessing. Must not
change the workspace.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from glmcode.base.ignore import NAMES
from glmcode.checkpoints.entries import Delta, Entry, pack_delta, same, unpack_delta
from glmcode.checkpoints.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """What is undone as one: a turn, or an undo (or redo) of some. at: seconds since the epoch.

    undoes: ids of the units that an undo took back. finished: False for an undo that was
    interrupted.
    """

    id: int
    at: float
    session: str
    kind: Literal["turn", "undo", "redo"]
    label: str
    undoes: tuple[int, ...] = ()
    undone: bool = False
    finished: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class StepChange:
    """What one step changed. torn: glmcode ended during this command, else ""."""

    unit: int
    delta: Delta
    torn: str = ""


def units(store: Store, session: str = "") -> list[Unit]:
    """The units of a session (or of all), oldest first; turns that changed nothing left out."""
    rows = store.rows(
        "SELECT id, at, session, kind, label, undoes, undone, state FROM unit WHERE "
        "EXISTS (SELECT 1 FROM step WHERE unit = unit.id AND length(delta) > 4) ORDER BY id"
    )
    found = [_unit(row) for row in rows]
    return [unit for unit in found if session in ("", unit.session)]


def _unit(row: Sequence[object]) -> Unit:
    number, at, session, kind, label, undoes, undone, state = row
    assert isinstance(number, int) and isinstance(at, float)
    known: Mapping[str, Literal["turn", "undo", "redo"]] = {"undo": "undo", "redo": "redo"}
    return Unit(
        id=number,
        at=at,
        session=str(session),
        kind=known.get(str(kind), "turn"),
        label=str(label),
        undoes=tuple(json.loads(str(undoes) or "[]")),
        undone=bool(undone),
        finished=state == "done",
    )


def steps_of(store: Store, numbers: Sequence[int]) -> list[StepChange]:
    """The steps of units, oldest first. Raises StoreError, Damaged."""
    marks = ", ".join("?" * len(numbers))
    rows = store.rows(
        f"SELECT unit, tool, subject, state, delta FROM step WHERE unit IN ({marks}) ORDER BY id",
        *numbers,
    )
    found: list[StepChange] = []
    for unit, tool, subject, state, delta in rows:
        assert isinstance(unit, int) and isinstance(delta, bytes)
        torn = f"{tool} {subject}" if state == "torn" else ""
        found.append(StepChange(unit=unit, delta=unpack_delta(delta), torn=torn))
    return found


def files_of(store: Store, unit: int) -> list[str]:
    """The paths that a unit changed, sorted; folders only where nothing else tells of them."""
    changed: dict[str, tuple[Entry | None, Entry | None]] = {}
    for step in steps_of(store, [unit]):
        for path, (old, new) in step.delta.items():
            changed[path] = (changed[path][0] if path in changed else old, new)
    kept = [path for path, (old, new) in changed.items() if not same(old, new)]
    return without_folders(kept)


def without_folders(paths: Sequence[str]) -> list[str]:
    """Sorted paths, without the folders of others among them."""
    above = {path[:at] for path in paths for at, char in enumerate(path) if char == "/"}
    return sorted(path for path in paths if path not in above)


def settle(
    store: Store,
    base: sqlite3.Connection,
    entry: Callable[[str], Entry | None],
    changed: Callable[[bytes, float], Delta],
) -> int:
    """Close the steps of processes that are gone, inside a transaction; how many there were.

    entry: what stands at a path now. changed: what differs now from a tree that was recorded at
    some time, as far as it can come from then on.
    """
    rows = store.rows(
        "SELECT id, at, owner, root, known, expected FROM step WHERE state = 'open' ORDER BY id"
    )
    closed = 0
    for number, at, owner, root, known, expected in rows:
        assert isinstance(at, float) and isinstance(root, bytes) and isinstance(known, bytes)
        if store.is_alive(str(owner)):
            continue
        closed += 1
        planned: dict[str, str] = json.loads(str(expected))
        torn = False
        delta: Delta = {}
        for path, (old, _) in unpack_delta(known).items():
            now = entry(path)
            if same(old, now):
                continue
            delta[path] = (old, now)
            ours = now is not None and now.kind == "f" and now.id.hex() == planned.get(path)
            folder = now is not None and now.kind == "d" and old is None
            torn = torn or not (ours or folder)
        if root:
            delta |= changed(root, at)
            torn = torn or bool(delta)
        values = ("torn" if torn else "done", pack_delta(delta), number)
        base.execute("UPDATE step SET state = ?, delta = ? WHERE id = ?", values)
    return closed


def plausible(delta: Delta, root: str, since: float) -> Delta:
    """Without what can't have happened since a moment: things that appeared but are older.

    Such things were there, and only an ignore file that changed shows or hides them; where none
    did, all of it happened.
    """
    if not any(path.rpartition("/")[2] in NAMES for path in delta):
        return delta
    since_ns = int((since - 1.0) * 10**9)
    young: dict[str, bool] = {}

    def is_young(path: str) -> bool:
        if path not in young:
            try:
                young[path] = os.lstat(f"{root}/{path}").st_ctime_ns >= since_ns
            except OSError:
                young[path] = False
        return young[path]

    kept: Delta = {}
    for path, (old, new) in sorted(delta.items()):
        if old is None:
            parts = path.split("/")
            above = ["/".join(parts[:end]) for end in range(1, len(parts) + 1)]
            made = [p for p in above if p == path or delta.get(p, (0, 0))[0] is None]
            if not any(is_young(one) for one in made):
                continue
        elif new is None and os.path.lexists(f"{root}/{path}"):
            continue
        kept[path] = (old, new)
    return kept
