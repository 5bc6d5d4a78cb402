from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from glmcode.checkpoints.entries import unpack_delta
from glmcode.checkpoints.log import units
from glmcode.checkpoints.recorder import CheckpointError, Checkpoints, Step
from glmcode.checkpoints.undo import Undo


@dataclass
class Deed:
    """What an action does; path: the one that an edit names, "" for a command."""

    act: Callable[[Path], object]
    path: str = ""
    turn: bool = False
    """Whether a new turn begins with it."""


def write(name: str, data: str) -> Callable[[Path], object]:
    def act(work: Path) -> None:
        (work / name).parent.mkdir(exist_ok=True)
        (work / name).write_text(data)

    return act


def ignore_all_logs(work: Path) -> None:
    (work / ".gitignore").write_text("*.log\n")
    (work / "noise.log").write_text("noise")


def link_to_it(work: Path) -> None:
    (work / "link").hardlink_to(work / "a")


STORIES: dict[str, list[Deed]] = {
    "commands": [
        Deed(write("a", "2")),
        Deed(write("b/c", "3")),
        Deed(lambda w: (w / "a").unlink()),
    ],
    "edits": [
        Deed(write("a", "2"), "a"),
        Deed(write("b/c", "3"), "b/c"),
        Deed(write("a", "4"), "a"),
    ],
    "mixed": [
        Deed(write("a", "2"), "a"),
        Deed(write("a", "3")),
        Deed(write("b/c", "4"), "b/c"),
        Deed(lambda w: (w / "b/c").chmod(0o600)),
        Deed(lambda w: None),
    ],
    "turns": [
        Deed(write("a", "2")),
        Deed(write("a", "3"), "a", turn=True),
        Deed(write("a", "4"), turn=True),
        Deed(write("x.log", "5"), "x.log"),
    ],
    "ignored": [
        Deed(ignore_all_logs),
        Deed(write("x.log", "1"), "x.log"),
        Deed(write("x.log", "2")),
        Deed(write(".gitignore", "")),
        Deed(write("noise.log", "3")),
    ],
    "linked": [Deed(link_to_it), Deed(write("a", "2"), "a"), Deed(write("b", "3"))],
}


def play(work: Path, story: Sequence[Deed], *, joined: bool) -> tuple[list[object], list[str]]:
    """What stands in the log after it, and what was said."""
    work.mkdir()
    (work / "a").write_text("1")
    kept = Checkpoints(work, "s")
    kept.begin("first")
    due: Step | None = None
    for deed in story:
        if deed.turn:
            kept.begin("next")
        if due is not None and not joined:
            kept.after(due)
            due = None
        paths = [str(work / deed.path)] if deed.path else []
        due = kept.before("T", deed.path, paths, command=not deed.path, due=due)
        deed.act(work)
    assert due is not None
    kept.after(due)
    rows = kept.store.rows("SELECT unit, tool, subject, state, root, known, delta FROM step")
    found: list[object] = []
    for unit, tool, subject, state, root, known, delta in rows:
        assert isinstance(known, bytes) and isinstance(delta, bytes) and isinstance(root, bytes)
        found.append((unit, tool, subject, state, root, unpack_delta(known), unpack_delta(delta)))
    roots = kept.store.rows("SELECT id, label, root FROM unit")
    said = kept.take_notices()
    kept.close()
    return [*found, *roots], said


@pytest.mark.parametrize("story", STORIES.values(), ids=STORIES)
def test_closing_a_step_with_the_look_before_the_next_records_the_same(
    tmp_path: Path, story: list[Deed]
) -> None:
    one = play((tmp_path / "one").resolve(), story, joined=False)
    other = play((tmp_path / "other").resolve(), story, joined=True)
    assert one == other


@pytest.mark.parametrize("story", STORIES.values(), ids=STORIES)
def test_what_was_recorded_so_is_undone(tmp_path: Path, story: list[Deed]) -> None:
    work = (tmp_path / "work").resolve()
    play(work, story, joined=True)
    again = Checkpoints(work, "s")
    undo = Undo(again)
    undo.apply(undo.plan(len(undo.turns())))
    again.close()
    assert (work / "a").read_text() == "1"
    assert {path.name for path in work.iterdir()} <= {"a", "noise.log"}


