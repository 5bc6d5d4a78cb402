from __future__ import annotations

import os
from multiprocessing import get_context
from pathlib import Path

from glmcode.repl.history import KEPT_BYTES, MAX_BYTES, FileHistory, history_file


def entries(path: Path) -> list[str]:
    return list(FileHistory(path).load_history_strings())


def test_entries_come_back_newest_first_in_a_private_file(tmp_path: Path) -> None:
    path = tmp_path / "state" / "history"
    history = FileHistory(path)
    for text in ("one", "two\nlines", "three ☃", "three ☃"):
        history.store_string(text)
    assert entries(path) == ["three ☃", "two\nlines", "one"]
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_damaged_line_or_a_missing_file_loses_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "history"
    assert entries(path) == []
    path.write_bytes(b'"one"\n{"half\n"two"\nnull\n\xff\n')
    assert entries(path) == ["two", "one"]


def test_what_is_no_regular_file_is_not_waited_for_and_nothing_is_written_into_it(
    tmp_path: Path,
) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "zero").symlink_to("/dev/zero")
    for name in ("fifo", "zero"):
        history = FileHistory(tmp_path / name)
        assert list(history.load_history_strings()) == []
        for _ in range(40):
            history.store_string("x" * 4_000)


def test_a_line_nested_too_deep_is_skipped(tmp_path: Path) -> None:
    path = tmp_path / "history"
    path.write_bytes(b'"one"\n' + b"[" * 100_000 + b'\n"two"\n')
    assert entries(path) == ["two", "one"]


def test_a_folder_that_cannot_be_written_is_no_reason_to_stop(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    history = FileHistory(tmp_path / "file" / "history")
    history.store_string("kept in memory only")
    assert list(history.load_history_strings()) == []


def test_the_file_is_cut_at_its_head_when_it_has_grown_too_long(tmp_path: Path) -> None:
    path = tmp_path / "history"
    history = FileHistory(path)
    path.write_bytes(b"".join(b'"old %d"\n' % number for number in range(MAX_BYTES // 10)))
    history.store_string("new")
    assert path.stat().st_size < KEPT_BYTES + 100
    assert entries(path)[:2] == ["new", f"old {MAX_BYTES // 10 - 1}"]


def test_several_terminals_at_once_lose_no_entry(tmp_path: Path) -> None:
    path = tmp_path / "history"
    context = get_context("fork")
    writers = [context.Process(target=write_many, args=(path, name)) for name in "abc"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert len(entries(path)) == 150
    assert [e for e in entries(path) if e.startswith("b")] == [f"b{n}" for n in range(49, -1, -1)]


def write_many(path: Path, name: str) -> None:
    history = FileHistory(path)
    for number in range(50):
        history.store_string(f"{name}{number}")


def test_each_folder_has_its_own_and_what_was_kept_before_comes_after_it(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    (tmp_path / "link").symlink_to(one)
    old = tmp_path / "history"
    old.write_bytes(b'"long ago"\n')
    FileHistory(history_file(tmp_path, one), old).store_string("in one")
    FileHistory(history_file(tmp_path, two), old).store_string("in two")
    path = history_file(tmp_path, tmp_path / "link")
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(FileHistory(path, old).load_history_strings()) == ["in one", "long ago"]
    assert old.read_bytes() == b'"long ago"\n'
