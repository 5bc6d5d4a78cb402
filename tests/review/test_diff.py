from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glmcode.review.diff import DiffError, FileDiff, parse_diff


def git(folder: Path, *words: str) -> bytes:
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith("GIT_")},
        "GIT_CONFIG_GLOBAL": os.devnull, "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b",
        "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b",
    }  # fmt: skip
    ran = subprocess.run(
        ["git", *words], cwd=folder, env=environment, check=True, capture_output=True
    )
    return ran.stdout


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q")
    return tmp_path


def staged(repo: Path, *more: str) -> list[FileDiff]:
    git(repo, "add", "-A")
    return parse_diff(git(repo, "diff", "--cached", "-M", *more))


def commit(repo: Path) -> None:
    git(repo, "add", "-A")
    git(repo, "commit", "-q", "--allow-empty", "-m", "x")


def said(file: FileDiff) -> list[tuple[str, str, int | None, int | None]]:
    return [(one.kind, one.text, one.old, one.new) for hunk in file.hunks for one in hunk.lines]


def test_a_change_has_the_numbers_of_both_files(repo: Path) -> None:
    (repo / "a.txt").write_text("one\ntwo\nthree\n")
    commit(repo)
    (repo / "a.txt").write_text("one\n2\nthree\nfour\n")
    (file,) = staged(repo)
    assert (file.path, file.status, file.added, file.removed) == ("a.txt", "modified", 2, 1)
    assert said(file) == [
        (" ", "one", 1, 1), ("-", "two", 2, None), ("+", "2", None, 2), (" ", "three", 3, 3),
        ("+", "four", None, 4),
    ]  # fmt: skip


