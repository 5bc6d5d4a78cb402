from __future__ import annotations

import hashlib
import os
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from glmcode.checkpoints import recorder
from glmcode.checkpoints import scan as scanning
from glmcode.checkpoints.entries import Entry, unpack
from glmcode.checkpoints.reading import FULL, LATE
from glmcode.checkpoints.recorder import Checkpoints
from glmcode.checkpoints.scan import Scanner
from glmcode.checkpoints.undo import UndoError
from glmcode.checkpoints.watch import SlowTree
from tests.checkpoints.actor import Changes
from tests.checkpoints.kit import session

Listing = dict[str, Entry]


class Kept:
    """Contents by their sha256, and how often something was kept."""

    def __init__(self) -> None:
        self.objects: dict[bytes, bytes] = {}
        self.puts = 0

    def put(self, data: bytes) -> bytes:
        key = hashlib.sha256(data).digest()
        self.objects[key] = data
        self.puts += 1
        return key

    def listing(self, tree: bytes, prefix: str = "") -> Listing:
        found: Listing = {}
        for name, entry in unpack(self.objects[tree]):
            found[prefix + name] = entry
            if entry.kind == "d":
                found |= self.listing(entry.id, f"{prefix}{name}/")
        return found


def settle(work: Path) -> None:
    """Wait until nothing in a tree is so young that it would be read again."""
    time.sleep(0.12)


def test_a_second_look_at_an_unchanged_tree_reads_nothing(work: Path) -> None:
    for number in range(30):
        (work / f"d{number % 3}").mkdir(exist_ok=True)
        (work / f"d{number % 3}" / f"f{number}").write_text(str(number))
    settle(work)
    kept = Kept()
    one = Scanner(work, kept.put)
    first = one.scan(9)
    kept.puts = 0
    assert one.scan(9) == first and kept.puts == 0


def test_only_what_changed_is_read_again(work: Path) -> None:
    for number in range(30):
        (work / f"d{number % 3}").mkdir(exist_ok=True)
        (work / f"d{number % 3}" / f"f{number}").write_text(str(number))
    settle(work)
    kept = Kept()
    one = Scanner(work, kept.put)
    one.scan(9)
    (work / "d1" / "f1").write_text("other")
    kept.puts = 0
    listing = kept.listing(one.scan(9))
    assert listing["d1/f1"].id == hashlib.sha256(b"other").digest()
    assert kept.puts == 3  # the file, its folder and the root


def test_changes_within_one_tick_of_the_clock_with_size_and_time_put_back_are_seen(
    work: Path,
) -> None:
    path = work / "f"
    kept = Kept()
    one = Scanner(work, kept.put)
    for number in range(200):
        data = b"%03d" % number
        path.write_bytes(data)
        os.utime(path, ns=(10**18, 10**18))
        assert kept.listing(one.scan(9))["f"].id == hashlib.sha256(data).digest()


def test_looks_at_a_changing_tree_are_the_same_as_the_first_look_of_another(work: Path) -> None:
    chance = random.Random(7)
    changes = Changes(work, chance)
    (work / ".gitignore").write_text("*.log\nd1/\n")
    kept = Kept()
    one = Scanner(work, kept.put)
    for number in range(60):
        changes.command()
        if number % 10 == 9:
            (work / ".gitignore").write_text(chance.choice(("*.log\n", "d1/\nsrc/deep\n", "!*\n")))
        fresh = Kept()
        found, wanted = kept.listing(one.scan(9)), Scanner(work, fresh.put)
        assert found == fresh.listing(wanted.scan(9))


