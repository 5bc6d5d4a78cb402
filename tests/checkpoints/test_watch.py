from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from glmcode.checkpoints import asking, watch
from glmcode.checkpoints.asking import ROOM, Asker, Share
from glmcode.checkpoints.helper import Helper
from glmcode.checkpoints.recorder import Checkpoints
from glmcode.checkpoints.scan import Scanner
from tests.checkpoints.actor import Changes
from tests.checkpoints.test_scan import Kept

WAYS = (True, False)


def share_of(root: Path, folders: list[str]) -> Share:
    names = [
        [b".", *sorted(os.fsencode(path.name) for path in (root / folder).iterdir())]
        for folder in folders
    ]
    paths = [os.fsencode(folder) for folder in folders]
    found = [
        os.lstat(os.fsencode(root / folder) + b"/" + name)
        for folder, some in zip(folders, names, strict=True)
        for name in some
    ]
    return Share(paths, names, [(one.st_ino, one.st_ctime_ns) for one in found])


def differing(root: Path, share: Share, *, native: bool) -> set[int]:
    descriptor = os.open(root, os.O_RDONLY)
    try:
        return Asker(native=native).differing(descriptor, share)
    finally:
        os.close(descriptor)


def make(root: Path, folders: int, files: int) -> list[str]:
    for number in range(folders):
        (root / f"d{number}").mkdir()
        for name in range(files):
            (root / f"d{number}" / f"f{name}").write_text("x")
    return ["", *(f"d{number}" for number in range(folders))]


@pytest.mark.parametrize("native", WAYS)
def test_each_kind_of_change_is_seen_in_its_folder_and_nothing_else(
    work: Path, native: bool
) -> None:
    folders = make(work, 9, 5)
    (work / "d7" / "link").symlink_to("f1")
    (work / "d8" / "odd\udcff\n").write_text("x")
    share = share_of(work, folders)
    assert differing(work, share, native=native) == set()
    status = (work / "d0" / "f0").stat()
    time.sleep(0.02)  # a tick of the clock
    (work / "d0" / "f0").write_text("y")
    os.utime(work / "d0" / "f0", ns=(status.st_atime_ns, status.st_mtime_ns))
    (work / "d1" / "f1").chmod(0o600)
    (work / "d2" / "new").write_text("")
    (work / "d3" / "f3").unlink()
    (work / "d4").chmod(0o700)
    (work / "d5" / "f5").symlink_to("f0")
    (work / "d6").rename(work / "d6-moved")
    (work / "d6").symlink_to("d6-moved")
    (work / "d7" / "link").unlink()
    (work / "d7" / "link").symlink_to("f2")
    # the workspace's own folder differs by what happened to d6
    assert differing(work, share, native=native) == {0, 1, 2, 3, 4, 5, 6, 7, 8}
    (work / "d8" / "odd\udcff\n").touch()
    assert differing(work, share, native=native) == {0, 1, 2, 3, 4, 5, 6, 7, 8, 9}


@pytest.mark.parametrize("native", WAYS)
def test_a_link_is_looked_at_itself_and_not_what_it_points_to(work: Path, native: bool) -> None:
    (work / "target").write_text("x")
    (work / "d").mkdir()
    (work / "d" / "link").symlink_to("../target")
    share = share_of(work, ["d"])
    time.sleep(0.02)
    (work / "target").write_text("y")
    assert differing(work, share, native=native) == set()


@pytest.mark.parametrize("native", WAYS)
@pytest.mark.parametrize("changed", [0, ROOM - 2, ROOM - 1, ROOM, 2 * ROOM + 7])
def test_a_change_is_seen_wherever_in_a_large_folder_it_is(
    work: Path, native: bool, changed: int
) -> None:
    (work / "a").mkdir()
    (work / "z").mkdir()
    (work / "large").mkdir()
    for number in range(2 * ROOM + 8):  # more than are compared at once
        (work / "large" / f"{number:05}").touch()
    share = share_of(work, ["a", "large", "z"])
    assert differing(work, share, native=native) == set()
    time.sleep(0.02)
    (work / "large" / f"{changed:05}").write_text("y")
    assert differing(work, share, native=native) == {1}
    (work / "z" / "new").touch()
    assert differing(work, share, native=native) == {1, 2}
    (work / "a").rmdir()
    assert differing(work, share, native=native) == {0, 1, 2}


@pytest.mark.parametrize("native", WAYS)
@pytest.mark.parametrize("part", ["inodes", "seconds", "fractions"])
def test_every_part_of_what_is_expected_is_compared(work: Path, native: bool, part: str) -> None:
    share = share_of(work, make(work, 3, 4))
    getattr(share, part)[10] += 1  # of d1
    assert differing(work, share, native=native) == {2}


@pytest.mark.skipif(sys.platform != "linux", reason="the fast way is Linux's")
def test_linux_has_the_fast_way() -> None:
    assert asking._statx() is not None


