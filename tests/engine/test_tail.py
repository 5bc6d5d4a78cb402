from __future__ import annotations

from pathlib import Path

import pytest

from glmcode.engine import tail
from glmcode.engine.tail import Tail, bound, rotate


def test_whole_lines_are_read_once_and_progress_bars_are_lines(tmp_path: Path) -> None:
    log = tmp_path / "engine.log"
    follower = Tail(log)
    assert follower.read() == []
    log.write_bytes(b"one\n10%\r20%\rtwo")
    assert follower.read() == ["one", "10%", "20%"]
    with log.open("ab") as file:
        file.write(b" and more\n\xff\n")
    assert follower.read() == ["two and more", "\ufffd"]
    assert list(follower.last) == ["one", "10%", "20%", "two and more", "\ufffd"]


def test_a_new_log_keeps_the_one_before(tmp_path: Path) -> None:
    log = tmp_path / "engine.log"
    rotate(log)
    log.write_text("first\n")
    rotate(log)
    assert not log.exists()
    assert (tmp_path / "engine.log.1").read_text() == "first\n"


def test_a_log_that_grows_too_large_is_cut_under_the_writer_s_hands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "SIZE_LIMIT", 3 << 20)
    log = tmp_path / "engine.log"
    with log.open("ab") as writer:
        writer.write(b"x" * (4 << 20) + b"the end\n")
        writer.flush()
        follower = Tail(log)
        follower.read()
        bound(log)
        writer.write(b"after\n")
        writer.flush()
        assert log.read_bytes() == b"after\n"
        assert (tmp_path / "engine.log.1").read_bytes().endswith(b"the end\n")
        assert follower.read() == ["after"]
