from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from glmcode.context import tag_pool, tagging, worker_process
from glmcode.context.repomap import repository_map
from glmcode.context.tag_pool import Source, TagPool
from glmcode.context.tags import from_bytes

ROOT = Path(__file__).resolve().parents[2]


STRANGERS: set[int] = set()
"""Workers that other tests of this process have left running."""


@pytest.fixture(autouse=True)
def strangers() -> None:
    STRANGERS.clear()
    STRANGERS.update(children())


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GLMCODE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def repository(root: Path, files: int = 60) -> Path:
    for n in range(files):
        folder = root / f"part_{n % 7}"
        folder.mkdir(parents=True, exist_ok=True)
        uses = "\n".join(f"    thing_{(n * k + 3) % files}(value)" for k in range(1, 6))
        (folder / f"m_{n}.py").write_text(
            f"class Class{n}:\n    def method_{n}(self): pass\n\n\n"
            f"def thing_{n}(value):\n{uses}\n    return Class{(n * 5) % files}()\n"
        )
        (folder / f"s_{n}.ts").write_text(f"export function call{n}() {{ call{n + 1}(); }}\n")
    return root


def command(root: Path, home: Path, seed: str = "0", *more: str) -> subprocess.Popen[bytes]:
    environment = {
        **os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": seed, "GLMCODE_HOME": str(home),
    }  # fmt: skip
    return subprocess.Popen(
        [sys.executable, "-m", "glmcode", "map", str(root), *more],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd="/",
    )


def test_processes_with_other_hash_seeds_caches_and_copies_give_the_same_bytes(
    tmp_path: Path,
) -> None:
    tree = repository(tmp_path / "tree")
    copy = repository(tmp_path / "elsewhere" / "copy")
    maps = set()
    for seed, root, where in (
        ("1", tree, "a"),
        ("2", tree, "a"),
        ("3", copy, "b"),
        ("4", copy, "a"),
    ):
        out, errors = command(root, tmp_path / where, seed, "--budget", "700").communicate(
            timeout=60
        )
        assert errors == b""
        maps.add(out)
    assert len(maps) == 1 and maps.pop().count(b"\n") > 30


def test_two_processes_that_begin_at_once_on_an_empty_cache_agree(tmp_path: Path) -> None:
    tree = repository(tmp_path / "tree")
    running = [command(tree, tmp_path / "shared") for _ in range(3)]
    done = [process.communicate(timeout=60) for process in running]
    assert len({out for out, _ in done}) == 1
    assert all(errors == b"" for _, errors in done)


def test_the_second_map_parses_nothing_and_a_changed_file_is_seen_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = repository(tmp_path / "tree", 10)
    first = repository_map(tree, 100_000, len)

    def forbidden(self: TagPool, batch: object) -> None:
        raise AssertionError("something was parsed")

    with monkeypatch.context() as patch:
        patch.setattr(TagPool, "add", forbidden)
        assert repository_map(tree, 100_000, len) == first
    changed = tree / "part_0" / "m_0.py"
    before = changed.stat()
    changed.write_text(changed.read_text().replace("class Class0", "class Klass0"))
    os.utime(changed, ns=(before.st_atime_ns, before.st_mtime_ns))
    second = repository_map(tree, 100_000, len)
    assert " class Klass0\n" in second and " class Class0\n" not in second


def test_a_corrupt_cache_changes_nothing(tmp_path: Path) -> None:
    tree = repository(tmp_path / "tree", 10)
    first = repository_map(tree, 100_000, len)
    path = tagging.cache_file()
    assert path.exists()
    path.write_bytes(b"rubbish" * 1_000)
    assert repository_map(tree, 100_000, len) == first
    assert repository_map(tree, 100_000, len) == first


