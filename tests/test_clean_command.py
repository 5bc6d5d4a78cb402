from __future__ import annotations

import fcntl
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from glmcode.core.messages import UserMessage
from glmcode.growth import remove, waste
from glmcode.sessions import Journal
from glmcode.tools.spills import outdated, prune

DAY = 86_400


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GLMCODE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def file(path: Path, days: float, size: int = 10) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    os.utime(path, (time.time() - days * DAY,) * 2)
    return path


def glmcode(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "glmcode", "clean", *words],
        env={**os.environ, "GLMCODE_HOME": str(home)},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )


def filled(home: Path) -> dict[str, Path]:
    cache, state = home / "cache", home / "state"
    return {
        "old output": file(cache / "output" / "bash_1.txt", 8),
        "new output": file(cache / "output" / "bash_2.txt", 6),
        "old backup": file(cache / "output" / "backups" / "a.1", 31),
        "new backup": file(cache / "output" / "backups" / "a.2", 20),
        "old store": file(state / "checkpoints" / "gone-0123" / "store.db", 31),
        "new store": file(state / "checkpoints" / "here-0123" / "store.db", 29),
        "old log": file(state / "run" / "box" / "tiny" / "engine.log.1", 9),
        "lock": file(state / "run" / "box" / "tiny" / "lock", 90),
        "map": file(cache / "map" / "tags.sqlite", 90),
    }


def left(files: dict[str, Path]) -> set[str]:
    return {name for name, path in files.items() if path.exists()}


def test_only_what_is_old_and_nobody_could_want_back_goes(home: Path) -> None:
    files = filled(home)
    os.utime(home / "state" / "checkpoints" / "gone-0123", (1, 1))
    done = glmcode(home)
    assert (done.returncode, done.stderr) == (0, "")
    assert left(files) == {"new output", "new backup", "new store", "lock", "map"}
    assert "saved output            1   10 bytes  the oldest 8 days old" in done.stdout
    assert "removed: 40 bytes" in done.stdout
    assert not (home / "state" / "checkpoints" / "gone-0123").exists()


def test_what_was_put_aside_goes_after_a_month(home: Path) -> None:
    old = file(home / "state" / "aside" / "old" / "hooks" / "pre-commit", 40)
    os.utime(home / "state" / "aside" / "old", (1, 1))
    new = file(home / "state" / "aside" / "new", 20)
    link = home / "state" / "aside" / "link"
    link.symlink_to(home / "state")
    os.utime(link, (1, 1), follow_symlinks=False)
    done = glmcode(home)
    assert done.returncode == 0 and "put aside" in done.stdout, done.stderr
    assert not old.parent.parent.exists() and not link.is_symlink() and new.exists()
    assert (home / "state").is_dir()


def test_a_dry_run_shows_the_same_and_removes_nothing(home: Path) -> None:
    files = filled(home)
    done = glmcode(home, "--dry-run")
    assert done.returncode == 0 and "would go: 40 bytes" in done.stdout
    assert left(files) == set(files)


def test_nothing_to_remove_is_said_in_a_home_that_does_not_exist(home: Path) -> None:
    done = glmcode(home)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("nothing to remove\n0 sessions")
    assert not home.exists()


def test_sessions_go_only_if_asked_for_and_agreed_to(home: Path, tmp_path: Path) -> None:
    journal = Journal.create(tmp_path, {"model": "glm"})
    journal.message(UserMessage(text="hello there"))
    journal.close()
    os.utime(journal.path, (time.time() - 100 * DAY,) * 2)
    assert glmcode(home).returncode == 0 and journal.path.exists()
    refused = glmcode(home, "--sessions", "90")
    assert refused.returncode == 2 and "--yes" in refused.stderr and journal.path.exists()
    assert glmcode(home, "--sessions", "120", "--yes").returncode == 0 and journal.path.exists()
    done = glmcode(home, "--sessions", "90", "--yes")
    assert done.returncode == 0 and journal.session_id in done.stdout
    assert not journal.path.exists()


def test_a_session_that_is_held_stays_and_is_named(home: Path, tmp_path: Path) -> None:
    journal = Journal.create(tmp_path, {"model": "glm"})
    journal.message(UserMessage(text="hello there"))
    os.utime(journal.path, (1, 1))
    done = glmcode(home, "--sessions", "1", "--yes")
    assert done.returncode == 1 and "is in use" in done.stderr and journal.path.exists()
    journal.close()