@pytest.fixture
def large(work: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Large enough for a helper: what is large is made small."""
    monkeypatch.setattr(watch, "HELPED_FROM", 1)
    monkeypatch.setattr(watch, "ROOM", 50)  # the last group has room
    make(work, 43, 9)
    time.sleep(0.12)
    return work


@pytest.fixture
def helped(large: Path) -> Iterator[tuple[Scanner, Kept]]:
    kept = Kept()
    scanner = Scanner(large, kept.put)
    with closing(scanner.watch):
        scanner.scan(9)
        scanner.watch.engage()
        yield scanner, kept


def fresh(work: Path) -> object:
    kept = Kept()
    return kept.listing(Scanner(work, kept.put).scan(9))


def answered(helper: Helper, count: int) -> dict[int, set[int]]:
    found: dict[int, set[int]] = {}
    deadline = time.monotonic() + 20
    while len(found) < count and time.monotonic() < deadline:
        found |= dict(helper.answers())
        time.sleep(0.002)
    return found


def test_the_helper_answers_all_it_was_told_from_the_last_to_the_first(work: Path) -> None:
    folders = make(work, 6, 3)
    with closing(Helper(str(work))) as helper:
        for number, folder in enumerate(folders):
            assert helper.tell(number, share_of(work, [folder]))
        helper.flush(9)
        time.sleep(0.02)
        (work / "d2" / "f1").write_text("y")
        helper.ask()
        found = answered(helper, 7)
        assert list(found) == [6, 5, 4, 3, 2, 1, 0]
        assert {number for number, positions in found.items() if positions} == {3}


def test_answers_of_an_earlier_look_do_not_count(work: Path) -> None:
    share = share_of(work, make(work, 1, 3))
    with closing(Helper(str(work))) as helper:
        helper.tell(0, share)
        helper.ask()
        time.sleep(0.5)  # the answer is on its way
        (work / "d0" / "f1").write_text("y")
        helper.ask()
        assert answered(helper, 1) == {0: {1}}


def test_a_look_with_a_helper_finds_what_one_without_finds(
    helped: tuple[Scanner, Kept], large: Path
) -> None:
    scanner, kept = helped
    changes = Changes(large, random.Random(11))
    for _ in range(40):
        changes.command()
        assert kept.listing(scanner.scan(9)) == fresh(large)


def test_a_helper_that_does_not_know_of_a_folder_is_not_believed_about_its_group(
    helped: tuple[Scanner, Kept], large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scanner, kept = helped
    monkeypatch.setattr(watch, "_TOLD_AT_ONCE", 0)  # it never learns of what is new
    hear = scanner.watch._hear

    def patiently(helper: Helper, found: dict[int, set[int]]) -> None:
        deadline = time.monotonic() + 20
        while not found and time.monotonic() < deadline:  # it begins with the last group
            hear(helper, found)

    monkeypatch.setattr(scanner.watch, "_hear", patiently)
    (large / "late").mkdir()
    for number in range(9):  # fits into the last group alone
        (large / "late" / f"f{number}").write_text("1")
    scanner.scan(9)
    folder = scanner.root.folders["late"]
    assert folder.group is scanner.watch._groups[-1] and len(folder.group.folders) > 1
    for number in range(3):
        time.sleep(0.12)
        scanner.scan(9)
        (large / "late" / "f3").write_text("y" * number)
        assert kept.listing(scanner.scan(9)) == fresh(large)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_helper_that_dies_or_stands_still_is_not_waited_for(
    helped: tuple[Scanner, Kept], large: Path, how: signal.Signals
) -> None:
    scanner, kept = helped
    helper = scanner.watch._helper
    assert helper is not None and helper._process is not None
    process = helper._process
    os.kill(process.pid, how)
    began = time.monotonic()
    for number in range(5):
        (large / "d39" / "f1").write_text("y" * number)
        assert kept.listing(scanner.scan(9)) == fresh(large)
    assert time.monotonic() - began < 5
    scanner.watch.close()
    assert process.returncode is not None


def test_a_helper_that_takes_nothing_in_is_given_up(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("glmcode.checkpoints.helper.MAX_KEPT", 1_000_000)
    share = Share([b"d"], [[os.urandom(200) for _ in range(100)]], [(1, 1)] * 100)
    with closing(Helper(str(work))) as helper:
        assert helper._process is not None
        os.kill(helper._process.pid, signal.SIGSTOP)
        told = [helper.tell(number, share) for number in range(100)]
        assert told[0] and not told[-1]
        helper.ask()
        assert list(helper.answers()) == []


def test_a_helper_ends_with_the_process_that_started_it(large: Path) -> None:
    child = os.fork()
    if child == 0:
        with suppress(BaseException):
            helper = Helper(str(large))
            assert helper._process is not None
            (large / "pid").write_text(str(helper._process.pid))
        os._exit(0)
    os.waitpid(child, 0)
    pid = int((large / "pid").read_text())
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z":
                return
        except FileNotFoundError:
            return
        time.sleep(0.02)
    raise AssertionError("it is still there")


def test_a_session_in_a_large_workspace_has_a_helper_and_ends_it(large: Path) -> None:
    kept = Checkpoints(large, "s")
    kept.warm(lambda: False)
    helper = kept.scanner.watch._helper
    assert helper is not None and helper._process is not None
    process = helper._process
    kept.begin("a turn")
    step = kept.before("Bash", "x", command=True)
    (large / "d3" / "f3").write_text("y")
    kept.after(step)
    kept.close()
    assert process.poll() is not None


def test_a_session_in_a_small_workspace_has_none(work: Path) -> None:
    make(work, 3, 3)
    with closing(Checkpoints(work, "s")) as kept:
        kept.warm(lambda: False)
        assert kept.scanner.watch._helper is None


def test_inodes_and_times_of_all_64_bits_are_no_hindrance(work: Path) -> None:
    make(work, 2, 2)
    os.utime(work / "d0" / "f0", (10**10, 10**10))  # in the year 2286
    time.sleep(0.12)
    first = Checkpoints(work, "one")
    first.warm(lambda: False)
    folder = first.scanner.root.folders["d1"]
    folder.rows = [(row[0] + 2**63, *row[1:]) for row in folder.rows]
    first._indexed = b""
    first.close()
    second = Checkpoints(work, "two")
    with second.lock, second.writing():
        pass
    root = second.scanner.root
    again = root.folders["d1"]
    assert dict(zip(again.names, again.rows, strict=True)) == dict(
        zip(folder.names, folder.rows, strict=True)
    )
    assert [row[2] for row in root.folders["d0"].rows].count(0) == 1
    second.close()
