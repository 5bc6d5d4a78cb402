"""Hooks in real repositories, called by git itself, against a scripted engine."""

from __future__ import annotations

import json
import os
import shutil
import stat
import time
from pathlib import Path
from typing import Any

import pytest

from tests.fake_engine import FakeEngine, Reply
from tests.githooks_kit import BLOCK, PASS, Repository, answer
from tests.repl.pty_driver import PtySession


@pytest.fixture
def repo(tmp_path: Path) -> Repository:
    return Repository(tmp_path)


def test_a_commit_that_is_judged_well_passes_with_one_line(repo: Repository) -> None:
    with FakeEngine([answer(PASS)]) as engine:
        repo.install("pre-commit", engine=engine)
        repo.stage("a.py", "x = 1\n")
        tree, index = repo.staged_tree(), (repo.path / ".git" / "index").read_bytes()
        ran = repo.git("commit", "-m", "first")
        assert len(engine.steps) == 1
    told = [line for line in ran.stderr.splitlines() if line.startswith("glmcode")]
    assert told == ["glmcode: pre-commit: pass: nothing was found in 1 file (what is staged)"]
    assert repo.head_tree() == tree
    assert (repo.path / ".git" / "index").read_bytes()[:8] == index[:8]


def test_block_stops_the_commit_and_says_how_to_pass(repo: Repository) -> None:
    with FakeEngine([answer(BLOCK)]) as engine:
        repo.install("pre-commit", engine=engine)
        repo.stage("a.py", "x = 1\n")
        ran = repo.git("commit", "-m", "first", ok=False)
        assert ran.returncode == 1 and "a.py:1: error: wrong here" in ran.stderr
        assert "--no-verify" in ran.stderr
        asked = len(engine.requests)
        again = repo.git("commit", "-m", "first", ok=False)
        assert again.returncode == 1 and len(engine.requests) == asked
        assert repo.git("commit", "--no-verify", "-m", "first").returncode == 0


def test_warn_passes_and_is_said(repo: Repository) -> None:
    warn = {"findings": [{**BLOCK["findings"][0], "severity": "warning"}], "verdict": "warn"}  # type: ignore[dict-item]
    with FakeEngine([answer(warn)]) as engine:
        repo.install("pre-commit", engine=engine)
        repo.stage("a.py", "x = 1\n")
        ran = repo.git("commit", "-m", "first")
    assert "a.py:1: warning: wrong here" in ran.stderr


def test_what_is_staged_is_judged_and_not_what_lies_there(repo: Repository) -> None:
    with FakeEngine([answer(PASS)]) as engine:
        repo.install("pre-commit", engine=engine)
        repo.stage("a.py", "staged = 1\n")
        (repo.path / "a.py").write_text("lies_there = 2\n")
        repo.git("commit", "-m", "first")
        asked = json.dumps(engine.steps[0].json)
    assert "staged = 1" in asked and "lies_there" not in asked


def test_commit_a_judges_what_git_is_about_to_commit(repo: Repository) -> None:
    with FakeEngine([answer(PASS), answer(PASS)]) as engine:
        repo.stage("a.py", "x = 1\n")
        repo.git("commit", "-m", "first")
        repo.install("pre-commit", engine=engine)
        (repo.path / "a.py").write_text("changed = 2\n")
        repo.git("commit", "-am", "second")
        assert "changed = 2" in json.dumps(engine.steps[0].json)


def test_an_amend_of_the_message_and_the_same_content_again_ask_nothing(repo: Repository) -> None:
    with FakeEngine([answer(PASS)]) as engine:
        repo.stage("first", "x\n")
        repo.git("commit", "-m", "zero")
        repo.install("pre-commit", engine=engine)
        repo.stage("a.py", "x = 1\n")
        repo.git("commit", "-m", "first")
        asked = len(engine.requests)
        repo.git("commit", "--amend", "-m", "better")
        repo.git("reset", "--soft", "HEAD~1")
        ran = repo.git("commit", "-m", "again")
        assert len(engine.requests) == asked and ", as before" in ran.stderr


