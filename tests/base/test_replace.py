from __future__ import annotations

import fcntl
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from glmcode.base import replace
from glmcode.base.files import FileChanged, FileFault, Stopped, digest_of, load
from glmcode.base.locks import LockBusy, folder_lock
from glmcode.base.replace import replace_file


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "folder"
    made.mkdir()
    return made


def swap(path: Path, data: bytes, expected: bytes | None) -> str:
    return replace_file(
        path,
        data,
        expected=None if expected is None else digest_of(expected),
        backups=path.parent.parent / "backups",
    )


def names(folder: Path) -> list[str]:
    return sorted(one.name for one in folder.iterdir())


def script(code: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, text=True
    )


def test_the_digest_of_what_was_written_comes_back(folder: Path) -> None:
    path = folder / "a"
    assert swap(path, b"one", None) == digest_of(b"one")
    assert swap(path, b"two", b"one") == digest_of(b"two")
    assert path.read_bytes() == b"two"
    assert names(folder) == ["a"]


def test_other_content_than_expected_is_left_alone(folder: Path) -> None:
    path = folder / "a"
    path.write_bytes(b"theirs")
    with pytest.raises(FileChanged, match="changed meanwhile"):
        swap(path, b"ours", b"expected")
    with pytest.raises(FileChanged, match="was created by something else"):
        swap(path, b"ours", None)
    assert path.read_bytes() == b"theirs"
    assert names(folder) == ["a"]


@pytest.mark.parametrize("saves", ["rename", "in place", "delete", "directory"])
def test_what_another_program_saves_in_the_last_moment_survives(
    folder: Path, monkeypatch: pytest.MonkeyPatch, saves: str
) -> None:
    path = folder / "a"
    path.write_bytes(b"old")
    real_exchange = replace.exchange
    done: list[bool] = []

    def exchange(first: Path, second: Path) -> bool:
        if not done:
            done.append(True)
            if saves == "rename":
                (folder / "b").write_bytes(b"saved")
                (folder / "b").rename(path)
            elif saves == "in place":
                path.write_bytes(b"saved")
            else:
                path.unlink()
                if saves == "directory":
                    path.mkdir()
        return real_exchange(first, second)

    monkeypatch.setattr(replace, "exchange", exchange)
    with pytest.raises(FileChanged):
        swap(path, b"new", b"old")
    if saves == "delete":
        assert names(folder) == []
    elif saves == "directory":
        assert path.is_dir()
        assert names(folder) == ["a"]
    else:
        assert path.read_bytes() == b"saved"
        assert names(folder) == ["a"]


