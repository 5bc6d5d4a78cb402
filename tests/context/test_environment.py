from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from glmcode.context.environment import COMMITS, STATUS_LINES, environment, git_lines
from tests.commands import alive, dies, marker

IDENTITY = ("-c", "user.name=t", "-c", "user.email=t@localhost", "-c", "commit.gpgsign=false")


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")


def git(folder: Path, *arguments: str) -> str:
    command = ["git", *IDENTITY, *arguments]
    return subprocess.run(
        command, cwd=folder, check=True, capture_output=True, encoding="utf-8"
    ).stdout.strip()


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    folder = (tmp_path / "repo").resolve()
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    (folder / "a.py").write_text("x = 1\n")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "start here")
    return folder


def test_outside_a_repository_there_are_three_lines(tmp_path: Path) -> None:
    folder = tmp_path.resolve()
    today = time.strftime("%Y-%m-%d")
    text = environment(folder)
    assert text == f"Working directory: {folder}\nDate: {today}\nPlatform: {sys.platform}"


def test_a_clean_repository_tells_branch_status_and_commits(repo: Path) -> None:
    lines = environment(repo).split("\n")
    short = git(repo, "rev-parse", "--short", "HEAD")
    assert lines[3:] == [
        "Git branch: main",
        "Git status: clean",
        "Recent commits:",
        f"{short} start here",
    ]


def test_changes_are_listed_as_git_lists_them_from_where_one_works(repo: Path) -> None:
    (repo / "a.py").write_text("x = 2\n")
    (repo / "sub").mkdir()
    (repo / "sub" / "grüße.txt").write_text("new")
    assert git_lines(repo)[1:4] == ["Git status:", " M a.py", "?? sub/"]
    assert git_lines(repo / "sub")[1:4] == ["Git status:", " M ../a.py", "?? ./"]
    git(repo, "add", "sub")
    assert git_lines(repo)[1:4] == ["Git status:", " M a.py", "A  sub/grüße.txt"]


def test_everything_is_bounded_and_the_rest_counted(repo: Path) -> None:
    for number in range(300):
        (repo / f"{'n' * 200}{number:03d}").write_text("")
    for number in range(10):
        git(repo, "commit", "-q", "--allow-empty", "-m", f"{number} " + "long " * 100)
    lines = git_lines(repo)
    assert f"[and {300 - STATUS_LINES} more]" in lines
    assert len(lines) == 1 + 1 + STATUS_LINES + 1 + 1 + COMMITS
    assert max(map(len, lines)) <= 120


