from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from glmcode.base.files import FileChanged
from glmcode.base.pinned import pinned
from glmcode.base.replace import replace_file


def swap(folder: Path, outside: Path) -> Path:
    """Puts a link in a folder's place; returns where the folder is now."""
    moved = folder.with_name(f"{folder.name}-moved")
    folder.rename(moved)
    folder.symlink_to(outside)
    return moved


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    inside, outside = tmp_path / "work" / "d", tmp_path / "outside"
    inside.mkdir(parents=True)
    outside.mkdir()
    return inside, outside


def test_a_folder_that_became_a_link_is_not_followed(places: tuple[Path, Path]) -> None:
    inside, outside = places
    (outside / "f").write_text("theirs\n")
    swap(inside, outside)
    for path in (inside / "f", inside / "new"):
        given = hashlib.sha256(b"theirs\n").hexdigest() if path.name == "f" else None
        with pytest.raises(FileChanged, match="behind a link"):
            replace_file(path, b"ours\n", expected=given, backups=outside.parent / "b")
    assert [path.read_text() for path in outside.iterdir()] == ["theirs\n"]


def test_a_link_higher_up_is_not_followed_either(places: tuple[Path, Path]) -> None:
    inside, outside = places
    (outside / "d").mkdir()
    swap(inside.parent, outside)
    with pytest.raises(FileChanged, match="behind a link"):
        replace_file(inside / "new", b"x", expected=None, backups=outside.parent / "b")
    assert list((outside / "d").iterdir()) == []


@pytest.mark.parametrize("old", [None, b"old\n"])
def test_a_folder_that_is_exchanged_while_a_file_is_written_keeps_the_file(
    places: tuple[Path, Path], old: bytes | None
) -> None:
    inside, outside = places
    if old is not None:
        (inside / "f").write_bytes(old)
        (outside / "f").write_bytes(old)
    moved: list[Path] = []
    replace_file(
        inside / "f",
        b"new\n",
        expected=hashlib.sha256(old).hexdigest() if old is not None else None,
        backups=outside.parent / "b",
        meanwhile=lambda: moved.append(swap(inside, outside)),
    )
    assert (moved[0] / "f").read_bytes() == b"new\n"
    assert [path.read_bytes() for path in outside.iterdir()] == ([old] if old else [])


def test_what_is_held_is_the_folder_and_not_its_name(places: tuple[Path, Path]) -> None:
    inside, outside = places
    with pinned(inside) as held:
        moved = swap(inside, outside)
        (held / "f").write_text("x")
    assert (moved / "f").exists() and list(outside.iterdir()) == []
    with pytest.raises(FileNotFoundError), pinned(inside.parent / "none"):
        pass
    with pytest.raises(NotADirectoryError), pinned(moved / "f"):
        pass
