from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from glmcode.checkpoints.apply import Hands, apply
from glmcode.checkpoints.entries import Entry
from glmcode.checkpoints.plan import Item
from glmcode.checkpoints.undo import UndoError
from glmcode.undo_text import described, outcome
from tests.checkpoints.kit import session


def in_the_way(folder: Path, name: str) -> Path:
    """A folder under the name that an undo needs for a moment, so that it can't go on there."""
    mark = hashlib.sha256(b"undo:" + name.encode()).hexdigest()[:16]
    obstacle = folder / f".glmcode-{mark}.tmp"
    obstacle.mkdir()
    return obstacle


def test_an_undo_that_was_hindered_can_be_done_once_more(work: Path) -> None:
    for name in ("a", "b"):
        (work / name).write_text(f"{name}\n")
    with session(work) as s:
        s.turn(lambda: [(work / name).unlink() for name in ("a", "b")])
        obstacle = in_the_way(work, "b")
        plan = s.undoing.plan()
        applied = s.undoing.apply(plan)
        assert [path for path, _ in applied.failed] == ["b"] and applied.hindered
        assert "the same undo once more does what is missing" in outcome(plan, applied)
        assert (work / "a").exists() and not (work / "b").exists()
        obstacle.rmdir()
        assert not s.undo().failed
        assert (work / "b").read_text() == "b\n"
        with pytest.raises(UndoError, match="nothing to undo"):
            s.undoing.plan()
        for _ in range(2):
            s.undoing.apply(s.undoing.plan_redo())
        assert not (work / "a").exists() and not (work / "b").exists()
        s.undo()
        assert (work / "a").exists() and (work / "b").exists()


def test_an_undo_that_could_do_nothing_is_none_that_could_be_redone(work: Path) -> None:
    (work / "a").write_text("a\n")
    with session(work) as s:
        s.turn((work / "a").unlink)
        obstacle = in_the_way(work, "a")
        assert s.undo().failed
        with pytest.raises(UndoError, match="nothing to redo"):
            s.undoing.plan_redo()
        obstacle.rmdir()
        s.undo()
        assert (work / "a").read_text() == "a\n"


def test_a_folder_exchanged_while_a_file_is_put_back_does_not_lead_outside(
    work: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    for folder in (work / "d", outside):
        folder.mkdir()
    (work / "d" / "old").write_text("now\n")

    def get(_: bytes) -> bytes:
        if not (work / "d").is_symlink():
            (work / "d").rename(work / "moved")
            (work / "d").symlink_to(outside)
        return b"back\n"

    def entry(data: bytes, mode: int) -> Entry:
        return Entry("f", mode, hashlib.sha256(data).digest())

    mode = (work / "d" / "old").stat().st_mode & 0o7777
    items = [
        Item(path="d/new", now=None, target=entry(b"back\n", 0o640)),
        Item(path="d/old", now=entry(b"now\n", mode), target=entry(b"back\n", 0o640)),
    ]
    applied = apply(items, Hands(work, get, tmp_path / "backups"))
    assert list(outside.iterdir()) == []
    assert (work / "moved" / "new").read_bytes() == b"back\n"
    assert [path for path, _ in applied.failed] == ["d/old"]


def test_what_an_undo_by_force_would_overwrite_is_shown(work: Path) -> None:
    (work / "a").write_text("one\n")
    with session(work) as s:
        s.write(work / "a", b"two\n")
        (work / "a").write_text("mine\n")
        told = described(s.undoing, s.undoing.plan())
        assert "changed since" in told and "-mine\n+one" in told
        plan = s.undoing.plan()
        (work / "a").write_text("mine, later\n")
        assert "not kept" in described(s.undoing, plan)