def test_a_repository_without_commits_a_detached_head_and_a_worktree(
    repo: Path, tmp_path: Path
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    git(empty, "init", "-q", "-b", "trunk")
    assert git_lines(empty) == ["Git branch: trunk (no commits yet)", "Git status: clean"]
    short = git(repo, "rev-parse", "--short", "HEAD")
    git(repo, "worktree", "add", "-q", "--detach", str(tmp_path / "tree"))
    assert git_lines(tmp_path / "tree")[:2] == [
        f"Git branch: detached at {short}",
        "Git status: clean",
    ]


def test_a_submodule_and_a_bare_repository_do_no_harm(repo: Path, tmp_path: Path) -> None:
    outer = tmp_path / "outer"
    outer.mkdir()
    git(outer, "init", "-q", "-b", "outer")
    git(outer, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(repo), "inner")
    assert git_lines(outer)[:2] == ["Git branch: outer (no commits yet)", "Git status:"]
    assert git_lines(outer / "inner")[:2] == ["Git branch: main", "Git status: clean"]
    git(tmp_path, "clone", "-q", "--bare", str(repo), "bare.git")
    assert git_lines(tmp_path / "bare.git") == []
    assert git_lines(repo / ".git")[:2] == [
        "Git branch: main",
        "Git status: unknown (this operation must be run in a work tree)",
    ]


@pytest.mark.parametrize(
    "broken", ["HEAD", "index", "objects", "config", "gitfile", "empty", "refs"]
)
def test_a_broken_repository_gives_a_line_and_no_fault(repo: Path, broken: str) -> None:
    folder = repo / ".git"
    match broken:
        case "HEAD" | "index" | "config":
            (folder / broken).write_bytes(b"\0\xffnonsense[")
        case "objects" | "refs":
            (folder / broken).rename(folder / "elsewhere")
        case "gitfile" | "empty":
            folder.rename(repo.parent / "moved")
            folder.write_text("gitdir: /nowhere\n") if broken == "gitfile" else folder.mkdir()
    lines = git_lines(repo)
    assert lines and all(line.strip() for line in lines)
    assert lines[0].startswith(("Git: ", "Git branch: "))
    assert lines != ["Git branch: main", "Git status: clean"]


def test_control_characters_of_a_commit_or_a_name_do_not_arrive(repo: Path) -> None:
    git(repo, "commit", "-q", "--allow-empty", "-m", "red \x1b[31m and \x07")
    (repo / "two\nlines").write_text("")
    text = "\n".join(git_lines(repo))
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", text) and '?? "two\\nlines"' in text


def test_the_index_is_not_touched_and_nothing_of_the_configuration_is_run(
    repo: Path, tmp_path: Path
) -> None:
    hook = tmp_path / "hook"
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\nsleep 30\n")
    hook.chmod(0o755)
    for key in ("core.fsmonitor", "gpg.program"):
        git(repo, "config", key, str(hook))
    git(repo, "config", "log.showSignature", "true")
    os.utime(repo / "a.py", (1, 1))
    index = (repo / ".git" / "index").read_bytes()
    before = sorted(path.name for path in (repo / ".git").iterdir())
    assert git_lines(repo)[:2] == ["Git branch: main", "Git status: clean"]
    assert (repo / ".git" / "index").read_bytes() == index
    assert sorted(path.name for path in (repo / ".git").iterdir()) == before
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("kind", ["clean", "process"])
@pytest.mark.parametrize("name", ["evil", "with.dot and space", "e=q"])
def test_a_filter_of_the_repository_is_not_run_by_looking(
    repo: Path, tmp_path: Path, kind: str, name: str
) -> None:
    git(repo, "config", f"filter.{name}.{kind}", f"touch {tmp_path}/ran; cat")
    git(repo, "config", f"filter.{name}.required", "true")
    (repo / ".git" / "info").mkdir(exist_ok=True)
    (repo / ".git" / "info" / "attributes").write_text(
        "" if " " in name or "=" in name else f"* filter={name}\n"
    )
    (repo / "a.py").write_bytes((repo / "a.py").read_bytes()[::-1])
    lines = git_lines(repo)
    assert not (tmp_path / "ran").exists()
    known = [] if "=" in name else ["Git status:", " M a.py"]
    assert lines[0] == "Git branch: main" and lines[1:][: len(known)] == known


def test_a_filter_of_the_persons_own_settings_says_what_is_changed(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = tmp_path / "gitconfig"
    settings.write_text('[filter "upper"]\n\tclean = tr a-z A-Z\n')
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(settings))
    (repo / "b.txt").write_text("x\n")
    (repo / ".gitattributes").write_text("b.txt filter=upper\n")
    git(repo, "add", "-A")
    git(repo, "commit", "-q", "-m", "filtered")
    (repo / "b.txt").write_text("X\n")
    assert git_lines(repo)[:2] == ["Git branch: main", "Git status: clean"]


SLOW_GIT = """#!/bin/sh
case "$*" in
  *"{word}"*) sleep {mark} & sleep {mark};;
  *) exec {git} "$@";;
esac
"""
ASK = (
    "import sys, time; from pathlib import Path; import glmcode.context.environment as e; "
    "t = time.monotonic(); print('\\n'.join(e.git_lines(Path(sys.argv[1]), 0.5))); "
    "print(time.monotonic() - t)"
)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        (" status ", "Git status: no answer within 0.5 s"),
        (" log ", "Git branch: main"),
        ("--", "Git: no answer within 0.5 s"),
        ("version", "Git: it could not be asked"),
    ],
)
def test_a_git_that_hangs_costs_the_limit_and_one_line(
    repo: Path, tmp_path: Path, word: str, said: str
) -> None:
    mark = marker()
    program = tmp_path / "bin" / "git"
    program.parent.mkdir()
    real = subprocess.run(["which", "git"], capture_output=True, text=True).stdout.strip()
    program.write_text(SLOW_GIT.format(word=word, git=real, mark=mark))
    program.chmod(0o755)
    environment = {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}"}
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", ASK, str(repo)],
        env=environment, capture_output=True, text=True, timeout=25, check=True,
    )  # fmt: skip
    *lines, seconds = done.stdout.splitlines()
    assert said in lines and float(seconds) < 2
    assert time.monotonic() - started < 15
    if word == "version":
        for pid in alive(mark):
            os.kill(pid, signal.SIGKILL)
    assert dies(mark)


def test_where_there_is_no_git_program_one_line_says_so(repo: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ASK, str(repo)],
        env={**os.environ, "PATH": str(tmp_path)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.startswith("Git: it could not be asked\n") and not done.stderr