def test_what_was_not_reached_in_time_is_told_and_read_later(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(40):
        (work / f"d{number}").mkdir()
        (work / f"d{number}" / "f").write_text(str(number))
    kept = Kept()
    one = Scanner(work, kept.put)
    one.scan(0.0)
    assert one.late
    one.scan(9)
    assert not one.late
    fresh = Kept()
    assert kept.listing(one.scan(9)) == fresh.listing(Scanner(work, fresh.put).scan(9))


def test_from_a_folder_that_was_not_listed_in_time_nothing_is_concluded(work: Path) -> None:
    (work / "old").write_text("old")
    with session(work) as one:
        scan = one.kept.scanner.scan
        limits = iter([0.0])
        one.kept.scanner.scan = lambda limit_s, look_s=0.0: scan(next(limits, limit_s), look_s)  # type: ignore[method-assign]
        one.turn(lambda: (work / "made").write_text("1"))
        assert any("not whole" in text for text in one.kept.take_notices())
        with pytest.raises(UndoError, match="nothing to undo"):
            one.undo()
    assert (work / "old").read_text() == "old"


def test_what_was_read_late_counts_as_neither_made_nor_changed(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (work / "calm").write_text("calm")
    (work / "changed").write_text("1")
    real, late = scanning.read_entry, [True]

    def read(name: str, folder: int | None, put: Callable[[bytes], bytes], **_: str) -> object:
        return real(name, folder, put, refused=LATE if late[0] else "")

    monkeypatch.setattr(scanning, "read_entry", read)
    with session(work) as one:
        one.kept.begin("a turn")
        step = one.kept.before("Bash", "x", command=True)
        assert any("not whole" in text for text in one.kept.take_notices())
        late[0] = False
        (work / "changed").write_text("other")
        (work / "made").write_text("1")
        one.kept.after(step)
        assert one.against() == {"changed": f"what stood there was not kept ({LATE})"}
        one.undo(force=True)
    assert (work / "calm").read_text() == "calm" and not (work / "made").exists()


def test_a_tree_that_takes_too_long_to_look_at_leaves_the_edits_undoable(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (work / "a").write_text("1")

    def never(*_: object) -> bytes:
        raise SlowTree

    with session(work) as one:
        monkeypatch.setattr(one.kept.scanner, "scan", never)
        one.write(work / "a", b"2")
        assert any("takes more than" in text for text in one.kept.take_notices())
        one.undo()
    assert (work / "a").read_text() == "1"


def test_a_tree_of_too_many_files_is_left_out_and_said(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scanning, "MAX_FILES", 10)
    for number in range(5):
        (work / f"d{number}").mkdir()
        for name in range(5):
            (work / f"d{number}" / str(name)).write_text("x")
    with session(work) as one:
        one.turn(lambda: None)
        assert any("more than" in text for text in one.kept.take_notices())
        one.kept.warm(lambda: False)  # ends


def test_a_store_that_is_full_takes_nothing_more_and_says_what_that_means(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (work / "a").write_text("1")
    monkeypatch.setattr(recorder, "FULL_BYTES", 0)
    with session(work) as one:
        one.turn(lambda: (work / "a").write_text("2"))
        (notice,) = one.kept.take_notices()
        assert notice == f"changed, and undo can't bring it back: a ({FULL})"
        assert list(one.against()) == ["a"]


def test_a_later_session_reads_only_what_changed_meanwhile(work: Path) -> None:
    for number in range(30):
        (work / f"d{number % 3}").mkdir(exist_ok=True)
        (work / f"d{number % 3}" / f"f{number}").write_text(str(number))
    settle(work)
    first = Checkpoints(work, "one")
    first.warm(lambda: False)
    first.close()
    (work / "d1" / "f1").write_text("other")
    reads: list[bytes] = []
    second = Checkpoints(work, "two")
    put = second.scanner._put
    second.scanner._put = lambda data: reads.append(data) or put(data)  # type: ignore[func-returns-value]
    second.begin("a turn")
    step = second.before("Bash", "x", command=True)
    assert reads[0] == b"other" and len(reads) == 3
    shutil.rmtree(work / "d2")
    second.after(step)
    second.close()
    with session(work, "two") as one:
        one.undo()
    assert (work / "d2" / "f2").read_text() == "2"


def test_a_later_session_does_not_trust_what_it_knew_when_an_ignore_file_changed(
    work: Path,
) -> None:
    (work / "deep" / "er").mkdir(parents=True)
    (work / "deep" / "er" / "hidden.log").write_text("1")
    (work / "deep" / "er" / "seen").write_text("1")
    (work / ".gitignore").write_text("*.log\n")
    settle(work)
    first = Checkpoints(work, "one")
    first.warm(lambda: False)
    first.close()
    (work / ".gitignore").write_text("nothing\n")
    with session(work, "two") as one:
        one.turn(lambda: (work / "deep" / "er" / "hidden.log").write_text("2"))
        one.undo()
    assert (work / "deep" / "er" / "hidden.log").read_text() == "1"


@pytest.mark.parametrize("damage", [b"", b"no index", bytes(100)])
def test_a_damaged_index_costs_only_time(work: Path, damage: bytes) -> None:
    (work / "a").write_text("1")
    settle(work)
    first = Checkpoints(work, "one")
    first.warm(lambda: False)
    first.close()
    second = Checkpoints(work, "two")
    second.store.rows("UPDATE meta SET value = ? WHERE key = 'index'", damage)
    second.close()
    with session(work, "two") as one:
        one.turn(lambda: (work / "a").write_text("2"))
        one.undo()
    assert (work / "a").read_text() == "1"