@pytest.mark.parametrize(("closed", "code"), [(False, 0), (True, 1)])
def test_without_an_engine_it_passes_or_blocks_at_once_and_says_why(
    repo: Repository, closed: bool, code: int
) -> None:
    repo.install("pre-commit", *(["--fail-closed"] if closed else []))
    repo.stage("a.py", "x = 1\n")
    began = time.monotonic()
    ran = repo.git("commit", "-m", "first", ok=False)
    assert ran.returncode == code and "nothing answers at" in ran.stderr
    assert len([line for line in ran.stderr.splitlines() if line.startswith("glmcode")]) == 1
    assert time.monotonic() - began < 15


def test_a_profile_without_an_engine_is_not_started(repo: Repository) -> None:
    assert repo.hook("install", "pre-commit", "--profile", "tiny").returncode == 0
    repo.stage("a.py", "x = 1\n")
    ran = repo.git("commit", "-m", "first")
    assert "the engine tiny is not running" in ran.stderr
    assert not list((repo.folder / "home").rglob("*.sock"))


@pytest.mark.parametrize(("closed", "code"), [(False, 0), (True, 1)])
def test_an_engine_that_never_answers_costs_no_more_than_the_deadline(
    repo: Repository, closed: bool, code: int
) -> None:
    with FakeEngine([Reply(delay=60, times=9)]) as engine:
        more = ["--fail-closed"] if closed else []
        repo.install("pre-commit", "--deadline", "3", *more, engine=engine)
        repo.stage("a.py", "x = 1\n")
        began = time.monotonic()
        ran = repo.git("commit", "-m", "first", ok=False)
        assert ran.returncode == code and "the deadline was reached" in ran.stderr
        assert time.monotonic() - began < 20


def test_a_hook_that_was_there_runs_first_and_comes_back_byte_for_byte(repo: Repository) -> None:
    hook = repo.path / ".git" / "hooks" / "pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_bytes(b"#!/bin/sh\necho before >> log #\xff\r\n")
    hook.chmod(0o750)
    was = repo.hooks()
    with FakeEngine([answer(PASS)] * 2) as engine:
        repo.install("pre-commit", "commit-msg", engine=engine)
        assert stat.S_IMODE((hook.parent / "pre-commit").stat().st_mode) == 0o755
        repo.stage("a.py", "x = 1\n")
        repo.git("commit", "-m", "first")
    assert (repo.path / "log").read_text().startswith("before")
    listed = repo.hook("list").stdout
    assert "pre-commit           glmcode's, after the one that was there" in listed
    assert repo.hook("uninstall").returncode == 0
    assert repo.hooks() == was


def test_a_hook_that_was_there_and_fails_stops_before_anything_is_asked(repo: Repository) -> None:
    hook = repo.path / ".git" / "hooks" / "pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\nexit 3\n")
    hook.chmod(0o755)
    with FakeEngine([answer(PASS)]) as engine:
        repo.install("pre-commit", engine=engine)
        repo.stage("a.py", "x = 1\n")
        assert repo.git("commit", "-m", "first", ok=False).returncode == 1
        assert engine.requests == []


def test_installing_twice_changes_nothing_but_the_options(repo: Repository) -> None:
    was = repo.hooks()
    repo.install("pre-commit")
    first = repo.hooks()
    repo.install("pre-commit")
    assert repo.hooks() == first
    repo.install("pre-commit", "--fail-closed")
    assert repo.hooks() != first
    repo.hook("uninstall", "pre-commit")
    assert repo.hooks() == was


def test_a_hooks_folder_that_was_made_goes_with_the_last_hook(repo: Repository) -> None:
    shutil.rmtree(repo.path / ".git" / "hooks", ignore_errors=True)
    repo.install("pre-commit", "pre-push")
    repo.hook("uninstall")
    assert not (repo.path / ".git" / "hooks").exists()


