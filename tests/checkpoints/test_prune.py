from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from glmcode.checkpoints.prune import MAX_AGE_S, is_due, prune
from glmcode.checkpoints.recorder import Checkpoints
from glmcode.checkpoints.undo import Undo, UndoError


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GLMCODE_HOME", str(tmp_path / "home"))
    folder = (tmp_path / "work").resolve()
    folder.mkdir()
    return folder


def turn(kept: Checkpoints, path: Path, data: bytes) -> None:
    kept.begin(f"write {path.name}")
    step = kept.before("Bash", "write", command=True)
    path.write_bytes(data)
    kept.after(step)


def objects(kept: Checkpoints) -> int:
    (row,) = kept.store.rows("SELECT COUNT(*) FROM object")
    assert isinstance(row[0], int)
    return row[0]


def test_old_turns_go_and_what_is_left_can_still_be_undone(work: Path) -> None:
    kept = Checkpoints(work, "s")
    (work / "a").write_bytes(b"first")
    turn(kept, work / "a", b"second")
    kept.store.rows("UPDATE unit SET at = at - ?", MAX_AGE_S + 60)
    turn(kept, work / "a", b"third")
    before = objects(kept)
    prune(kept.store, kept.scanner.root.tree)
    assert objects(kept) < before
    undo = Undo(kept)
    plan = undo.plan(5)
    assert [unit.label for unit in plan.units] == ["write a"]
    assert undo.apply(plan).failed == [] and (work / "a").read_bytes() == b"second"
    with pytest.raises(UndoError):
        undo.plan()
    kept.close()


def test_a_store_that_is_too_large_loses_its_oldest_turns_but_never_the_last(work: Path) -> None:
    kept = Checkpoints(work, "s")
    for number in range(8):
        turn(kept, work / "a", os.urandom(50_000) + bytes([number]))
    last = (work / "a").read_bytes()
    turn(kept, work / "a", b"short")
    prune(kept.store, kept.scanner.root.tree, max_bytes=150_000)
    undo = Undo(kept)
    assert 1 <= len(undo.turns()) < 9
    undo.apply(undo.plan())
    assert (work / "a").read_bytes() == last
    kept.close()


def test_another_session_stores_again_what_was_pruned_behind_its_back(work: Path) -> None:
    (work / "keep").write_bytes(b"precious")
    one, other = Checkpoints(work, "one"), Checkpoints(work, "other")
    turn(one, work / "a", b"1")
    prune(other.store, b"")  # knows nothing of the workspace
    one.begin("remove it")
    step = one.before("Bash", "rm keep", command=True)
    (work / "keep").unlink()
    one.after(step)
    undo = Undo(one)
    undo.apply(undo.plan())
    assert (work / "keep").read_bytes() == b"precious"
    one.close()
    other.close()


def test_a_step_that_goes_on_in_another_process_is_not_pruned_away(work: Path) -> None:
    (work / "a").write_bytes(b"before")
    one, other = Checkpoints(work, "one"), Checkpoints(work, "other")
    one.begin("slow")
    step = one.before("Bash", "slow", command=True)
    later = time.time() + 2 * MAX_AGE_S
    prune(other.store, b"", now=later)
    (work / "a").write_bytes(b"after")
    one.after(step)
    undo = Undo(one)
    undo.apply(undo.plan())
    assert (work / "a").read_bytes() == b"before"
    one.close()
    other.close()


def test_pruning_is_due_once_a_day(work: Path) -> None:
    kept = Checkpoints(work, "s")
    turn(kept, work / "a", b"1")
    assert is_due(kept.store)
    prune(kept.store, b"")
    assert not is_due(kept.store) and is_due(kept.store, time.time() + 90_000)
    kept.close()
