from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import textwrap
import threading
from pathlib import Path

import pytest

from glmcode.checkpoints.places import too_wide
from glmcode.checkpoints.recorder import Checkpoints
from glmcode.checkpoints.store import store_folder
from glmcode.checkpoints.undo import UndoError
from tests.checkpoints.kit import session
from tests.checkpoints.rounds import git, repository, state_of


def test_names_of_any_bytes_come_back(work: Path) -> None:
    names = [
        b"caf\xe9",
        b"new\nline",
        b"-rf",
        b" ",
        b"tab\t",
        b"\xff\xfe",
        "中文".encode(),
        b"a\\b",
    ]
    for name in names:
        Path(os.fsdecode(os.fsencode(work) + b"/" + name)).write_bytes(name)
    before = state_of(work)
    with session(work) as one:
        one.turn(lambda: [path.unlink() for path in work.iterdir()])
        assert state_of(work) == {}
        one.undo()
    assert state_of(work) == before


def test_fifos_sockets_and_devices_neither_block_nor_come_back(work: Path) -> None:
    os.mkfifo(work / "pipe")
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(work / "s"))
    (work / "plain").write_text("1")

    def act() -> None:
        (work / "pipe").unlink()
        (work / "plain").unlink()
        os.mkfifo(work / "plain")

    with session(work) as one:
        one.turn(act)
        against = one.against()
        assert against["pipe"] == "what stood there was not kept (a FIFO (named pipe))"
        assert against["plain"].startswith("what stands there now can't be kept (a FIFO")
        one.undo(force=True)
    server.close()
    assert (work / "plain").read_text() == "1" and not (work / "pipe").exists()


def test_a_file_that_changes_all_the_time_does_not_hold_up_a_checkpoint(work: Path) -> None:
    path = work / "busy"
    path.write_bytes(b"")
    stop = threading.Event()

    def grow() -> None:
        with path.open("ab") as file:
            while not stop.is_set():
                file.write(b"x" * 1000)
                file.flush()

    (work / "calm").write_text("1")
    thread = threading.Thread(target=grow)
    thread.start()
    try:
        with session(work) as one:
            one.turn(lambda: (work / "calm").write_text("2"))
            stop.set()
            one.undo(force=True)
    finally:
        stop.set()
        thread.join()
    assert (work / "calm").read_text() == "1"


def test_files_that_come_and_go_while_a_tree_is_read_do_no_harm(work: Path) -> None:
    (work / "calm").write_text("1")
    stop = threading.Event()

    def churn() -> None:
        while not stop.is_set():
            folder = work / "t"
            folder.mkdir()
            for number in range(20):
                (folder / str(number)).write_text("x")
            shutil.rmtree(folder)

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        with session(work) as one:
            for number in range(20):
                one.turn(lambda n=number: (work / "calm").write_text(str(n)))  # type: ignore[misc]
    finally:
        stop.set()
        thread.join()
    with session(work) as one:
        one.undo(force=True)
    assert (work / "calm").read_text() == "18"


def test_a_huge_file_is_named_and_a_sparse_one_within_the_limit_comes_back(work: Path) -> None:
    for name, size in (("huge", 10_000_001), ("sparse", 9_000_000)):
        with (work / name).open("wb") as file:
            file.truncate(size)
    with session(work) as one:
        one.turn(lambda: [(work / n).write_bytes(b"small") for n in ("huge", "sparse")])
        assert one.against() == {"huge": "what stood there was not kept (larger than 10 MB)"}
        with pytest.raises(UndoError, match="huge: what stood there was not kept"):
            one.undo()
        failed = one.undo(force=True).failed
    assert [path for path, _ in failed] == ["huge"] and (work / "huge").read_bytes() == b"small"
    assert (work / "sparse").read_bytes() == bytes(9_000_000)


def test_bytes_are_kept_as_they_are_whatever_git_would_make_of_them(work: Path) -> None:
    work.rmdir()
    repository(work)
    before = state_of(work)
    inside = state_of(work / ".git", inside_git=True)
    with session(work) as one:
        one.turn(lambda: [p.write_bytes(b"changed\n") for p in work.glob("*/*.[cm]*")])
        one.turn(lambda: git(work, "config", "--get", "core.autocrlf"))
        one.undo()
    assert state_of(work) == before
    assert state_of(work / ".git", inside_git=True) == inside
    assert "error" not in git(work, "fsck", "--strict")


