from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from glmcode.context import tag_cache
from glmcode.context.tag_cache import TagCache

ROOT = Path(__file__).resolve().parents[2]


def test_what_was_put_is_found_by_the_next_one_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "new" / "tags.sqlite"
    cache = TagCache(path)
    assert cache.get([b"a"]) == {}
    cache.put([(b"a", b"1"), (b"b", b"")])
    cache.put([(b"a", b"2")])
    cache.close()
    cache.close()
    again = TagCache(path)
    assert again.get([b"a", b"b", b"c"]) == {b"a": b"1", b"b": b""}
    assert again.get([b"%d" % n for n in range(5_000)]) == {}
    again.close()
    assert (path.parent.stat().st_mode & 0o777) == 0o700


DAMAGE = [
    lambda path: path.write_bytes(b"this is no database at all" * 100),
    lambda path: path.write_bytes(path.read_bytes()[:5_000]),
    lambda path: path.write_bytes(path.read_bytes()[:100] + os.urandom(9_000)),
    lambda path: path.write_bytes(b""),
    lambda path: _another_table(path),
]


def _another_table(path: Path) -> None:
    path.unlink()
    base = sqlite3.connect(path)
    base.execute("CREATE TABLE tags (key TEXT)")
    base.close()


@pytest.mark.parametrize("damage", range(len(DAMAGE)))
def test_a_damaged_file_is_made_anew_or_gone_without(tmp_path: Path, damage: int) -> None:
    path = tmp_path / "tags.sqlite"
    first = TagCache(path)
    first.put((b"%d" % n, b"x" * 200) for n in range(200))
    first.close()
    DAMAGE[damage](path)
    for _ in range(2):
        cache = TagCache(path)
        cache.get([b"1", b"7"])
        cache.put([(b"new", b"value")])
        found = cache.get([b"new"])
        assert found in ({b"new": b"value"}, {})
        cache.close()
    if damage < 4:
        cache = TagCache(path)
        assert cache.get([b"new"]) == {b"new": b"value"}
        cache.close()


def test_where_nothing_can_be_kept_it_goes_on_without(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    (tmp_path / "folder.sqlite").mkdir()
    for path in (tmp_path / "file" / "tags.sqlite", tmp_path / "folder.sqlite"):
        cache = TagCache(path)
        cache.put([(b"a", b"1")])
        assert cache.get([b"a"]) == {}
        cache.close()


def test_a_file_that_grew_too_large_loses_its_older_half(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "tags.sqlite"
    cache = TagCache(path)
    cache.put((b"%04d" % n, b"x" * 1_000) for n in range(1_000))
    monkeypatch.setattr(tag_cache, "MAX_BYTES", 100_000)
    cache.close()
    again = TagCache(path)
    left = sorted(again.get([b"%04d" % n for n in range(1_000)]))
    again.close()
    assert left == [b"%04d" % n for n in range(500, 1_000)]


def test_several_processes_write_and_read_one_file_at_once(tmp_path: Path) -> None:
    path = tmp_path / "tags.sqlite"
    code = (
        "import sys; from pathlib import Path; from glmcode.context.tag_cache import TagCache\n"
        "me = sys.argv[2].encode()\n"
        "for turn in range(30):\n"
        "    cache = TagCache(Path(sys.argv[1]))\n"
        "    cache.put((b'%s-%d-%d' % (me, turn, n), me * 50) for n in range(40))\n"
        "    cache.put([(b'shared-%d' % turn, b'same')])\n"
        "    got = cache.get([b'%s-%d-%d' % (me, turn, n) for n in range(40)])\n"
        "    assert len(got) == 40 and set(got.values()) == {me * 50}, (turn, len(got))\n"
        "    cache.close()\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    running = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(path), name],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in ("one", "two", "three")
    ]
    for process in running:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    cache = TagCache(path)
    keys = [b"%s-%d-%d" % (m, t, n) for m in (b"one", b"two") for t in range(30) for n in range(40)]
    assert len(cache.get(keys)) == 2_400
    cache.close()
