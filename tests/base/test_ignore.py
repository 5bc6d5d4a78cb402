from __future__ import annotations

import random
import subprocess
import time
from pathlib import Path

import pytest

from glmcode.base.ignore import parse, rules_for
from glmcode.base.walk import Walk


def put(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x\n")


def walked(root: Path, **options: bool) -> list[str]:
    return list(Walk(str(root), rules_for(str(root), str(root)), **options).files())


def git(root: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-c", "core.excludesFile=/dev/null", *arguments],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def as_git_says(root: Path) -> list[str]:
    listed = git(root, "ls-files", "-z", "--others", "--cached", "--exclude-standard")
    return sorted(listed.split("\0")[:-1])


@pytest.fixture(autouse=True)
def no_global_excludes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from glmcode.base import ignore

    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    ignore._global_excludes.cache_clear()


LINES = [
    "*.log",
    "!keep.log",
    "build/",
    "/top",
    "a/b",
    "**/deep",
    "deep/**",
    "a/**/z",
    "*.[co]",
    "[!a]x",
    "te?t",
    "\\#hash",
    "\\!bang",
    "# comment",
    "sp ace ",
    "trail\\ ",
    "!a/b/keep",
    "dir/*",
    "!dir/keep.log",
    "/a/*/c",
    "x[a-c]y",
    "*",
    "!*/",
    "!*.py",
    "/**/q",
    "foo/",
    "!foo/",
    "a\\*b",
    "",
    "[]]x",
    "[",
    "b*r/**/*.txt",
]
PARTS = ["a", "b", "c", "z", "q", "top", "deep", "build", "dir", "foo", "test", "bar", "xay", "bx"]
FILES = ["a.log", "keep.log", "m.c", "m.o", "x.py", "keep", "#hash", "!bang", "a*b", "]x", "t.txt"]


@pytest.mark.parametrize("seed", range(40))
def test_random_trees_and_rules_are_read_as_git_reads_them(tmp_path: Path, seed: int) -> None:
    pick = random.Random(seed)
    root = tmp_path / "repo"
    root.mkdir()
    for _ in range(60):
        folders = [pick.choice(PARTS) for _ in range(pick.randint(0, 4))]
        path = root.joinpath(*folders, pick.choice(FILES + PARTS))
        if not path.exists() and not any(up.is_file() for up in path.parents):
            put(root, str(path.relative_to(root)))
    folders = [root, *(one for one in root.rglob("*") if one.is_dir())]
    for folder in pick.sample(folders, min(3, len(folders))):
        lines = [pick.choice(LINES) for _ in range(pick.randint(1, 6))]
        (folder / ".gitignore").write_text("\n".join(lines) + "\n")
    git(root, "init", "-q")
    assert walked(root) == as_git_says(root)


def test_hidden_files_are_found_and_version_control_is_not(tmp_path: Path) -> None:
    put(tmp_path, ".github/workflows/ci.yml", ".env", ".git/config", "sub/.git/HEAD", ".hg/x", "a")
    assert walked(tmp_path) == [".env", ".github/workflows/ci.yml", "a"]


def test_ignore_files_count_without_a_repository(tmp_path: Path) -> None:
    put(tmp_path, "a.txt", "node_modules/m.js", "secret/k", "b.tmp", "c.bak")
    (tmp_path / ".gitignore").write_text("node_modules\n")
    (tmp_path / ".ignore").write_text("secret\n")
    (tmp_path / ".rgignore").write_text("*.tmp\n")
    (tmp_path / ".glmcodeignore").write_text("*.bak\n!a.txt\n")
    assert [name for name in walked(tmp_path) if not name.startswith(".")] == ["a.txt"]


def test_a_stronger_ignore_file_wins(tmp_path: Path) -> None:
    put(tmp_path, "a.log", "b.log")
    (tmp_path / ".gitignore").write_text("*.log\n")
    (tmp_path / ".glmcodeignore").write_text("!a.log\n")
    assert walked(tmp_path) == [".gitignore", ".glmcodeignore", "a.log"]


def test_folders_above_lay_their_rules_on_a_search_below_up_to_the_repository(
    tmp_path: Path,
) -> None:
    root = tmp_path / "repo"
    put(root, "src/lib/a.py", "src/lib/b.log", "src/lib/gen/c.py")
    (root / ".gitignore").write_text("*.log\n/src/lib/gen\n")
    (tmp_path / ".gitignore").write_text("*.py\n")
    (root / ".git").mkdir()
    below = str(root / "src" / "lib")
    assert list(Walk(below, rules_for(below, str(root))).files()) == ["a.py"]


def test_an_inner_repository_starts_afresh(tmp_path: Path) -> None:
    put(tmp_path, "inner/a.log", "inner/b.txt", "c.log")
    (tmp_path / ".git").mkdir()
    (tmp_path / "inner" / ".git").mkdir()
    (tmp_path / ".gitignore").write_text("*.log\n")
    assert walked(tmp_path) == [".gitignore", "inner/a.log", "inner/b.txt"]


def test_the_repositorys_own_and_the_users_excludes_count(tmp_path: Path) -> None:
    root = tmp_path / "repo"
    put(root, "a.own", "b.user", "c")
    put(root, ".git/info/exclude")
    (root / ".git/info/exclude").write_text("*.own\n")
    put(tmp_path, "home/.gitconfig", "home/excludes")
    (tmp_path / "home/.gitconfig").write_text("[core]\n\texcludesFile = ~/excludes\n")
    (tmp_path / "home/excludes").write_text("*.user\n")
    assert walked(root) == ["c"]


def test_paths_come_sorted_as_whole_strings(tmp_path: Path) -> None:
    put(tmp_path, "a/b", "a.txt", "a-b", "a0", "B", "ä", "a/a/z", "a/a.py")
    names = walked(tmp_path)
    assert names == sorted(names)
    assert len(names) == 8


def test_links_do_not_trap_the_walk(tmp_path: Path) -> None:
    put(tmp_path, "a/file")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "to_file").symlink_to("a/file")
    (tmp_path / "dead").symlink_to("nothing")
    assert walked(tmp_path) == ["a/file"]
    assert walked(tmp_path, links=True) == ["a/file", "to_file"]


def test_a_very_deep_tree_is_no_fault(tmp_path: Path) -> None:
    deep = tmp_path
    for _ in range(600):
        deep = deep / "d"
    deep.mkdir(parents=True)
    (deep / "end").write_text("x")
    assert walked(tmp_path) == ["d/" * 600 + "end"]


def test_an_unreadable_ignore_file_or_folder_is_passed_over(tmp_path: Path) -> None:
    put(tmp_path, "a")
    (tmp_path / ".gitignore").mkdir()
    (tmp_path / ".ignore").write_bytes(b"\xff\xfe\x00bad\n")
    assert "a" in walked(tmp_path)


def test_hostile_patterns_take_no_time(tmp_path: Path) -> None:
    lines = ["*a" * 40 + "b", "**/a/" * 20 + "b", "/" + "*/" * 30 + "x", "[a-z]*" * 20 + "!"]
    rules = parse("\n".join(lines), "/root")
    began = time.monotonic()
    for number in range(50):
        name = "a" * (200 + number)
        path = "/root/" + "a/" * 100 + name
        assert rules.verdict(name, path, False) is None
    assert time.monotonic() - began < 10