def test_hard_links_are_not_written_through(work: Path) -> None:
    (work / "a").write_bytes(b"shared")
    (work / "b").write_bytes(b"own")

    def act() -> None:
        (work / "b").unlink()
        (work / "b").hardlink_to(work / "a")

    with session(work) as one:
        one.turn(act)
        one.undo()
    assert (work / "a").read_bytes() == b"shared" and (work / "b").read_bytes() == b"own"


def test_an_edit_through_one_name_of_a_file_is_undone_under_all_of_them(work: Path) -> None:
    (work / "a").write_bytes(b"before")
    (work / "b").hardlink_to(work / "a")
    with session(work) as one:
        one.write(work / "a", b"after")
        assert (work / "b").read_bytes() == b"after"
        one.undo()
    assert (work / "a").read_bytes() == (work / "b").read_bytes() == b"before"


def test_names_that_differ_in_case_alone_are_two_files(work: Path) -> None:
    (work / "Readme").write_text("1")
    with session(work) as one:
        one.turn(lambda: (work / "Readme").rename(work / "README"))
        one.undo()
    assert [p.name for p in work.iterdir()] == ["Readme"]


def test_nested_repositories_and_submodules_are_files_like_others_but_for_their_git(
    work: Path, tmp_path: Path
) -> None:
    work.rmdir()
    repository(work)
    library = tmp_path / "library"
    repository(library)
    git(work, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(library), "sub")
    repository(work / "inner")
    before = state_of(work)
    own = state_of(work / "inner" / ".git", inside_git=True)
    with session(work) as one:
        one.turn(lambda: [(work / n / "a.txt").write_text("new") for n in ("sub", "inner")])
        one.turn(lambda: shutil.rmtree(work / "sub" / "docs"))
        one.undo(2)
    assert state_of(work) == before
    assert state_of(work / "inner" / ".git", inside_git=True) == own


def test_a_git_worktree_and_a_workspace_behind_a_link_are_workspaces(
    work: Path, tmp_path: Path
) -> None:
    work.rmdir()
    repository(work)
    tree = tmp_path / "tree"
    git(work, "worktree", "add", "-q", str(tree))
    pointer = (tree / ".git").read_bytes()
    (tmp_path / "link").symlink_to(tree)
    with session((tmp_path / "link").resolve()) as one:
        one.turn(lambda: (tmp_path / "link" / "a.txt").unlink())
        one.undo()
    assert (tree / ".git").read_bytes() == pointer
    assert (tree / "a.txt").exists() and git(tree, "status", "--porcelain") == ""


def test_a_folder_that_became_a_link_is_not_followed(work: Path, tmp_path: Path) -> None:
    (work / "d").mkdir()
    (work / "d" / "f").write_text("1")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    with session(work) as one:
        one.turn(lambda: (work / "d" / "f").unlink())
        (work / "d").rmdir()
        (work / "d").symlink_to(elsewhere)
        assert one.against() == {"d/f": "d is no folder any more"}
        one.undo(force=True)
    assert list(elsewhere.iterdir()) == [] and (work / "d").is_symlink()


def test_what_an_ignore_file_shows_or_hides_is_neither_made_nor_removed_by_undo(
    work: Path,
) -> None:
    (work / ".gitignore").write_text("secret\nnode_modules/\n")
    (work / "secret").write_text("the only copy")
    (work / "node_modules").mkdir()
    (work / "node_modules" / "m").write_text("m")
    (work / "data").mkdir()
    (work / "data" / "d").write_text("d")
    with session(work) as one:
        one.turn(lambda: (work / ".gitignore").write_text("data/\n"))
        assert [item.path for item in one.undoing.plan().items] == [".gitignore"]
        one.undo()
    assert (work / "secret").read_text() == "the only copy"
    assert (work / "node_modules" / "m").exists() and (work / "data" / "d").exists()


def test_the_root_and_the_home_folder_and_those_above_are_too_wide(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(work / "home" / "me"))
    assert too_wide(Path("/")) and too_wide(work) and too_wide(work / "home" / "me")
    assert not too_wide(work / "home" / "me" / "project") and not too_wide(work / "other")


