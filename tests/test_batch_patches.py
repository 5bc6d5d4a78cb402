"""Patches of a batch: byte-exact, whatever changed and whatever git is set to."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.batch_kit import Batch, git
from tests.fake_engine import FakeEngine, Reply

CHANGE = r"""
printf 'a\r\nB\r\nc' > crlf.txt
printf '\000\001\377\r\n\200' > binary.bin
printf 'new \351\n' > 'new file.txt'
git mv long.txt moved/long.txt 2>/dev/null || { mkdir -p moved && git mv long.txt moved/long.txt; }
sed -i 's/line 40/line forty/' moved/long.txt
rm gone.txt
chmod +x script.sh
ln -sfn b.txt link
rm swap && mkdir swap && echo inner > swap/inner
printf 'x' > $'tab\tand\nnewline'
printf 'caf\303\251\n' > 'café.txt'
: > empty.txt
echo ignored > made.log
git -c user.name=t -c user.email=t@t commit -qm theirs -a || true
echo 'after the commit' >> crlf.txt
"""


@pytest.fixture
def batch(tmp_path: Path) -> Batch:
    batch = Batch(tmp_path)
    work = batch.work
    (work / "crlf.txt").write_bytes(b"a\r\nb\r\nc\r\n")
    (work / "binary.bin").write_bytes(bytes(range(256)) * 40)
    (work / "long.txt").write_text("".join(f"line {number}\n" for number in range(80)))
    (work / "gone.txt").write_bytes(b"no newline at the end")
    (work / "script.sh").write_bytes(b"#!/bin/sh\n")
    (work / "swap").write_bytes(b"a file\n")
    (work / "link").symlink_to("a.txt")
    (work / ".gitignore").write_bytes(b"*.log\n")
    git(work, "add", "-A")
    git(work, "commit", "-qm", "second")
    return batch


def everything(folder: Path) -> dict[bytes, tuple[str, bytes]]:
    """What git would know of each file: kind and executable bit, and the bytes."""
    found: dict[bytes, tuple[str, bytes]] = {}
    for path in folder.rglob("*"):
        inner, mode = path.relative_to(folder), path.lstat().st_mode
        if inner.parts[0] == ".git" or stat.S_ISDIR(mode):
            continue
        if stat.S_ISLNK(mode):
            told = ("link", os.fsencode(path.readlink()))
        else:
            told = ("executable" if mode & 0o100 else "file", path.read_bytes())
        found[os.fsencode(inner)] = told
    return found


def ran_here(batch: Batch, tmp_path: Path) -> dict[bytes, tuple[str, bytes]]:
    """What the same command makes of a clone."""
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", "--no-hardlinks", str(batch.work), str(clone))
    subprocess.run(["bash", "-c", CHANGE], cwd=clone, check=True, capture_output=True)
    (clone / "made.log").unlink()
    return everything(clone)


SETTINGS = (
    ("diff.noprefix", "true"),
    ("diff.mnemonicPrefix", "true"),
    ("diff.external", "false"),
    ("diff.submodule", "log"),
    ("diff.context", "0"),
    ("diff.relative", "true"),
    ("color.ui", "always"),
    ("color.diff", "always"),
    ("core.safecrlf", "true"),
    ("core.fsmonitor", "true"),
    ("core.splitIndex", "true"),
    ("diff.renames", "copies"),
    ("diff.algorithm", "patience"),
    ("apply.whitespace", "nowarn"),
)


@pytest.mark.parametrize("settings", [(), SETTINGS], ids=["plain", "settings"])
def test_a_patch_gives_every_byte_name_and_mode_back(
    batch: Batch, tmp_path: Path, settings: tuple[tuple[str, str], ...]
) -> None:
    want = ran_here(batch, tmp_path)
    for name, value in settings:
        git(batch.work, "config", name, value)
    batch.tasks({"id": "all", "prompt": "x"})
    call = {"name": "Bash", "arguments": {"command": CHANGE}}
    with FakeEngine([Reply(calls=[call]), Reply(text="done")]) as engine:
        code, _, stderr = batch.run(engine, "--worktrees", "-y")
    assert code == 0, stderr
    git(batch.work, "apply", str(batch.out / "patches" / "all.patch"))
    assert everything(batch.work) == want
    assert want[b"moved/long.txt"][1].count(b"line forty\n") == 1


def test_a_task_that_breaks_its_own_git_still_has_its_patch_and_goes_away(batch: Batch) -> None:
    wreck = (
        "echo changed > a.py; git add a.py; rm .git; "
        "mkdir -p locked/in; echo x > locked/in/x; chmod 500 locked/in locked"
    )
    call = {"name": "Bash", "arguments": {"command": wreck}}
    batch.tasks({"id": "a", "prompt": "x"})
    with FakeEngine([Reply(calls=[call]), Reply(text="done")]) as engine:
        code, _, stderr = batch.run(engine, "--worktrees", "-y")
    assert code == 0, stderr
    patch = (batch.out / "patches" / "a.patch").read_bytes()
    assert b"+changed\n" in patch and b"locked/in/x" in patch
    assert list((batch.out / "worktrees").iterdir()) == []
    assert git(batch.work, "worktree", "list").count("\n") == 1


def test_in_a_sparse_checkout_what_is_not_there_is_not_deleted_by_the_patch(batch: Batch) -> None:
    for name in ("in", "out"):
        (batch.work / name).mkdir()
        (batch.work / name / "f").write_text("x\n")
    git(batch.work, "add", "-A")
    git(batch.work, "commit", "-qm", "third")
    git(batch.work, "sparse-checkout", "set", "in")
    command = "echo y > in/f; mkdir -p far; echo z > far/new"
    call = {"name": "Bash", "arguments": {"command": command}}
    batch.tasks({"id": "a", "prompt": "x"})
    with FakeEngine([Reply(calls=[call]), Reply(text="done")]) as engine:
        code, _, stderr = batch.run(engine, "--worktrees", "-y")
    assert code == 0, stderr
    patch = (batch.out / "patches" / "a.patch").read_text()
    files = [line.split()[-1] for line in patch.splitlines() if line.startswith("diff --git")]
    assert files == ["b/far/new", "b/in/f"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MiB, where this user may mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    if os.geteuid() or subprocess.run(words, capture_output=True).returncode:
        pytest.skip("no disk can be mounted here")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_stops_the_batch_with_a_sentence_and_resume_goes_on(
    batch: Batch, small_disk: Path
) -> None:
    batch.out = small_disk / "out"
    batch.tasks(*({"id": name, "prompt": name} for name in ("one", "two", "three")))
    fill = f"head -c 2000000 /dev/zero > {small_disk}/filler; echo x > a.py"
    call = {"name": "Bash", "arguments": {"command": fill}}
    script = [Reply(text="1"), Reply(calls=[call]), Reply(text="2")]
    words = ("--worktrees", "-y", "--output", str(batch.out))
    with FakeEngine([*script, Reply(text="2"), Reply(text="3")]) as engine:
        code, stdout, stderr = batch.run(engine, *words)
        assert code == 1 and "o space" in stderr and "--resume goes on" in stderr, stderr
        assert "Traceback" not in stderr and stdout == ""
        assert [path.stem for path in (batch.out / "results").iterdir()] == ["one"]
        (small_disk / "filler").unlink()
        code, stdout, stderr = batch.run(engine, *words, "--resume")
    assert code == 0 and stdout.startswith("3 of 3 tasks done"), stderr
    assert batch.record("two")["result"]["result"] == "2"
    assert git(batch.work, "worktree", "list").count("\n") == 1
