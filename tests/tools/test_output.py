from __future__ import annotations

import os
import re
import tracemalloc
from pathlib import Path

import pytest

from glmcode.tools import output
from glmcode.tools.context import ToolContext
from glmcode.tools.output import Kept, Spill, bounded


def context(tmp_path: Path, limit: int) -> ToolContext:
    return ToolContext(
        workspace=tmp_path,
        spill_folder=tmp_path / "spill",
        environment={},
        result_limit=lambda: limit,
    )


def spilled(text: str) -> Path:
    found = re.search(r"in (/\S+);", text)
    assert found is not None
    return Path(found[1])


LINES = "".join(f"line {n}\n" for n in range(1, 2001))


def test_what_fits_is_returned_as_it_is_and_nothing_is_written(tmp_path: Path) -> None:
    assert bounded(context(tmp_path, 10), "0123456789", name="x") == "0123456789"
    assert bounded(context(tmp_path, 10), "", name="x") == ""
    assert not (tmp_path / "spill").exists()


@pytest.mark.parametrize("keep", ["head", "tail", "both"])
def test_a_cut_keeps_whole_lines_says_how_much_and_names_the_file(
    tmp_path: Path, keep: output.Keep
) -> None:
    text = bounded(context(tmp_path, 1000), LINES, name="grep", keep=keep)
    assert 500 < len(text) <= 1000
    path = spilled(text)
    assert path.read_text() == LINES
    assert "grep" in path.name
    assert f"the whole output is in {path}; Read it with offset and limit" in text
    kept = [line for line in text.splitlines() if not line.startswith("[")]
    assert all(re.fullmatch(r"line \d+", line) for line in kept)
    assert (kept[0] == "line 1") == (keep != "tail")
    assert (kept[-1] == "line 2000") == (keep != "head")
    note = re.search(r"\[(\d+) lines, (\d+) characters cut here", text)
    assert note is not None
    assert int(note[1]) == 2000 - len(kept)
    assert int(note[2]) == len(LINES) - sum(len(line) + 1 for line in kept)


@pytest.mark.parametrize("keep", ["head", "tail", "both"])
@pytest.mark.parametrize("limit", [*range(0, 400, 7), 5000])
def test_no_limit_is_ever_passed(tmp_path: Path, keep: output.Keep, limit: int) -> None:
    for whole in (LINES, "x" * 20_000, "é\n" * 9000, "a\n" + "b" * 9000 + "\nc"):
        assert len(bounded(context(tmp_path, limit), whole, name="x", keep=keep)) <= limit


def test_a_single_long_line_is_cut_inside_and_counted_as_one_line(tmp_path: Path) -> None:
    text = bounded(context(tmp_path, 1000), "a" * 5000 + "b" * 5000, name="x")
    head, note, tail = text.split("\n")
    assert set(head) == {"a"} and set(tail) == {"b"}
    assert note.startswith(f"[1 line, {10_000 - len(head) - len(tail)} characters cut here; ")


def test_the_file_is_private_and_every_one_is_new(tmp_path: Path) -> None:
    ctx = context(tmp_path, 300)
    paths = {spilled(bounded(ctx, LINES, name="../../etc/a b\n")) for _ in range(5)}
    assert len(paths) == 5
    for path in paths:
        assert path.parent == tmp_path / "spill"
        assert path.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "spill").stat().st_mode & 0o777 == 0o700


def test_a_folder_that_cannot_be_made_is_said_and_the_cut_text_still_comes(tmp_path: Path) -> None:
    (tmp_path / "spill").write_text("a file is in the way")
    text = bounded(context(tmp_path, 1000), LINES, name="x")
    assert "the rest could not be saved (" in text
    assert text.startswith("line 1\n") and text.endswith("line 2000\n")


def test_a_full_disk_is_said_and_never_raised(tmp_path: Path) -> None:
    spill = Spill(tmp_path, "full")
    spill.open()
    full = os.open("/dev/full", os.O_WRONLY)
    assert spill._fd is not None
    os.dup2(full, spill._fd)
    os.close(full)
    spill.write("text")
    spill.write("more")
    assert "saving it failed (No space left on device)" in spill.where()
    spill.close()


def test_lone_surrogates_are_written_as_question_marks(tmp_path: Path) -> None:
    spill = Spill(tmp_path, "s")
    spill.write("a\udc80b")
    spill.close()
    assert spill.path is not None and spill.path.read_bytes() == b"a?b"


def test_no_more_than_the_limit_is_saved_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "SPILL_LIMIT", 1024 * 1024)
    spill = Spill(tmp_path, "s")
    for _ in range(30):
        spill.write("é" * 50_001)
    spill.close()
    assert spill.path is not None
    data = spill.path.read_bytes()
    assert 1024 * 1024 - 4 < len(data) <= 1024 * 1024
    assert set(data.decode()) == {"é"}
    assert "only the first 1 MiB of the output are in" in spill.where()


def test_an_output_in_pieces_reads_like_the_same_output_at_once(tmp_path: Path) -> None:
    for size, limit in ((500, 500), (500, 900), (500, 300), (40_000, 500), (9000, 17_000)):
        kept = Kept(Spill(tmp_path / "spill", "x"), size)
        for start in range(0, len(LINES), 17):
            kept.add(LINES[start : start + 17])
        whole = bounded(context(tmp_path, limit), LINES, name="x")
        same = re.sub(r"-[0-9a-f]{8}\.txt", "", kept.text(limit))
        assert same == re.sub(r"-[0-9a-f]{8}\.txt", "", whole)
        if len(LINES) > size:
            assert kept.spill.path is not None and kept.spill.path.read_text() == LINES


def test_an_output_that_fits_is_not_saved(tmp_path: Path) -> None:
    kept = Kept(Spill(tmp_path / "spill", "x"), 100)
    kept.add("a" * 60)
    kept.add("b" * 40)
    assert kept.text(100) == "a" * 60 + "b" * 40
    assert not (tmp_path / "spill").exists()


def test_memory_stays_flat_however_much_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "SPILL_LIMIT", 1024 * 1024)
    kept = Kept(Spill(tmp_path, "x"), 30_000)
    piece = "0123456789abcde\n" * 4096
    tracemalloc.start()
    for _ in range(500):
        kept.add(piece)
        kept.add("z\n")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert kept.characters == 500 * (len(piece) + 2)
    assert peak < 2_000_000
    text = kept.text(2000)
    assert len(text) <= 2000 and text.endswith("z\n") and text.startswith("0123")