def test_the_state_folder_inside_of_a_workspace_is_no_part_of_it(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLMCODE_HOME", str(work / "home"))
    with session(work) as one:
        one.turn(lambda: (work / "a").write_text("1"))
        assert [item.path for item in one.undoing.plan().items] == ["a"]


def test_the_store_is_private(work: Path) -> None:
    with session(work) as one:
        one.turn(lambda: (work / "a").write_text("1"))
        for path in [store_folder(work), *store_folder(work).rglob("*")]:
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_a_damaged_store_is_put_aside_and_said(work: Path) -> None:
    folder = store_folder(work)
    folder.mkdir(parents=True)
    (folder / "store.db").write_bytes(b"no database at all" * 1000)
    with session(work) as one:
        one.turn(lambda: (work / "a").write_text("1"))
        (notice,) = one.kept.take_notices()
        assert notice.startswith("the checkpoint store was damaged")
        one.undo()
    assert not (work / "a").exists()
    assert len(list(folder.glob("damaged-*.db"))) == 1


AS_NOBODY = """
    import os, sys
    from pathlib import Path
    os.environ["GLMCODE_HOME"] = sys.argv[2]
    os.environ["HOME"] = "/nonexistent"
    from tests.checkpoints.kit import session
    import glmcode.base.replace, hashlib, shutil, encodings.idna
    if os.geteuid() == 0:  # root may read and write everything
        os.setgroups([]); os.setgid(65534); os.setuid(65534)
    work = Path(sys.argv[1])
    (work / "closed").mkdir(); (work / "closed" / "f").write_text("1")
    (work / "closed" / "f").chmod(0o444); (work / "closed").chmod(0o555)
    (work / "blind").write_text("x"); (work / "blind").chmod(0)
    (work / "dark").mkdir(); (work / "dark" / "f").write_text("1"); (work / "dark").chmod(0)
    def act():
        (work / "closed").chmod(0o755)
        (work / "closed" / "f").unlink()
        (work / "closed" / "g").write_text("2")
        (work / "closed").chmod(0o555)
        (work / "blind").chmod(0o644)
        (work / "blind").write_text("y")
    with session(work) as one:
        one.turn(act)
        print(one.against())
        print(one.undo(force=True).failed)
    mode = (work / "closed").stat().st_mode & 0o777
    print((work / "closed" / "f").read_text(), oct((work / "closed" / "f").stat().st_mode & 0o777))
    print(oct(mode), sorted(os.listdir(work / "closed")))
"""


def test_read_only_folders_are_opened_and_closed_again_and_the_unreadable_is_named() -> None:
    base = Path(tempfile.mkdtemp(prefix="glm-edges-"))
    try:
        base.chmod(0o777)
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(AS_NOBODY), str(base), str(base / "home")],
            capture_output=True, text=True, cwd=Path(__file__).resolve().parents[2], check=False,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
        )  # fmt: skip
    finally:
        shutil.rmtree(base)
    assert done.returncode == 0, done.stderr
    against, failed, file, folder = done.stdout.splitlines()
    assert against == "{'blind': 'what stood there was not kept (may not be read)'}"
    assert failed == "[('blind', 'what stood there was not kept (may not be read)')]"
    assert file == "1 0o444" and folder == "0o555 ['f']"


def test_two_sessions_in_one_workspace_take_turns(work: Path) -> None:
    (work / "a").write_text("0")
    (work / "b").write_text("0")
    with session(work, "one") as one, session(work, "two") as two:
        one.turn(lambda: (work / "a").write_text("1"))
        two.turn(lambda: (work / "b").write_text("2"))
        two.turn(lambda: (work / "a").write_text("2"))
        assert one.against() == {"a": "changed since, by you or another program"}
        two.undo()
        one.undo()
        assert (work / "a").read_text() == "0" and (work / "b").read_text() == "2"
        two.undo()
    assert (work / "b").read_text() == "0"


def test_checkpoints_of_many_sessions_at_once_lose_nothing(work: Path) -> None:
    def run(number: int) -> None:
        folder = work / str(number)
        with session(work, f"s{number}") as one:
            for count in range(5):
                one.kept.begin("turn")
                step = one.kept.before("Write", "f", [str(folder / "f")])
                folder.mkdir(exist_ok=True)
                (folder / "f").write_text(f"{count}")
                one.kept.after(step)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(6):
        with session(work, f"s{number}") as one:
            one.undo(4)
        assert (work / str(number) / "f").read_text() == "0"


def test_a_full_disk_leaves_the_earlier_checkpoints(work: Path) -> None:
    (work / "a").write_text("1")
    with session(work) as one:
        one.turn(lambda: (work / "a").write_text("2"))
        (count,) = one.kept.store.rows("PRAGMA page_count")
        one.kept.store.rows(f"PRAGMA max_page_count = {count[0]}")
        (work / "large").write_bytes(os.urandom(2_000_000))
        one.kept.begin("no room")
        with pytest.raises(Exception, match="database or disk is full"):
            one.kept.before("Bash", "x", command=True)
        one.undo()
    assert (work / "a").read_text() == "1"


def test_nothing_is_opened_before_it_is_needed(work: Path) -> None:
    Checkpoints(work, "s").close()
    assert not store_folder(work).exists()
