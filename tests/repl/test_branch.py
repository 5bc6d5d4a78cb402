from __future__ import annotations

import os
from pathlib import Path

from glmcode.repl.branch import branch_of


def repository(folder: Path, head: str) -> Path:
    (folder / ".git").mkdir(parents=True)
    (folder / ".git" / "HEAD").write_text(head)
    return folder


def test_the_branch_is_that_of_the_repository_around_the_folder(tmp_path: Path) -> None:
    repository(tmp_path / "one", "ref: refs/heads/topic/a\n")
    inside = tmp_path / "one" / "src" / "deep"
    inside.mkdir(parents=True)
    assert branch_of(inside) == "topic/a"
    assert branch_of(tmp_path) == ""


def test_a_commit_without_a_branch_shows_its_first_digits(tmp_path: Path) -> None:
    assert branch_of(repository(tmp_path, "0123456789abcdef0123\n")) == "01234567"


def test_a_worktree_has_its_own_branch(tmp_path: Path) -> None:
    main = repository(tmp_path / "main", "ref: refs/heads/main\n")
    named = main / ".git" / "worktrees" / "two"
    named.mkdir(parents=True)
    (named / "HEAD").write_text("ref: refs/heads/two\n")
    tree = tmp_path / "two"
    tree.mkdir()
    (tree / ".git").write_text(f"gitdir: {named}\n")
    assert branch_of(tree) == "two"
    (tree / ".git").write_text("gitdir: ../main/.git/worktrees/two\n")
    assert branch_of(tree) == "two"


def test_what_is_odd_in_the_place_of_a_head_has_no_branch_and_is_not_waited_for(
    tmp_path: Path,
) -> None:
    (tmp_path / ".git").mkdir()
    assert branch_of(tmp_path) == ""
    os.mkfifo(tmp_path / ".git" / "HEAD")
    assert branch_of(tmp_path) == ""
    (tmp_path / ".git" / "HEAD").unlink()
    (tmp_path / ".git" / "HEAD").write_bytes(b"\x1b[2J\xff" * 10)
    assert branch_of(tmp_path) == ""