def test_a_hook_that_somebody_changed_or_put_there_is_left_alone(repo: Repository) -> None:
    repo.install("pre-commit")
    hook = repo.path / ".git" / "hooks" / "pre-commit"
    ours = hook.read_text()
    first = "#!/bin/sh\n"
    for text, why in (
        (f"{first}# mine now\n", "is not glmcode's"),
        (f"{ours}# mine\n", "was changed since"),
        (ours.replace(first, f"{first}lint\n"), "was changed since"),
    ):
        hook.write_text(text)
        ran = repo.hook("uninstall", "pre-commit")
        assert ran.returncode == 1 and why in ran.stderr
        assert hook.read_text() == text
    repo.install("pre-push")
    assert "glmcode's, changed since" in repo.hook("list").stdout
    ran = repo.hook("uninstall")
    assert ran.returncode == 1 and "was changed since" in ran.stderr
    assert hook.exists() and not hook.with_name("pre-push").exists()
    hook.write_text(ours)
    assert repo.hook("uninstall", "pre-commit").returncode == 0 and not hook.exists()


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_what_is_no_file_is_never_waited_for_or_put_before_ours(
    repo: Repository, make: Any
) -> None:
    there = repo.path / ".git" / "hooks" / "pre-commit"
    there.parent.mkdir(exist_ok=True)
    make(there)
    ran = repo.hook("install", "pre-commit")
    assert ran.returncode == 1 and "is no file" in ran.stderr and "Traceback" not in ran.stderr
    assert repo.hook("list").returncode == 0
    assert os.path.lexists(there) and not there.with_name("pre-commit.before-glmcode").exists()


def test_an_interpreter_that_is_gone_lets_the_commit_pass(repo: Repository) -> None:
    repo.install("pre-commit", "--fail-closed")
    hook = repo.path / ".git" / "hooks" / "pre-commit"
    text = hook.read_text()
    line = next(line for line in text.splitlines() if line.startswith("python="))
    hook.write_text(text.replace(line, "python=/no/such/python"))
    repo.stage("a.py", "x = 1\n")
    ran = repo.git("commit", "-m", "first")
    assert "/no/such/python is gone" in ran.stderr


def test_a_module_of_the_repository_is_never_imported(repo: Repository) -> None:
    for name in ("glmcode.py", "json.py", "asyncio.py", "tomllib.py"):
        repo.stage(name, f"open('{repo.folder}/ran', 'w')\nraise SystemExit(0)\n")
    repo.stage("glmcode/__init__.py", f"open('{repo.folder}/ran', 'w')\n")
    repo.install("pre-commit")
    ran = repo.git("commit", "-m", "first")
    assert "nothing answers" in ran.stderr and not (repo.folder / "ran").exists()


def test_rebases_and_cherry_picks_are_quiet(repo: Repository) -> None:
    repo.stage("a", "1\n")
    repo.git("commit", "-m", "one")
    repo.git("checkout", "-q", "-b", "other")
    repo.stage("b", "2\n")
    repo.git("commit", "-m", "two")
    repo.git("checkout", "-q", "main")
    repo.stage("c", "3\n")
    repo.git("commit", "-m", "three")
    with FakeEngine([]) as engine:
        repo.install("pre-commit", "commit-msg", "prepare-commit-msg", engine=engine)
        assert "glmcode" not in repo.git("cherry-pick", "other").stderr
        repo.git("checkout", "-q", "other")
        repo.git("reset", "--hard", "HEAD~1")
        repo.stage("d", "4\n")
        repo.git("commit", "--no-verify", "-m", "four", GLMCODE_HOOK="x")
        assert (
            "glmcode"
            not in repo.git("rebase", "--exec", "git commit --amend -C HEAD", "main").stderr
        )
        assert engine.requests == []


def test_ctrl_c_ends_the_look_and_the_commit_goes_on(repo: Repository) -> None:
    with FakeEngine([Reply(delay=60, times=9)]) as engine:
        repo.install("pre-commit", "--fail-closed", engine=engine)
        repo.stage("a.py", "x = 1\n")
        words = ["sh", "-c", "git commit -q -m one; echo code $?"]
        session = PtySession(words, repo.path, repo.environment, (100, 24))
        try:
            end = time.monotonic() + 60
            while not engine.steps and time.monotonic() < end:
                session.read(0.05)
            session.type("\x03")
            session.wait_for("code 0")
            assert "interrupted: git goes on" in session.screen.text
            assert session.wait_exit() == 0
        finally:
            session.close()
    assert repo.git("log", "--format=%s").stdout == "one\n"


def test_a_hook_inside_of_a_hook_passes(repo: Repository) -> None:
    repo.install("pre-commit", "--fail-closed")
    repo.stage("a", "1\n")
    assert repo.git("commit", "-m", "one", GLMCODE_HOOK="pre-commit").stderr == ""