def hostile(root: Path) -> None:
    dice = random.Random(7)
    root.mkdir()
    (root / "good.py").write_text("class Kept: pass\n")
    for n, end in enumerate(("py", "js", "ts", "tsx", "go", "rs", "c", "cpp", "java", "rb", "php",
                             "cs", "kt", "sh")):  # fmt: skip
        (root / f"noise_{n}.{end}").write_bytes(
            bytes(b or 1 for b in dice.randbytes(20_000)) + b"\n" * 400
        )
        (root / f"deep_{n}.{end}").write_bytes(b"([{\n" * 60_000)
        (root / f"tower_{n}.{end}").write_bytes(b"{\n" * 50_000 + b"}\n" * 50_000)
        (root / f"half_{n}.{end}").write_bytes("ä".encode()[:1] * 3_000 + b"\n" * 40)
    (root / "nested.py").write_text("\n".join(f"{' ' * n}def f{n}():" for n in range(600)))
    (root / "classes.py").write_text("\n".join(f"{' ' * n}class C{n}:" for n in range(600)))
    (root / "names.py").write_text("\n".join(f"def f{n}(): g{n}()" for n in range(20_000)))
    (root / ("x" * 200 + ".py")).write_text("def " + "y" * 5_000 + "(): pass\n")
    os.mkfifo(root / "pipe.py")
    (root / "loop").symlink_to(root)
    Path(os.fsdecode(os.fsencode(root) + b"/bad\xff\n.py")).write_text("class InBadName: pass\n")


def test_a_hostile_repository_ends_in_time_with_what_could_be_read(tmp_path: Path) -> None:
    hostile(tmp_path / "tree")
    began = time.monotonic()
    text = repository_map(tmp_path / "tree", 10**9, len)
    assert time.monotonic() - began < 240
    assert "good.py\n class Kept" in text
    assert "bad??.py\n class InBadName" in text
    assert "\n def f2999()" in text and "def f3001()" not in text
    small = repository_map(tmp_path / "tree", 500, len)
    assert 0 < len(small) <= 500


def test_a_worker_that_is_killed_costs_the_file_it_was_at_and_no_other(tmp_path: Path) -> None:
    found: dict[bytes, bytes] = {}
    killed = threading.Event()

    def done(key: bytes, encoded: bytes) -> None:
        found[key] = encoded
        if len(found) == 5 and not killed.is_set():
            killed.set()
            for pid in children():
                os.kill(pid, signal.SIGKILL)

    sources = [
        Source(b"%d" % n, "python", b"class C%d: pass\n" % n + b"x = f(1)\n" * 3_000)
        for n in range(20)
    ]
    with TagPool(done) as pool:
        pool.add(sources)
    assert killed.is_set()
    assert 19 <= len(found) <= 20
    for key, encoded in found.items():
        assert from_bytes(encoded).definitions[0].name == f"C{key.decode()}"
    assert children() == []


def test_workers_that_cannot_start_or_live_are_given_up_soon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = repository(tmp_path / "tree", 20)
    monkeypatch.setattr(worker_process, "_MAIN", "raise SystemExit(3)")
    began = time.monotonic()
    assert repository_map(tree, 1_000, len) == ""
    monkeypatch.setattr(worker_process.sys, "executable", str(tmp_path / "absent"))
    assert repository_map(tree, 1_000, len) == ""
    assert time.monotonic() - began < 20
    assert children() == []


def test_a_worker_that_falls_silent_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = repository(tmp_path / "tree", 3)
    stalling = worker_process._MAIN.replace(
        "main()",
        "tags = sys.modules['glmcode.context.parse_worker']; real = tags._answer;"
        "import time; tags._answer = lambda w, n, d: "
        "time.sleep(99) if b'class Class1:' in d else real(w, n, d); main()",
    )
    monkeypatch.setattr(worker_process, "_MAIN", stalling)
    monkeypatch.setattr(tag_pool, "SILENCE_S", 1.5)
    text = repository_map(tree, 10_000, len)
    assert " class Class0\n" in text and " class Class2\n" in text and "Class1\n" not in text
    monkeypatch.undo()
    monkeypatch.setenv("GLMCODE_HOME", str(tmp_path / "home"))
    assert " class Class1\n" in repository_map(tree, 10_000, len)


def test_stopping_ends_early_and_leaves_no_process(tmp_path: Path) -> None:
    tree = repository(tmp_path / "tree", 200)
    asked = 0

    def stopped() -> bool:
        nonlocal asked
        asked += 1
        return asked > 700

    assert repository_map(tree, 10_000, len, stopped=stopped) == ""
    assert children() == []


def children() -> list[int]:
    mine = str(os.getpid())
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                status = (entry / "stat").read_text().rpartition(")")[2].split()
                arguments = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if status[1] == mine and b"parse_worker" in arguments:
                found.append(int(entry.name))
    found = [pid for pid in found if pid not in STRANGERS]
    return found