LINES = st.lists(
    st.sampled_from(
        ["x", "", "--- a/x", "+++ b/x", "@@ -1 +1 @@", "diff --git a/x b/x", "-- ", "\\ No newline",
         "+", "-", "é\t\r", "rename to y", "Binary files a and b differ"]
    ),
    max_size=30,
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(old=LINES, new=LINES, ends=st.booleans(), context=st.integers(0, 4))
def test_what_git_says_of_any_two_files_gives_the_new_file_at_the_numbers_told(
    tmp_path_factory: pytest.TempPathFactory,
    old: list[str],
    new: list[str],
    ends: bool,
    context: int,
) -> None:
    folder = tmp_path_factory.mktemp("two")
    texts = ["\n".join(old) + "\n", "\n".join(new) + ("\n" if ends else "")]
    for name, text in zip("ab", texts, strict=True):
        (folder / name).write_bytes(text.encode())
    ran = subprocess.run(
        ["git", "diff", "--no-index", "--text", f"-U{context}", "a", "b"],
        cwd=folder, capture_output=True,
    )  # fmt: skip
    (file,) = parse_diff(ran.stdout) or [FileDiff("b", "a", "modified")]
    for side, lines in ((0, texts[0].split("\n")), (1, texts[1].split("\n"))):
        for _, text, before, after in said(file):
            number = (before, after)[side]
            assert number is None or lines[number - 1] == text
    kinds = [kind for kind, *_ in said(file)]
    assert (
        kinds.count("+") - kinds.count("-")
        == len(texts[1].splitlines()) - len(texts[0].splitlines())
        or "\r" in texts[0] + texts[1]
    )


def test_renames_copies_modes_and_binary_files_are_told(repo: Path) -> None:
    (repo / "old name.txt").write_text("line\n" * 20)
    (repo / "run.sh").write_text("#!/bin/sh\n")
    (repo / "gone").write_text("x\n")
    commit(repo)
    (repo / "old name.txt").rename(repo / "new name.txt")
    (repo / "run.sh").chmod(0o755)
    (repo / "gone").unlink()
    (repo / "image").write_bytes(bytes(range(256)))
    (repo / "empty").write_text("")
    found = {file.path: file for file in staged(repo)}
    assert {path: file.status for path, file in found.items()} == {
        "new name.txt": "renamed", "run.sh": "mode", "gone": "deleted", "image": "added",
        "empty": "added",
    }  # fmt: skip
    assert found["new name.txt"].old_path == "old name.txt"
    assert found["run.sh"].modes == ("100644", "100755")
    assert found["image"].binary and not found["empty"].hunks
    assert found["gone"].removed == 1


@pytest.mark.parametrize(
    "name", ["with space", "tab\there", 'quo"te', "ümlaut", "new\nline", "back\\slash", "a b/b c"]
)
def test_every_name_that_a_file_system_takes_comes_through(repo: Path, name: str) -> None:
    (repo / name).parent.mkdir(exist_ok=True)
    (repo / name).write_text("x\n")
    assert [file.path for file in staged(repo)] == [name]
    commit(repo)
    (repo / name).write_text("y\n")
    assert [file.path for file in staged(repo)] == [name]
    commit(repo)
    (repo / name).chmod(0o755)
    assert [file.path for file in staged(repo)] == [name]


def test_a_name_that_is_no_utf8_comes_through(repo: Path) -> None:
    name = os.fsdecode(b"caf\xe9.txt")
    (repo / name).write_text("x\n")
    assert [file.path for file in staged(repo)] == [name]


def test_a_binary_patch_hides_no_file_behind_it(repo: Path) -> None:
    (repo / "a.bin").write_bytes(bytes(range(256)) * 9)
    (repo / "b.txt").write_text("x\n")
    found = staged(repo, "--binary")
    assert [(file.path, file.binary) for file in found] == [("a.bin", True), ("b.txt", False)]


def test_a_mail_with_a_patch_and_a_signature_is_read(repo: Path) -> None:
    (repo / "a").write_text("x\n")
    commit(repo)
    (repo / "a").write_text("x\ny\n")
    commit(repo)
    mail = git(repo, "format-patch", "--stdout", "HEAD~1")
    assert b"-- \n" in mail
    (file,) = parse_diff(mail)
    assert said(file) == [(" ", "x", 1, 1), ("+", "y", None, 2)]


def test_what_diff_u_writes_is_read() -> None:
    data = b"--- a.c\t2026-01-01\n+++ a.c\t2026-01-02\n@@ -1 +1,2 @@\n-x\n+y\n+z\n"
    (file,) = parse_diff(data)
    assert (file.path, file.status) == ("a.c", "modified") and said(file)[1:] == [
        ("+", "y", None, 1), ("+", "z", None, 2),
    ]  # fmt: skip


def test_the_missing_newline_at_the_end_is_no_line(repo: Path) -> None:
    (repo / "a").write_text("x")
    (file,) = staged(repo)
    assert said(file) == [("+", "x", None, 1)] and not file.hunks[0].lines[0].ends


@pytest.mark.parametrize("text", [b"", b"hello\n", b"\x00\xff", b"diff\n--- \n+++ \n"])
def test_what_is_no_diff_has_no_files(text: bytes) -> None:
    assert parse_diff(text) == []


def test_a_diff_that_ends_in_the_middle_is_a_fault() -> None:
    with pytest.raises(DiffError, match="middle"):
        parse_diff(b"--- a\n+++ b\n@@ -1,3 +1,3 @@\n x\n")
    with pytest.raises(DiffError, match="no line of a hunk"):
        parse_diff(b"--- a\n+++ b\n@@ -1,3 +1,3 @@\n x\n?\n")
    for head in (b"@@ -1 +1," + b"9" * 5000 + b" @@", b"@@ -1 +one @@"):
        with pytest.raises(DiffError, match="line 3 is no head of a hunk"):
            parse_diff(b"--- a\n+++ b\n" + head + b"\n x\n+y\n")
    with pytest.raises(DiffError, match="merge"):
        parse_diff(b"diff --cc a\nindex 1,2..3\n--- a/a\n+++ b/a\n")