def test_a_message_is_proposed_in_the_style_of_the_log_and_comments_stay(repo: Repository) -> None:
    repo.stage("a", "1\n")
    repo.git("commit", "-m", "feat(core): begin")
    told = {"subject": "fix(core): mend the thing", "body": "It was wrong.\n\nNow it is not."}
    with FakeEngine([answer(told)]) as engine:
        repo.install("prepare-commit-msg", engine=engine)
        repo.stage("a", "2\n")
        editor = repo.folder / "editor"
        editor.write_text(f'#!/bin/sh\ncp "$1" {repo.folder}/seen\n')
        editor.chmod(0o755)
        repo.git("commit", GIT_EDITOR=str(editor))
        asked = engine.steps[0].json["messages"][1]["content"]
    assert "feat(core): begin" in asked and "Conventional Commits" in asked
    seen = (repo.folder / "seen").read_text()
    assert seen.startswith("fix(core): mend the thing\n\nIt was wrong.\n\nNow it is not.\n\n# ")
    log = repo.git("log", "-1", "--format=%B").stdout
    assert log.strip() == "fix(core): mend the thing\n\nIt was wrong.\n\nNow it is not."


@pytest.mark.parametrize(
    "words", [("-m", "mine"), ("-F", "msg"), ("--amend", "--no-edit"), ("-C", "HEAD")]
)
def test_a_message_that_is_there_is_not_touched(repo: Repository, words: tuple[str, ...]) -> None:
    repo.stage("msg", "from a file\n")
    repo.git("commit", "-m", "one")
    with FakeEngine([]) as engine:
        repo.install("prepare-commit-msg", engine=engine)
        repo.stage("a", "2\n")
        repo.git("commit", *words)
        assert engine.requests == []


def test_a_message_that_says_what_is_not_true_is_blocked_with_the_reason(repo: Repository) -> None:
    with FakeEngine([answer({"reasons": ["it adds no test"], "verdict": "block"})]) as engine:
        repo.install("commit-msg", engine=engine)
        repo.stage("a", "1\n")
        ran = repo.git("commit", "-m", "Add a test", ok=False)
        assert ran.returncode == 1 and "commit-msg: block: it adds no test" in ran.stderr
        assert "Add a test" in engine.steps[0].json["messages"][1]["content"]
        assert repo.git("commit", "-m", "fixup! one").returncode == 0


def test_a_push_is_judged_ref_by_ref_and_deletions_and_old_commits_are_not(
    repo: Repository,
) -> None:
    far = repo.folder / "far.git"
    repo.git("init", "-q", "--bare", str(far))
    repo.git("remote", "add", "origin", str(far))
    repo.stage("a.py", "old = 1\n")
    repo.git("commit", "-m", "one")
    repo.git("push", "-q", "origin", "main")
    with FakeEngine([answer(PASS), answer(PASS), answer(BLOCK)]) as engine:
        repo.install("pre-push", engine=engine)
        repo.stage("a.py", "new = 2\n")
        repo.git("commit", "-m", "two")
        repo.git("push", "origin", "main")
        first = json.dumps(engine.steps[0].json)
        assert "new = 2" in first
        repo.git("checkout", "-q", "-b", "topic")
        repo.stage("t.py", "topic = 3\n")
        repo.git("commit", "-m", "three")
        repo.git("push", "origin", "topic")
        second = json.dumps(engine.steps[1].json)
        assert "topic = 3" in second and "new = 2" not in second
        repo.git("push", "origin", ":topic")
        assert len(engine.steps) == 2
        repo.stage("t.py", "worse = 4\n")
        repo.git("commit", "-m", "four")
        ran = repo.git("push", "origin", "topic", ok=False)
        assert ran.returncode != 0 and "wrong here" in ran.stderr
        assert "topic" not in repo.git("ls-remote", "origin").stdout


def test_a_hook_that_was_there_gets_the_refs_of_a_push_too(repo: Repository) -> None:
    far = repo.folder / "far.git"
    repo.git("init", "-q", "--bare", str(far))
    hook = repo.path / ".git" / "hooks" / "pre-push"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ncat > {repo.folder}/refs\necho $1 > {repo.folder}/args\n")
    hook.chmod(0o755)
    repo.install("pre-push")
    repo.stage("a", "1\n")
    repo.git("commit", "-m", "one")
    repo.git("push", str(far), "main")
    assert (repo.folder / "refs").read_text().startswith("refs/heads/main ")
    assert (repo.folder / "args").read_text() == f"{far}\n"


