from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from glmcode.checkpoints import apply as apply_module
from glmcode.checkpoints.prune import MAX_AGE_S, prune
from glmcode.checkpoints.reviewed import accept, accepted
from glmcode.checkpoints.undo import Undo, UndoError, notes_for
from tests.checkpoints.kit import Session, session
from tests.checkpoints.test_hindered import in_the_way


def two(s: Session) -> None:
    """Two files, changed by one turn."""
    for name in ("a", "b"):
        (s.work / name).write_text(f"old {name}\n")
    s.turn(lambda: [(s.work / name).write_text("new\n") for name in ("a", "b")])


def revert(s: Session, name: str, *, force: bool = False) -> list[tuple[str, str]]:
    plan = s.undoing.plan_since(0.0)
    assert plan is not None
    return s.undoing.revert(plan, {name}, force=force).failed


def left(s: Session) -> list[str]:
    plan = s.undoing.plan_since(0.0)
    return [item.path for item in plan.items] if plan is not None else []


def test_one_file_goes_back_and_the_others_stay_to_be_undone(work: Path) -> None:
    with session(work) as s:
        two(s)
        assert revert(s, "a") == [] and left(s) == ["b"]
        assert (work / "a").read_text() == "old a\n" and (work / "b").read_text() == "new\n"
        (note,) = notes_for(s.kept.store, "s")
        assert "files a]" in note[1] and note[2] == [str(work / "a")]
        s.undo()
        assert (work / "a").read_text() == "new\n" and left(s) == ["a", "b"]
        s.undoing.apply(s.undoing.plan_redo())
        assert (work / "a").read_text() == "old a\n"
        s.undo(2)
        assert (work / "a").read_text() == "old a\n" and (work / "b").read_text() == "old b\n"


def test_what_somebody_changed_since_is_refused_and_kept_where_it_is_forced(work: Path) -> None:
    with session(work) as s:
        two(s)
        (work / "a").write_text("mine\n")
        with pytest.raises(UndoError, match="a: changed since"):
            revert(s, "a")
        assert (work / "a").read_text() == "mine\n"
        assert revert(s, "b") == [], "what speaks against one file is nothing to another"
        assert revert(s, "a", force=True) == []
        assert (work / "a").read_text() == "old a\n"
        s.undo()
        assert (work / "a").read_text() == "mine\n"


def test_what_changes_after_the_plan_was_shown_is_left_even_by_force(work: Path) -> None:
    with session(work) as s:
        two(s)
        (work / "a").write_text("mine\n")
        plan = s.undoing.plan_since(0.0)
        assert plan is not None
        (work / "a").write_text("mine, later\n")
        applied = s.undoing.revert(plan, {"a"}, force=True)
        assert [path for path, _ in applied.failed] == ["a"]
        assert (work / "a").read_text() == "mine, later\n"


def test_one_that_could_not_be_done_is_no_turn(work: Path) -> None:
    with session(work) as s:
        (work / "a").write_text("a\n")
        s.turn((work / "a").unlink)
        in_the_way(work, "a")
        assert [path for path, _ in revert(s, "a")] == ["a"]
        assert not (work / "a").exists()
        assert [unit.label for unit in s.undoing.plan(5).units] == ["a turn"]
        assert notes_for(s.kept.store, "s") == []


def test_one_that_was_killed_in_the_middle_is_finished_by_the_next(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with session(work) as s:
        two(s)
    child = os.fork()
    if not child:
        monkeypatch.setattr(
            apply_module, "_put", lambda item, hands: os.kill(os.getpid(), signal.SIGKILL)
        )
        revert(Session(work), "a")
        os._exit(0)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
    with session(work) as s:
        assert (work / "a").read_text() == "new\n"
        done = s.undoing.finish()
        assert done is not None and done.done == ["a"]
        assert (work / "a").read_text() == "old a\n" and left(s) == ["b"]
        s.undo()
        assert (work / "a").read_text() == "new\n"


def test_what_was_accepted_holds_until_it_changes_and_for_its_session_alone(work: Path) -> None:
    with session(work) as s:
        two(s)
        plan = s.undoing.plan_since(0.0)
        assert plan is not None
        accept(s.kept, plan.items[:1])
        accept(s.kept, plan.items[1:])
        assert accepted(s.kept, plan.items) == {"a", "b"}
        (work / "a").write_text("newer\n")
        (work / "b").chmod(0o700)
        again = s.undoing.plan_since(0.0)
        assert again is not None and accepted(s.kept, again.items) == set()
        with session(work, "other") as other:
            assert accepted(other.kept, plan.items) == set()
    with session(work) as s:
        assert accepted(s.kept, plan.items) == {"a", "b"}, "also in a later process"


def test_what_was_accepted_is_forgotten_with_its_session(work: Path) -> None:
    with session(work) as s:
        two(s)
        plan = Undo(s.kept).plan_since(0.0)
        assert plan is not None
        accept(s.kept, plan.items)
        prune(s.kept.store, s.kept.scanner.root.tree)
        assert set(json.loads(s.kept.store.meta("accepted s"))) == {"a", "b"}
        s.kept.store.rows("UPDATE unit SET at = at - ?", MAX_AGE_S + 60)
        prune(s.kept.store, s.kept.scanner.root.tree)
        assert s.kept.store.meta("accepted s") == b""
