from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

import pytest

from glmcode.engine.paths import SOCKET_LIMIT, PathsError, engine_paths, known_engines, make_folders


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_folder_is_private_and_named_after_the_profile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLMCODE_HOME", str(tmp_path))
    paths = engine_paths("tiny")
    make_folders(paths)
    assert paths.folder.name == "tiny"
    assert paths.folder.parent.parent == tmp_path / "state" / "run"
    assert mode(paths.folder) == mode(paths.folder.parent) == 0o700
    paths.folder.chmod(0o755)
    make_folders(paths)
    assert mode(paths.folder) == 0o700
    assert [known.name for known in known_engines()] == ["tiny"]


def test_sockets_move_to_a_short_private_folder_when_the_path_is_too_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLMCODE_HOME", str(tmp_path / ("d" * 120)))
    paths = engine_paths("tiny")
    assert len(os.fsencode(paths.socket)) <= SOCKET_LIMIT
    assert paths.folder != paths.socket_folder
    make_folders(paths)
    try:
        assert mode(paths.socket_folder) == mode(paths.socket_folder.parent) == 0o700
        assert engine_paths("tiny") == paths
        assert engine_paths("other").socket_folder != paths.socket_folder
    finally:
        shutil.rmtree(paths.socket_folder)


def test_a_folder_of_somebody_else_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLMCODE_HOME", str(tmp_path))
    paths = engine_paths("tiny")
    make_folders(paths)
    real = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: real + 1)
    with pytest.raises(PathsError, match=f"belongs to another user .uid {real}."):
        make_folders(paths)


def test_a_link_in_the_folder_s_place_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLMCODE_HOME", str(tmp_path))
    paths = engine_paths("tiny")
    paths.folder.parent.mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    paths.folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PathsError, match="is not a folder"):
        make_folders(paths)


def test_a_folder_that_cannot_be_made_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "state").write_text("a file")
    monkeypatch.setenv("GLMCODE_HOME", str(tmp_path))
    with pytest.raises(PathsError, match="cannot be made"):
        make_folders(engine_paths("tiny"))