@pytest.mark.parametrize(
    ("setup", "said"),
    [("lefthook.yml", "lefthook"), ("shared", "core.hooksPath is")],
)
def test_where_somebody_else_has_the_say_it_is_refused_with_what_to_do(
    repo: Repository, setup: str, said: str
) -> None:
    if setup == "shared":
        repo.git("config", "core.hooksPath", str(repo.folder / "all"))
    else:
        (repo.path / setup).write_text("pre-commit:\n")
    ran = repo.hook("install", "pre-commit")
    assert ran.returncode == 1 and said in ran.stderr and "hook run pre-commit" in ran.stderr
    assert not (repo.folder / "all").exists()


def test_where_git_runs_no_hooks_none_is_put(repo: Repository) -> None:
    repo.git("config", "core.hooksPath", "")
    ran = repo.hook("install", "pre-commit")
    assert ran.returncode == 1 and "git runs no hooks here" in ran.stderr
    assert [one.name for one in repo.path.iterdir()] == [".git"]


def test_husky_and_a_hooks_path_inside_are_honoured(repo: Repository) -> None:
    repo.git("config", "core.hooksPath", "my hooks")
    repo.install("pre-commit")
    repo.stage("a", "1\n")
    assert "nothing answers" in repo.git("commit", "-m", "one").stderr
    assert (repo.path / "my hooks" / "pre-commit").exists()
    repo.hook("uninstall")
    assert not (repo.path / "my hooks").exists()
    (repo.path / ".husky" / "_").mkdir(parents=True)
    repo.git("config", "core.hooksPath", ".husky/_")
    ran = repo.hook("install", "pre-commit")
    assert (repo.path / ".husky" / "pre-commit").exists() and "working tree" in ran.stdout


def test_a_hook_of_huskys_that_is_not_executable_still_runs_and_comes_back(
    repo: Repository,
) -> None:
    (repo.path / ".husky" / "_").mkdir(parents=True)
    mine = repo.path / ".husky" / "pre-commit"
    mine.write_text("echo it runs >> log\n")
    called = repo.path / ".husky" / "_" / "pre-commit"
    called.write_text('#!/bin/sh\nsh -e .husky/pre-commit "$@"\n')
    called.chmod(0o755)
    repo.git("config", "core.hooksPath", ".husky/_")
    repo.install("pre-commit")
    repo.stage("a", "1\n")
    assert "nothing answers" in repo.git("commit", "-m", "one").stderr
    assert (repo.path / "log").read_text() == "it runs\n"
    repo.environment["PYTHONHOME"] = "/nowhere"
    assert "it ended with code" in repo.git("commit", "--allow-empty", "-m", "two").stderr
    del repo.environment["PYTHONHOME"]
    assert repo.hook("uninstall").returncode == 0
    assert mine.read_text() == "echo it runs >> log\n"
    assert [one.name for one in mine.parent.iterdir() if one.is_file()] == ["pre-commit"]


def test_worktrees_submodules_and_folders_below_find_their_hooks(repo: Repository) -> None:
    repo.stage("sub/a", "1\n")
    repo.git("commit", "-m", "one")
    repo.git("worktree", "add", "-q", str(repo.folder / "tree"))
    ran = repo.hook(
        "install", "pre-commit", "--base-url", "http://127.0.0.1:9/v1", cwd=repo.path / "sub"
    )
    assert ran.returncode == 0, ran.stderr
    (repo.folder / "tree" / "b").write_text("2\n")
    repo.git("add", "-A", cwd=repo.folder / "tree")
    assert "nothing answers" in repo.git("commit", "-m", "two", cwd=repo.folder / "tree").stderr
    assert not (repo.folder / "tree" / ".git" / "hooks").exists()


def test_outside_of_a_repository_and_with_unknown_words_it_is_said(
    repo: Repository, tmp_path: Path
) -> None:
    ran = repo.hook("install", "pre-commit", cwd=tmp_path)
    assert ran.returncode == 1 and "not a git repository" in ran.stderr
    assert repo.hook("install", "post-commit").returncode == 2
    ran = repo.hook("install", "pre-commit", "--nonsense")
    assert ran.returncode == 1 and "--nonsense" in ran.stderr
    assert "pre-commit" not in repo.hooks()