def test_where_names_cannot_be_exchanged_a_rename_after_a_comparison_does(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder / "a"
    path.write_bytes(b"old")
    monkeypatch.setattr(replace, "exchange", lambda first, second: False)
    swap(path, b"new", b"old")
    assert path.read_bytes() == b"new"

    def late(temporary: Path, target: Path) -> bool:
        target.write_bytes(b"saved")
        return False

    monkeypatch.setattr(replace, "exchange", late)
    with pytest.raises(FileChanged):
        swap(path, b"newer", b"new")
    assert path.read_bytes() == b"saved"
    assert names(folder) == ["a"]


def test_a_folder_without_leave_to_write_still_lets_its_file_be_written(folder: Path) -> None:
    code = (
        "import os, sys\nfrom pathlib import Path\n"
        "from glmcode.base.replace import replace_file\n"
        "from glmcode.base.files import digest_of, load\n"
        "os.chdir(sys.argv[1])\n"
        "if os.geteuid() == 0:\n    os.setgroups([]); os.setegid(65534); os.seteuid(65534)\n"
        "path = Path('folder/a')\n"
        "replace_file(path, b'longer than before', expected=digest_of(b'old'),\n"
        "             backups=Path('backups'))\n"
    )
    (folder / "a").write_bytes(b"old")
    (folder / "a").chmod(0o666)
    backups = folder.parent / "backups"
    backups.mkdir()
    if os.geteuid() == 0:
        os.chown(backups, 65534, 65534)
        folder.parent.chmod(0o755)
    folder.chmod(0o555)
    try:
        subprocess.run([sys.executable, "-c", code, str(folder.parent)], check=True)
    finally:
        folder.chmod(0o755)
    assert (folder / "a").read_bytes() == b"longer than before"
    assert names(folder) == ["a"]
    assert names(backups) == []


def test_a_mounted_file_is_written_in_place(folder: Path) -> None:
    target, source = folder / "a", folder.parent / "source"
    target.write_bytes(b"")
    source.write_bytes(b"old")
    mounted = subprocess.run(["mount", "--bind", str(source), str(target)], check=False)
    if mounted.returncode != 0:
        target.unlink()
        os.link(source, target)
    try:
        swap(target, b"new", b"old")
        assert source.read_bytes() == b"new"
        assert names(folder) == ["a"]
    finally:
        if mounted.returncode == 0:
            subprocess.run(["umount", str(target)], check=True)


def mounted(folder: Path, *options: str) -> bool:
    """Whether a tmpfs could be mounted; an ordinary user may not."""
    command = ["mount", "-t", "tmpfs", *options, "tmpfs", str(folder)]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


@pytest.fixture
def small_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    if mounted(disk, "-o", "size=64k"):
        yield disk
        subprocess.run(["umount", str(disk)], check=True)
        return
    write = os.write

    def fills(fd: int, data: bytes) -> int:
        if os.lseek(fd, 0, os.SEEK_CUR) >= 60_000:
            raise OSError(28, "No space left on device")
        return write(fd, data[:10_000])

    monkeypatch.setattr(os, "write", fills)
    yield disk


def test_a_full_disk_leaves_the_old_file_and_nothing_else(small_disk: Path) -> None:
    path = small_disk / "a"
    path.write_bytes(b"old")
    with pytest.raises(FileFault, match="no space is left on the device"):
        swap(path, b"x" * 100_000, b"old")
    with pytest.raises(FileFault, match="no space is left on the device"):
        swap(small_disk / "new", b"x" * 100_000, None)
    assert path.read_bytes() == b"old"
    assert names(small_disk) == ["a"]


def test_a_full_disk_does_not_damage_a_file_that_is_written_in_place(small_disk: Path) -> None:
    path = small_disk / "a"
    path.write_bytes(b"old" * 1_000)
    os.link(path, small_disk / "b")
    with pytest.raises(FileFault, match="no space is left on the device"):
        swap(path, b"x" * 100_000, b"old" * 1_000)
    assert path.read_bytes() == b"old" * 1_000
    assert names(small_disk) == ["a", "b"]
    assert names(small_disk.parent / "backups") == []


def test_a_read_only_file_system_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    real = mounted(disk)
    (disk / "a").write_bytes(b"old")
    try:
        if real:
            subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        else:
            opens = os.open

            def refuses(path: str, flags: int, mode: int = 0o777) -> int:
                if flags & (os.O_CREAT | os.O_RDWR) and str(disk) in str(path):
                    raise OSError(30, "Read-only file system")
                return opens(path, flags, mode)

            monkeypatch.setattr(os, "open", refuses)
        with pytest.raises(FileFault, match=r"permission denied|read-only file system"):
            swap(disk / "a", b"new", b"old")
        with pytest.raises(FileFault, match="read-only file system"):
            swap(disk / "b", b"new", None)
    finally:
        if real:
            subprocess.run(["umount", str(disk)], check=True)


def test_a_file_size_limit_is_a_clear_sentence(folder: Path) -> None:
    code = (
        "import resource, signal, sys\nfrom pathlib import Path\n"
        "from glmcode.base.replace import replace_file\n"
        "from glmcode.base.files import FileFault\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try:\n    replace_file(Path(sys.argv[1]), b'x' * 5000, expected=None, backups=Path('x'))\n"
        "except FileFault as error:\n    print(error)\n"
    )
    done = script(code, str(folder / "a"))
    assert done.communicate()[0] == "was not written: it would be larger than a file may be\n"
    assert names(folder) == []


def test_being_stopped_before_the_change_leaves_everything(folder: Path) -> None:
    path = folder / "a"
    path.write_bytes(b"old")
    os.link(path, folder / "b")
    for target, expected in ((path, b"old"), (folder / "c", None)):
        with pytest.raises(Stopped):
            replace_file(
                target,
                b"new",
                expected=None if expected is None else digest_of(expected),
                backups=folder.parent / "backups",
                stopped=lambda: True,
            )
    (folder / "b").unlink()
    with pytest.raises(Stopped):
        replace_file(path, b"n", expected=digest_of(b"old"), backups=folder, stopped=lambda: True)
    assert path.read_bytes() == b"old"
    assert names(folder) == ["a"]


def test_a_leftover_of_a_killed_process_is_cleared_away(folder: Path) -> None:
    path = folder / "a"
    path.write_bytes(b"old")
    made = replace._write_temporary(path, b"half", 0o600, replace._Once(None))
    assert made.exists()
    swap(path, b"new", b"old")
    assert names(folder) == ["a"]


def test_a_trap_in_the_place_of_the_temporary_file_is_not_followed(folder: Path) -> None:
    path, victim = folder / "a", folder.parent / "victim"
    path.write_bytes(b"old")
    victim.write_bytes(b"precious")
    made = replace._write_temporary(path, b"", 0o600, replace._Once(None))
    made.unlink()
    made.symlink_to(victim)
    swap(path, b"new", b"old")
    assert victim.read_bytes() == b"precious"
    assert path.read_bytes() == b"new"


def test_a_commit_waits_for_the_folders_lock(folder: Path) -> None:
    path = folder / "a"
    path.write_bytes(b"old")
    fd = os.open(folder, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    writer = threading.Thread(target=swap, args=(path, b"new", b"old"))
    writer.start()
    time.sleep(0.3)
    assert path.read_bytes() == b"old"
    os.close(fd)
    writer.join(10)
    assert path.read_bytes() == b"new"


def test_waiting_for_a_lock_is_bounded(folder: Path) -> None:
    with folder_lock(folder) as held:
        assert held
        with (
            pytest.raises(LockBusy, match="another process has been writing in"),
            folder_lock(folder, wait_s=0.1),
        ):
            pytest.fail("the lock was given twice")
    with folder_lock(folder, wait_s=0.1) as again:
        assert again


_ADDER = """
import re, sys
from pathlib import Path
from glmcode.base.files import FileChanged, FileFault, load
from glmcode.base.replace import replace_file
path, rounds = Path(sys.argv[1]), int(sys.argv[2])
refused = 0
for _ in range(rounds):
    while True:
        now = load(path)
        number = int(re.search(rb"count=(\\d+)", now.data).group(1))
        data = re.sub(rb"count=\\d+", b"count=%d" % (number + 1), now.data)
        try:
            replace_file(path, data, expected=now.digest, backups=path.parent)
            break
        except FileChanged:
            refused += 1
        except FileFault as error:
            assert "something else changed it at once" in str(error)
            break
print(refused)
"""


def test_two_processes_and_an_editor_lose_no_update(folder: Path) -> None:
    path = folder / "a"
    path.write_bytes(b"count=0\n")
    rounds = 100
    workers = [script(_ADDER, str(path), str(rounds)) for _ in range(2)]
    saved = 0
    while any(worker.poll() is None for worker in workers):
        line = f"editor {saved}\n".encode()
        with folder_lock(folder):
            now = load(path).data
            (folder / "editor").write_bytes(now + line)
            (folder / "editor").rename(path)
        saved += 1
        time.sleep(0.002)
    for worker in workers:
        worker.communicate()
        assert worker.returncode == 0
    text = path.read_bytes()
    assert text.startswith(b"count=%d\n" % (2 * rounds))
    assert re.findall(rb"editor (\d+)", text) == [b"%d" % n for n in range(saved)]
    assert names(folder) == ["a"]


def test_an_editor_without_locks_never_loses_what_it_saved_last(folder: Path) -> None:
    path = folder / "a"
    path.write_bytes(b"count=0\n")
    worker = script(_ADDER, str(path), "150")
    saved = b""
    number = 0
    while worker.poll() is None:
        number += 1
        saved = b"count=0 editor=%d\n" % number
        (folder / "editor").write_bytes(saved)
        (folder / "editor").rename(path)
        time.sleep(0.005)
    worker.communicate()
    assert worker.returncode == 0
    assert b"editor=%d\n" % number in path.read_bytes()


_KILLED = """
import sys
from pathlib import Path
from glmcode.base.files import digest_of, load
from glmcode.base.replace import replace_file
path = Path(sys.argv[1])
print("ready", flush=True)
number = 0
while True:
    number += 1
    now = load(path)
    data = (b"%d " % number) * 20_000 + b"end"
    replace_file(path, data, expected=now.digest, backups=path.parent.parent / "backups")
"""


def test_a_kill_at_any_moment_leaves_a_whole_file(folder: Path) -> None:
    path = folder / "a"
    path.write_bytes(b"0 " * 20_000 + b"end")
    for number in range(12):
        worker = script(_KILLED, str(path))
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
        time.sleep(0.003 * number + 0.004)
        worker.send_signal(signal.SIGKILL)
        worker.wait()
        worker.stdout.close()
        words = path.read_bytes().split(b" ")
        assert words[-1] == b"end"
        assert len(words) == 20_001
        assert len(set(words[:-1])) == 1
    last = load(path)
    swap(path, b"after", last.data)
    assert names(folder) == ["a"]