def test_one_look_serves_both_and_what_changes_after_it_belongs_to_the_next_step(
    work: Path,
) -> None:
    (work / "a").write_text("1")
    kept = Checkpoints(work, "s")
    kept.begin("a turn")
    looks: list[float] = []
    scan = kept.scanner.scan
    kept.scanner.scan = lambda limit_s, look_s=0.0: looks.append(limit_s) or scan(limit_s, look_s)  # type: ignore[func-returns-value,method-assign]
    first = kept.before("Bash", "one", command=True)
    (work / "a").write_text("2")
    second = kept.before("Bash", "two", command=True, due=first)
    (work / "a").write_text("3")
    kept.after(second)
    assert len(looks) == 3
    deltas = kept.store.rows("SELECT delta FROM step ORDER BY id")
    ids = [
        [(old and old.id, new and new.id) for old, new in unpack_delta(delta).values()]
        for (delta,) in deltas
        if isinstance(delta, bytes)
    ]
    assert len(ids[0]) == len(ids[1]) == 1 and ids[0][0][1] == ids[1][0][0]
    kept.close()


def test_a_look_that_was_not_whole_does_not_serve_the_next_step(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (work / "a").write_text("1")
    kept = Checkpoints(work, "s")
    kept.begin("a turn")
    first = kept.before("Bash", "one", command=True)
    for number in range(20):
        (work / f"d{number}").mkdir()
        (work / f"d{number}" / "f").write_text("x")
    monkeypatch.setattr("glmcode.checkpoints.recorder.AFTER_S", -9.0)  # nothing is reached
    second = kept.before("Bash", "two", command=True, due=first)
    (work / "d3" / "f").write_text("y")
    monkeypatch.setattr("glmcode.checkpoints.recorder.AFTER_S", 9.0)
    kept.after(second)
    (row,) = kept.store.rows("SELECT delta FROM step WHERE subject = 'two'")
    assert isinstance(row[0], bytes) and list(unpack_delta(row[0])) == ["d3/f"]
    kept.close()


def full(kept: Checkpoints, room: int = 0) -> None:
    """From now on the store takes no more than so many pages."""
    (pages,) = kept.store.rows("PRAGMA page_count")
    assert isinstance(pages[0], int)
    kept.store.rows(f"PRAGMA max_page_count = {pages[0] + room}")


def test_where_the_next_checkpoint_fails_the_step_before_is_still_open_and_can_be_closed(
    work: Path,
) -> None:
    (work / "a").write_text("1")
    kept = Checkpoints(work, "s")
    kept.begin("a turn")
    first = kept.before("Write", "a", [str(work / "a")])
    (work / "a").write_text("2")
    (work / "large").write_bytes(os.urandom(3_000_000))
    full(kept, 20)
    with pytest.raises(CheckpointError):
        kept.before("Bash", "x", command=True, due=first)
    (state,) = kept.store.rows("SELECT state FROM step")
    assert state == ("open",)
    kept.after(first)
    undo = Undo(kept)
    undo.apply(undo.plan())
    kept.close()
    assert (work / "a").read_text() == "1"


def test_a_turn_whose_first_checkpoint_failed_has_its_entry_when_another_succeeds(
    work: Path,
) -> None:
    (work / ".gitignore").write_text("*.bin\n")
    (work / "a").write_text("1")
    (work / "large.bin").write_bytes(os.urandom(3_000_000))
    kept = Checkpoints(work, "s")
    kept.begin("before it")
    kept.after(kept.before("Write", "a", [str(work / "a")]))
    kept.begin("the turn")
    full(kept, 20)
    with pytest.raises(CheckpointError):  # after the turn's entry was made, in one transaction
        kept.before("Write", "large.bin", [str(work / "large.bin")])
    step = kept.before("Write", "a", [str(work / "a")])
    (work / "a").write_text("2")
    kept.after(step)
    assert [unit.label for unit in units(kept.store)] == ["the turn"]
    undo = Undo(kept)
    undo.apply(undo.plan())
    kept.close()
    assert (work / "a").read_text() == "1"


def test_a_closed_step_says_when_the_undo_could_not_bring_it_back(work: Path) -> None:
    (work / "huge").write_bytes(b"")
    with (work / "huge").open("wb") as file:
        file.truncate(10_000_001)
    time.sleep(0.1)
    kept = Checkpoints(work, "s")
    kept.begin("a turn")
    first = kept.before("Bash", "x", command=True)
    (work / "huge").write_bytes(b"small")
    kept.after(kept.before("Bash", "y", command=True, due=first))
    (said,) = kept.take_notices()
    assert said == "changed, and undo can't bring it back: huge (larger than 10 MB)"
    kept.close()