def test_a_store_that_a_living_process_holds_stays(home: Path) -> None:
    store = file(home / "state" / "checkpoints" / "x-1" / "store.db", 90)
    live = file(store.parent / "live" / "abc", 90)
    os.utime(store.parent / "live", (1, 1))
    with live.open("rb+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert waste(7, None) == []
    (found,) = waste(7, None)
    with live.open("rb+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert remove(found) is False and store.exists()
    assert remove(found) is True and not store.parent.exists()


def test_the_log_of_an_engine_that_runs_stays(home: Path) -> None:
    log = file(home / "state" / "run" / "box" / "tiny" / "engine.log", 90)
    lock = file(log.parent / "lock", 90)
    with lock.open("rb+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert waste(7, None) == []
    assert [one.path for one in waste(7, None)] == [log]


@pytest.mark.parametrize("words", [("--days", "x"), ("--days", "-1"), ("extra",), ("--sessions",)])
def test_a_wrong_option_is_a_usage_error(home: Path, words: tuple[str, ...]) -> None:
    done = glmcode(home, *words)
    assert done.returncode == 2 and done.stderr and "Traceback" not in done.stderr


def test_saved_output_is_pruned_by_itself_once_a_day(tmp_path: Path) -> None:
    now = time.time()
    old = file(tmp_path / "a.txt", 8)
    assert prune(tmp_path, now) == 1 and not old.exists()
    again = file(tmp_path / "b.txt", 8)
    assert prune(tmp_path, now + 100) == 0 and again.exists()
    assert prune(tmp_path, now + DAY + 1) == 1 and not again.exists()


def test_the_oldest_goes_where_there_is_too_much_but_nothing_fresh(tmp_path: Path) -> None:
    for number, days in enumerate((0.01, 1, 2, 3)):
        file(tmp_path / str(number), days, 100)
    found = outdated(tmp_path, time.time(), days=7, max_bytes=250)
    assert sorted(one.path.name for one in found) == ["2", "3"]
    assert outdated(tmp_path, time.time(), days=0, max_bytes=0)[0].path.name == "1"
    assert all(one.path.name != "0" for one in outdated(tmp_path, time.time(), days=0))


def test_links_and_folders_among_saved_output_are_left(tmp_path: Path) -> None:
    kept = file(tmp_path / "kept", 90)
    (tmp_path / "output").mkdir()
    (tmp_path / "output" / "link").symlink_to(kept)
    (tmp_path / "output" / "folder").mkdir()
    assert prune(tmp_path / "output", time.time()) == 0 and kept.exists()
    assert prune(tmp_path / "none", time.time()) == 0


def test_several_at_once_remove_each_thing_once_and_none_complains(home: Path) -> None:
    for number in range(300):
        file(home / "cache" / "output" / f"bash-{number}.txt", 30)
    for number in range(40):
        for kind in ("checkpoints", "aside"):
            file(home / "state" / kind / f"x{number}-0" / "store.db", 60)
            os.utime(home / "state" / kind / f"x{number}-0", (1, 1))
    words = [sys.executable, "-m", "glmcode", "clean"]
    environment = {**os.environ, "GLMCODE_HOME": str(home)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    running = [subprocess.Popen(words, env=environment, **pipes) for _ in range(4)]  # type: ignore[call-overload]
    told = [process.communicate(timeout=60) for process in running]
    assert [process.returncode for process in running] == [0] * 4, told
    assert [err for _, err in told] == [""] * 4
    counts = [re.findall(r"^[a-z ]+?  +(\d+)  ", out, re.MULTILINE) for out, _ in told]
    assert sum(int(count) for one in counts for count in one) == 300 + 80
    assert [path for path in home.rglob("*") if path.is_file()] == [home / "state" / "clean.lock"]


def test_what_lies_behind_a_link_is_not_ours(home: Path, tmp_path: Path) -> None:
    mine = [file(tmp_path / "mine" / name, 400) for name in ("a.txt", "d/b.txt", "e/f/engine.log")]
    for folder in (tmp_path / "mine").rglob("*"):
        os.utime(folder, (1, 1))
    (home / "cache").mkdir(parents=True)
    (home / "state").mkdir()
    (home / "cache" / "output").symlink_to(tmp_path / "mine")
    for name in ("checkpoints", "aside", "run"):
        (home / "state" / name).symlink_to(tmp_path / "mine")
    done = glmcode(home, "--days", "0")
    assert done.returncode == 0 and "nothing to remove" in done.stdout
    assert all(path.exists() for path in mine)
    assert prune(home / "cache" / "output") == 0 and mine[0].exists()


def test_what_was_put_aside_today_stays_however_old_it_is(home: Path, tmp_path: Path) -> None:
    from glmcode.sandbox.guard import _move

    old = file(tmp_path / "work" / "pre-commit", 400)
    folder = os.open(old.parent, os.O_RDONLY)
    _move(folder, old.name, home / "state" / "aside")
    os.close(folder)
    (kept,) = (home / "state" / "aside").iterdir()
    assert not old.exists()
    assert glmcode(home).returncode == 0 and kept.exists()


def test_a_store_that_is_being_made_stays(home: Path) -> None:
    store = home / "state" / "checkpoints" / "new-0123"
    store.mkdir(parents=True)
    assert glmcode(home).returncode == 0 and store.is_dir()


def test_what_a_dry_run_counts_is_what_then_goes(home: Path) -> None:
    for number in range(30):
        file(home / "cache" / "output" / f"bash-{number}.txt", number, 100)
        file(home / "state" / "checkpoints" / f"x{number}-0" / "store.db", 2 * number)
        old = time.time() - 2 * number * DAY
        os.utime(home / "state" / "checkpoints" / f"x{number}-0", (old, old))
    before = sorted(home.rglob("*"))
    dry = glmcode(home, "--dry-run")
    assert sorted(home.rglob("*")) == before
    assert glmcode(home).stdout == dry.stdout.replace("would go", "removed")
    assert "nothing to remove" in glmcode(home).stdout
