from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from glmcode.base import replace
from glmcode.base.files import FileChanged, FileFault, Stopped, digest_of
from glmcode.base.replace import replace_file

NEW = b"new content\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "folder"
    made.mkdir()
    return made


def new_file(path: Path) -> None:
    pass


def same_data(path: Path) -> None:
    path.write_bytes(NEW)


def other_data(path: Path) -> None:
    path.write_bytes(b"old\n")


def hard_link(path: Path) -> None:
    path.write_bytes(b"old\n")
    (path.parent / "other name").hardlink_to(path)


def no_exchange(path: Path) -> None:
    path.write_bytes(b"old\n")


Prepare = Callable[[Path], None]


@pytest.fixture(params=[new_file, same_data, other_data, hard_link, no_exchange])
def prepare(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Prepare:
    made: Prepare = request.param
    if made is no_exchange:  # as on file systems that can't exchange two names
        monkeypatch.setattr(replace, "exchange", lambda first, second: False)
    return made


changing = pytest.mark.parametrize(
    "prepare", [new_file, other_data, hard_link, no_exchange], indirect=True
)
through_the_disk = pytest.mark.parametrize("prepare", [new_file, other_data], indirect=True)


def state(folder: Path) -> dict[str, bytes]:
    """What a person sees: our own temporary file is no part of it."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".tmp"}


def put(path: Path, meanwhile: Callable[[], object], **more: Callable[[], bool]) -> str:
    expected = digest_of(path.read_bytes()) if path.exists() else None
    return replace_file(
        path,
        NEW,
        expected=expected,
        backups=path.parent.parent / "backups",
        meanwhile=meanwhile,
        **more,
    )


def test_it_runs_once_and_before_anything_changed(folder: Path, prepare: Prepare) -> None:
    path = folder / "a"
    prepare(path)
    before, seen = state(folder), []
    assert put(path, lambda: seen.append(state(folder))) == digest_of(NEW)
    assert seen == [before]
    assert state(folder) == {**dict.fromkeys(before, NEW), "a": NEW}
    assert [one.name for one in folder.iterdir() if one.suffix == ".tmp"] == []


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, MemoryError])
def test_what_it_raises_is_passed_on_and_nothing_changed(
    folder: Path, prepare: Prepare, error: type[BaseException]
) -> None:
    path = folder / "a"
    prepare(path)
    before = state(folder)
    runs: list[int] = []

    def fail() -> None:
        runs.append(1)
        raise error("no checkpoint")

    with pytest.raises(error, match="no checkpoint"):
        put(path, fail)
    assert runs == [1] and state(folder) == before
    assert sorted(one.name for one in folder.iterdir()) == sorted(before)


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES, errno.EPERM, errno.EROFS])
def test_an_error_of_the_system_in_it_is_not_taken_for_one_of_the_file(
    folder: Path, prepare: Prepare, number: int
) -> None:
    path = folder / "a"
    prepare(path)
    before = state(folder)
    runs: list[int] = []

    def fail() -> None:
        runs.append(1)
        raise OSError(number, os.strerror(number))

    with pytest.raises(FileFault):
        put(path, fail)
    assert runs == [1] and state(folder) == before
    assert sorted(one.name for one in folder.iterdir()) == sorted(before)


def test_where_no_file_can_be_put_beside_it_it_still_runs_once_before_the_change(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder / "a"
    path.write_bytes(b"old\n")
    real = os.open

    def refusing(name: object, *rest: int, **more: int) -> int:
        if str(name).endswith(".tmp"):
            raise PermissionError(errno.EACCES, "the folder is closed")
        return real(name, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", refusing)
    seen: list[dict[str, bytes]] = []
    put(path, lambda: seen.append(state(folder)))
    assert seen == [{"a": b"old\n"}] and path.read_bytes() == NEW


@through_the_disk
def test_it_ran_when_the_disk_fails_and_the_old_content_stands(
    folder: Path, prepare: Prepare, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder / "a"
    prepare(path)
    before = state(folder)
    begun = threading.Event()

    def broken(fd: int) -> None:
        begun.set()
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(replace.os, "fsync", broken)
    runs: list[bool] = []
    with pytest.raises(FileFault):
        put(path, lambda: runs.append(begun.wait(20)))
    assert runs == [True] and state(folder) == before
    assert sorted(one.name for one in folder.iterdir()) == sorted(before)


@through_the_disk
def test_the_bytes_are_on_the_disk_before_the_file_has_them(
    folder: Path, prepare: Prepare, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder / "a"
    prepare(path)
    before, seen = state(folder), []
    ready, real = threading.Event(), os.fsync

    def slow(fd: int) -> None:
        assert ready.wait(20)
        real(fd)
        seen.append(state(folder))

    monkeypatch.setattr(replace.os, "fsync", slow)
    put(path, ready.set)  # it goes on while the disk is waited for
    assert seen == [before] and path.read_bytes() == NEW


def test_a_file_that_was_not_as_expected_lets_nothing_run(folder: Path, prepare: Prepare) -> None:
    path = folder / "a"
    prepare(path)
    path.write_bytes(b"theirs")
    before = state(folder)
    runs: list[int] = []
    with pytest.raises(FileChanged):
        replace_file(
            path,
            NEW,
            expected=digest_of(b"what it was"),
            backups=folder.parent / "backups",
            meanwhile=lambda: runs.append(1),
        )
    assert runs == [] and state(folder) == before


@changing
def test_what_somebody_saves_while_it_runs_is_not_overwritten(
    folder: Path, prepare: Prepare
) -> None:
    path = folder / "a"
    prepare(path)
    with pytest.raises(FileChanged):
        put(path, lambda: path.write_bytes(b"theirs"))
    assert path.read_bytes() == b"theirs"
    assert [one.name for one in folder.iterdir() if one.suffix == ".tmp"] == []


@changing
def test_who_is_stopped_while_it_runs_changes_nothing(folder: Path, prepare: Prepare) -> None:
    path = folder / "a"
    prepare(path)
    before = state(folder)
    stop = threading.Event()
    with pytest.raises(Stopped):
        put(path, stop.set, stopped=stop.is_set)
    assert state(folder) == before
    assert sorted(one.name for one in folder.iterdir()) == sorted(before)
