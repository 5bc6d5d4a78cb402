"""Hooks of git in repositories that are in odd states: one small function makes each state."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from glmcode.githooks.command import run_hook_command
from tests.fake_engine import FakeEngine, Reply, Seen
from tests.githooks_kit import PASS, Repository, answer

DEADLINE_S = 30
MESSAGE = {"subject": "Proposed", "body": ""}
FITS: dict[str, Any] = {"reasons": [], "verdict": "pass"}


class Answering(FakeEngine):
    """Passes every review and message, by what is asked."""

    def _step(self, seen: Seen) -> Reply:
        if b'\\"findings\\"' in seen.body:
            return answer(PASS)
        return answer(MESSAGE if b'\\"subject\\"' in seen.body else FITS)


@dataclass
class Commit:
    """How the commit of a state is made. tree: what it has to hold; "" where none is made.
    typed: what git reads. quiet: a hook says nothing there. asked: how often the engine is asked
    for a review, -1: as often as need be."""

    words: tuple[str, ...] = ("commit", "-m", "x")
    cwd: Path | None = None
    environment: dict[str, str] = field(default_factory=dict)
    tree: str | None = None
    quiet: bool = False
    asked: int = 1
    code: int = 0
    typed: str = ""


State = Callable[[Repository], Commit]
STATES: dict[str, State] = {}


def state(make: State) -> State:
    STATES[make.__name__] = make
    return make


def first(repo: Repository) -> None:
    repo.stage("a.py", "".join(f"line_{n} = {n}\n" for n in range(30)))
    repo.git("commit", "-q", "--no-verify", "-m", "first")


def changed(repo: Repository) -> None:
    first(repo)
    repo.stage("a.py", "changed = 1\n")


def tree_with(repo: Repository, *words: str) -> str:
    """The tree that a commit of more than the index has to hold, made with another index."""
    other = repo.folder / "other-index"
    shutil.copy(repo.path / ".git" / "index", other)
    repo.git("add", *words, GIT_INDEX_FILE=str(other))
    return repo.git("write-tree", GIT_INDEX_FILE=str(other)).stdout.strip()


def program(repo: Repository, text: str = "exit 0") -> str:
    """A program that must never run: it leaves a trace."""
    file = repo.folder / "never"
    file.write_text(f"#!/bin/sh\ntouch '{repo.folder}/ran'\n{text}\n")
    file.chmod(0o755)
    return str(file)


@state
def empty(repo: Repository) -> Commit:
    return Commit(tree="", code=1, asked=0, quiet=True)


@state
def unborn_branch(repo: Repository) -> Commit:
    repo.stage("a.py", "x = 1\n")
    return Commit()


@state
def unborn_in_sha256(repo: Repository) -> Commit:
    shutil.rmtree(repo.path / ".git")
    repo.git("init", "-q", "--object-format=sha256")
    repo.stage("a.py", "x = 1\n")
    return Commit()


@state
def orphan_beside_others(repo: Repository) -> Commit:
    first(repo)
    repo.git("checkout", "-q", "--orphan", "new")
    return Commit()


@state
def detached(repo: Repository) -> Commit:
    first(repo)
    repo.git("checkout", "-q", "--detach")
    repo.stage("a.py", "x = 2\n")
    return Commit()


def two_sides(repo: Repository) -> None:
    first(repo)
    repo.git("checkout", "-q", "-b", "side")
    repo.stage("a.py", "side = 1\n")
    repo.git("commit", "-q", "-m", "side")
    repo.git("checkout", "-q", "main")
    repo.stage("a.py", "main = 1\n")
    repo.git("commit", "-q", "-m", "main")


def joined(
    repo: Repository, *words: str, commit: tuple[str, ...] = ("commit", "-m", "x")
) -> Commit:
    repo.git(*words, ok=False)
    repo.stage("a.py", "joined = 1\n")
    return Commit(words=commit, quiet=True, asked=0)


@state
def in_a_merge(repo: Repository) -> Commit:
    two_sides(repo)
    return joined(repo, "merge", "side", commit=("commit", "--no-edit"))


@state
def in_a_cherry_pick(repo: Repository) -> Commit:
    two_sides(repo)
    return joined(repo, "cherry-pick", "side")


@state
def in_a_revert(repo: Repository) -> Commit:
    two_sides(repo)
    repo.stage("a.py", "more = 1\n")
    repo.git("commit", "-q", "-m", "more")
    return joined(repo, "revert", "HEAD~1", commit=("commit", "--no-edit"))


@state
def in_a_rebase(repo: Repository) -> Commit:
    two_sides(repo)
    return joined(repo, "rebase", "side")


@state
def in_a_rebase_by_apply(repo: Repository) -> Commit:
    two_sides(repo)
    return joined(repo, "rebase", "--apply", "side")


@state
def in_a_bisect(repo: Repository) -> Commit:
    two_sides(repo)
    repo.git("bisect", "start")
    repo.stage("a.py", "joined = 1\n")
    return Commit(quiet=True, asked=0)


@state
def a_merge_commit_that_git_makes(repo: Repository) -> Commit:
    first(repo)
    repo.git("checkout", "-q", "-b", "side")
    repo.stage("b.py", "side = 1\n")
    repo.git("commit", "-q", "-m", "side")
    repo.git("checkout", "-q", "main")
    tree = repo.git("rev-parse", "side^{tree}").stdout.strip()
    return Commit(("merge", "--no-ff", "--no-edit", "side"), tree=tree, quiet=True, asked=0)


@state
def worktree(repo: Repository) -> Commit:
    first(repo)
    other = repo.folder / "tree"
    repo.git("worktree", "add", "-q", str(other))
    (other / "b.py").write_text("y = 1\n")
    repo.git("add", "-A", cwd=other)
    return Commit(cwd=other)


def submodule_in(repo: Repository) -> Path:
    first(repo)
    words = ("-c", "protocol.file.allow=always", "submodule", "add", "-q", str(repo.path), "sub")
    repo.git(*words)
    repo.git("commit", "-q", "-m", "sub")
    return repo.path / "sub"


@state
def submodule_moved(repo: Repository) -> Commit:
    sub = submodule_in(repo)
    (sub / "a.py").write_text("in_sub = 1\n")
    repo.git("commit", "-q", "-am", "in sub", cwd=sub)
    repo.git("add", "sub")
    return Commit()


@state
def submodule_that_is_dirty(repo: Repository) -> Commit:
    sub = submodule_in(repo)
    repo.git("config", "core.fsmonitor", program(repo), cwd=sub)
    (sub / "a.py").write_text("dirty = 1\n")
    repo.stage("b.py", "b = 1\n")
    return Commit()


@state
def hooks_path(repo: Repository) -> Commit:
    changed(repo)
    repo.git("config", "core.hooksPath", "tools/my hooks")
    return Commit()


@state
def sparse_checkout(repo: Repository) -> Commit:
    repo.stage("in/a.py", "a = 1\n")
    repo.stage("out/b.py", "b = 1\n")
    repo.git("commit", "-q", "-m", "first")
    repo.git("sparse-checkout", "set", "in")
    repo.stage("in/a.py", "a = 2\n")
    return Commit()


@state
def shallow(repo: Repository) -> Commit:
    two_sides(repo)
    repo.path.rename(repo.folder / "far")
    words = ("clone", "-q", "--depth", "1", f"file://{repo.folder}/far", str(repo.path))
    repo.git(*words, cwd=repo.folder)
    repo.stage("a.py", "shallow = 1\n")
    return Commit()


@state
def partial_clone_without_its_server(repo: Repository) -> Commit:
    two_sides(repo)
    repo.git("config", "uploadpack.allowFilter", "true")
    repo.path.rename(repo.folder / "far")
    url = f"file://{repo.folder}/far"
    words = ("clone", "-q", "--no-checkout", "--filter=blob:none", url, str(repo.path))
    repo.git(*words, cwd=repo.folder)
    repo.git("read-tree", "HEAD")
    (repo.folder / "far").rename(repo.folder / "gone")
    repo.stage("a.py", "partial = 1\n")
    return Commit(("commit", "-q", "-m", "x"), asked=0)


@state
def crlf_with_autocrlf(repo: Repository) -> Commit:
    repo.git("config", "core.autocrlf", "true")
    first(repo)
    repo.stage("a.py", b"x = 1\r\ny = 2\r\n")
    return Commit()


@state
def crlf_as_it_is(repo: Repository) -> Commit:
    first(repo)
    repo.stage("a.py", b"x = 1\r\ny = 2\r\n")
    return Commit()


@state
def huge_binary(repo: Repository) -> Commit:
    first(repo)
    repo.stage("big.bin", os.urandom(1 << 20) * 24)
    return Commit(asked=0)


@state
def rename_only(repo: Repository) -> Commit:
    first(repo)
    repo.git("mv", "a.py", "b c.py")
    return Commit(asked=0)


@state
def mode_only(repo: Repository) -> Commit:
    first(repo)
    repo.git("update-index", "--chmod=+x", "a.py")
    return Commit(asked=0)


@state
def symlink(repo: Repository) -> Commit:
    first(repo)
    (repo.path / "link").symlink_to("/etc/passwd")
    repo.git("add", "link")
    return Commit()


@state
def file_becomes_a_symlink(repo: Repository) -> Commit:
    first(repo)
    (repo.path / "a.py").unlink()
    (repo.path / "a.py").symlink_to("nowhere")
    repo.git("add", "a.py")
    return Commit()


def many(repo: Repository, count: int) -> Commit:
    for number in range(count):
        file = repo.path / f"d{number % 37}" / f"f{number}.py"
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"value = {number}\n")
    repo.git("add", "-A")
    return Commit(asked=-1)


@state
def two_thousand_files(repo: Repository) -> Commit:
    return many(repo, 2_000)


@state
def names_that_are_no_utf8(repo: Repository) -> Commit:
    first(repo)
    for name in (b"caf\xe9.py", b"\xff\xfe", b"tab\there", b'qu"ote', b"new\nline.py", b"\\back"):
        (repo.path / os.fsdecode(name)).write_bytes(b"x = 1\n")
    repo.git("add", "-A")
    return Commit()


@state
def content_that_is_no_utf8(repo: Repository) -> Commit:
    first(repo)
    repo.stage("a.py", b"# \xe9\xff\xfe \xed\xa0\x80\x1b[2J\n")
    return Commit()


@state
def conflict_markers(repo: Repository) -> Commit:
    first(repo)
    repo.stage("a.py", "<<<<<<< a\nx\n=======\ny\n>>>>>>> b\n")
    return Commit()


@state
def unmerged(repo: Repository) -> Commit:
    two_sides(repo)
    repo.git("merge", "side", ok=False)
    return Commit(tree="", code=128, quiet=True, asked=0)


@state
def lfs_pointer(repo: Repository) -> Commit:
    repo.git("config", "filter.lfs.clean", program(repo, "cat"))
    repo.git("config", "diff.lfs.textconv", program(repo, "cat"))
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 12\n"
    repo.stage("a.bin", pointer)
    repo.stage(".gitattributes", "*.bin filter=lfs diff=lfs merge=lfs -text\n")
    (repo.folder / "ran").unlink(missing_ok=True)
    return Commit()


@state
def signing_that_fails(repo: Repository) -> Commit:
    changed(repo)
    repo.git("config", "commit.gpgSign", "true")
    repo.git("config", "gpg.program", "/bin/false")
    return Commit(tree="", code=128)


@state
def signatures_in_the_log(repo: Repository) -> Commit:
    changed(repo)
    repo.git("config", "log.showSignature", "true")
    repo.git("config", "gpg.program", program(repo))
    commit = repo.git("cat-file", "commit", "HEAD").stdout
    head, _, body = commit.partition("\n\n")
    signed = (
        f"{head}\ngpgsig -----BEGIN PGP SIGNATURE-----\n \n -----END PGP SIGNATURE-----\n\n{body}"
    )
    (repo.folder / "commit").write_text(signed)
    name = repo.git("hash-object", "-t", "commit", "-w", str(repo.folder / "commit")).stdout
    repo.git("reset", "--soft", name.strip())
    return Commit()


@state
def git_dir_and_work_tree(repo: Repository) -> Commit:
    changed(repo)
    elsewhere = repo.folder / "elsewhere"
    elsewhere.mkdir()
    named = {"GIT_DIR": str(repo.path / ".git"), "GIT_WORK_TREE": str(repo.path)}
    return Commit(cwd=elsewhere, environment=named)


@state
def git_dir_from_below(repo: Repository) -> Commit:
    changed(repo)
    below = repo.path / "below"
    below.mkdir()
    return Commit(cwd=below, environment={"GIT_DIR": "../.git", "GIT_WORK_TREE": ".."})


@state
def another_index(repo: Repository) -> Commit:
    first(repo)
    other = repo.path / ".git" / "other"
    shutil.copy(repo.path / ".git" / "index", other)
    (repo.path / "b.py").write_text("only_there = 1\n")
    named = {"GIT_INDEX_FILE": str(other)}
    repo.git("add", "b.py", **named)
    return Commit(environment=named)


@state
def no_home(repo: Repository) -> Commit:
    changed(repo)
    for name in ("HOME", "GLMCODE_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "USER", "LOGNAME"):
        repo.environment.pop(name, None)
    repo.environment["XDG_CACHE_HOME"] = str(repo.folder / "cache")
    return Commit()


@state
def path_with_git_alone(repo: Repository) -> Commit:
    changed(repo)
    only = repo.folder / "bin"
    only.mkdir()
    for name in ("git", "sh", "cat"):
        (only / name).symlink_to(str(shutil.which(name)))
    return Commit(environment={"PATH": str(only)})


@state
def lang_c(repo: Repository) -> Commit:
    changed(repo)
    repo.stage("é.py", "é = 1\n")
    named = {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    return Commit(environment=named)


@state
def external_diff(repo: Repository) -> Commit:
    changed(repo)
    repo.git("config", "diff.external", program(repo))
    return Commit(environment={"GIT_EXTERNAL_DIFF": program(repo)})


@state
def diff_driver_and_textconv(repo: Repository) -> Commit:
    changed(repo)
    repo.git("config", "diff.mine.textconv", program(repo, "cat"))
    repo.git("config", "diff.mine.command", program(repo))
    repo.stage(".gitattributes", "*.py diff=mine\n")
    return Commit()


@state
def diff_as_others_like_it(repo: Repository) -> Commit:
    changed(repo)
    for key, value in {
        "diff.noprefix": "true", "diff.mnemonicPrefix": "true", "core.quotePath": "false",
        "diff.relative": "true", "diff.suppressBlankEmpty": "true", "color.ui": "always",
        "diff.wordRegex": ".", "diff.renames": "copies", "diff.context": "0",
        "diff.orderFile": str(repo.folder / "gitconfig"), "diff.submodule": "log",
        "diff.algorithm": "patience", "diff.interHunkContext": "9", "core.pager": program(repo),
    }.items():  # fmt: skip
        repo.git("config", key, value)
    return Commit(environment={"GIT_PAGER": program(repo), "GIT_DIFF_OPTS": "--unified=0"})


@state
def fsmonitor(repo: Repository) -> Commit:
    changed(repo)
    repo.git("config", "core.fsmonitor", program(repo))
    return Commit()


@state
def replaced_objects(repo: Repository) -> Commit:
    two_sides(repo)
    repo.git("replace", "main", "side")
    repo.stage("a.py", "replaced = 1\n")
    return Commit()


@state
def alternates(repo: Repository) -> Commit:
    two_sides(repo)
    repo.path.rename(repo.folder / "far")
    words = ("clone", "-q", "--shared", str(repo.folder / "far"), str(repo.path))
    repo.git(*words, cwd=repo.folder)
    repo.stage("a.py", "alternate = 1\n")
    return Commit()


@state
def intent_to_add(repo: Repository) -> Commit:
    changed(repo)
    (repo.path / "later.py").write_text("later = 1\n")
    repo.git("add", "--intent-to-add", "later.py")
    return Commit()


@state
def commit_a(repo: Repository) -> Commit:
    changed(repo)
    (repo.path / "a.py").write_text("all = 1\n")
    return Commit(("commit", "-am", "x"), tree=tree_with(repo, "-u"), asked=2)


@state
def commit_p(repo: Repository) -> Commit:
    first(repo)
    (repo.path / "a.py").write_text("part = 1\n")
    return Commit(("commit", "-p", "-m", "x"), tree=tree_with(repo, "-u"), typed="y\n")


@state
def commit_only_a_path(repo: Repository) -> Commit:
    changed(repo)
    (repo.path / "a.py").write_text("only = 1\n")
    tree = tree_with(repo, "a.py")
    repo.stage("b.py", "stays = 1\n")
    return Commit(("commit", "-m", "x", "--only", "a.py"), tree=tree, asked=2)


@state
def amend(repo: Repository) -> Commit:
    changed(repo)
    return Commit(("commit", "--amend", "--no-edit"))


@state
def allow_empty(repo: Repository) -> Commit:
    first(repo)
    return Commit(("commit", "--allow-empty", "-m", "x"), quiet=True, asked=0)


@state
def template(repo: Repository) -> Commit:
    changed(repo)
    (repo.folder / "template").write_text("A template\n\n# a comment\n")
    repo.git("config", "commit.template", str(repo.folder / "template"))
    editor = repo.folder / "editor"
    editor.write_text('#!/bin/sh\necho more >> "$1"\n')
    editor.chmod(0o755)
    return Commit(("commit",), environment={"GIT_EDITOR": str(editor)})


def edited(repo: Repository, **settings: str) -> Commit:
    changed(repo)
    for key, value in settings.items():
        repo.git("config", key.replace("_", "."), value)
    repo.environment["GIT_EDITOR"] = "true"
    return Commit(("commit", "-m", "x", "--edit"))


@state
def verbose(repo: Repository) -> Commit:
    return edited(repo, commit_verbose="true")


@state
def another_comment_character(repo: Repository) -> Commit:
    return edited(repo, core_commentChar=";")


@state
def automatic_comment_character(repo: Repository) -> Commit:
    return edited(repo, core_commentChar="auto")


@state
def cleanup_by_scissors(repo: Repository) -> Commit:
    return edited(repo, commit_cleanup="scissors")


@state
def another_encoding_of_commits(repo: Repository) -> Commit:
    return edited(repo, i18n_commitEncoding="iso-8859-1")


@state
def folder_with_blanks_and_a_newline(repo: Repository) -> Commit:
    odd = repo.folder / "a 'b\" $c\n"
    repo.path.rename(odd)
    repo.path = odd
    changed(repo)
    return Commit()


@state
def hooks_that_cannot_be_written(repo: Repository) -> Commit:
    changed(repo)
    hooks = repo.path / ".git" / "hooks"
    shutil.rmtree(hooks, ignore_errors=True)
    hooks.write_text("no folder\n")
    return Commit(quiet=True)


@state
def a_hook_that_is_a_symlink(repo: Repository) -> Commit:
    changed(repo)
    target = repo.folder / "mine"
    target.write_text("#!/bin/sh\nexit 0\n")
    target.chmod(0o755)
    (repo.path / ".git" / "hooks").mkdir(exist_ok=True)
    (repo.path / ".git" / "hooks" / "pre-commit").symlink_to(target)
    return Commit()


@state
def a_hook_that_points_nowhere(repo: Repository) -> Commit:
    changed(repo)
    (repo.path / ".git" / "hooks").mkdir(exist_ok=True)
    (repo.path / ".git" / "hooks" / "pre-commit").symlink_to("nowhere")
    return Commit()


@state
def a_hook_that_is_not_executable(repo: Repository) -> Commit:
    changed(repo)
    hook = repo.path / ".git" / "hooks" / "pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\nexit 1\n")
    return Commit()


@state
def a_cache_that_cannot_be_written(repo: Repository) -> Commit:
    changed(repo)
    home = repo.folder / "home"
    home.mkdir()
    (home / "cache").write_text("no folder\n")
    return Commit(asked=2)


@state
def case_only_rename_and_gitattributes_binary(repo: Repository) -> Commit:
    first(repo)
    repo.git("mv", "a.py", "A.py")
    repo.stage("A.py", "case = 1\n")
    repo.stage(".gitattributes", "*.py -diff\n")
    return Commit()


@state
def pathspecs_by_environment(repo: Repository) -> Commit:
    changed(repo)
    return Commit(environment={"GIT_LITERAL_PATHSPECS": "1", "GIT_ICASE_PATHSPECS": "0"})


@state
def worktree_with_settings_of_its_own(repo: Repository) -> Commit:
    first(repo)
    other = repo.folder / "tree"
    repo.git("worktree", "add", "-q", str(other))
    repo.git("config", "extensions.worktreeConfig", "true")
    repo.git("config", "--worktree", "core.hooksPath", "own", cwd=other)
    repo.git("config", "--worktree", "diff.external", program(repo), cwd=other)
    (other / "b.py").write_text("y = 1\n")
    repo.git("add", "b.py", cwd=other)
    return Commit(cwd=other)


@state
def picked_and_not_committed(repo: Repository) -> Commit:
    first(repo)
    repo.git("checkout", "-q", "-b", "side")
    repo.stage("b.py", "side = 1\n")
    repo.git("commit", "-q", "-m", "side")
    repo.git("checkout", "-q", "main")
    repo.git("cherry-pick", "-n", "side")
    return Commit()


@state
def mails_that_are_applied(repo: Repository) -> Commit:
    first(repo)
    repo.git("checkout", "-q", "-b", "side")
    repo.stage("b.py", "side = 1\n")
    repo.git("commit", "-q", "-m", "side")
    tree = repo.head_tree()
    mail = repo.folder / "mail"
    mail.write_text(repo.git("format-patch", "-1", "--stdout").stdout)
    repo.git("checkout", "-q", "main")
    return Commit(("am", "-q", str(mail)), tree=tree, quiet=True, asked=0)


@state
def put_aside(repo: Repository) -> Commit:
    changed(repo)
    return Commit(("stash", "push", "-q"), tree=repo.head_tree(), quiet=True)


@state
def secrets_and_attributes_from_elsewhere(repo: Repository) -> Commit:
    first(repo)
    (repo.folder / "attributes").write_text("* diff=mine filter=mine\n")
    for key, value in {
        "core.attributesFile": str(repo.folder / "attributes"), "diff.mine.binary": "true",
        "diff.mine.command": program(repo), "diff.mine.xfuncname": "^x",
        "interactive.diffFilter": program(repo), "credential.helper": program(repo),
    }.items():  # fmt: skip
        repo.git("config", key, value)
    repo.stage(".env", "TOKEN=not-a-real-one\n")
    return Commit(asked=0)


@state
def deleted_file(repo: Repository) -> Commit:
    first(repo)
    repo.git("rm", "-q", "a.py")
    return Commit()


def content_of(folder: Path) -> dict[str, tuple[int, bytes]]:
    found = {}
    for one in sorted(folder.iterdir()) if folder.is_dir() else ():
        data = os.fsencode(one.readlink()) if one.is_symlink() else one.read_bytes()
        found[one.name] = (one.lstat().st_mode, data)
    return found


def hooks_of(repo: Repository, folder: Path) -> Path:
    said = repo.git("rev-parse", "--git-path", "hooks", cwd=folder).stdout.rstrip("\n")
    return folder / said


def called(repo: Repository, folder: Path, *words: str, patch: pytest.MonkeyPatch) -> int:
    with patch.context() as inside:
        inside.chdir(folder)
        inside.setattr(os, "environ", os.environ)
        for name in set(os.environ) - set(repo.environment):
            inside.delenv(name)
        for name, value in repo.environment.items():
            inside.setenv(name, value)
        return run_hook_command(list(words))


def show(repo: Repository, make: State, hooks: list[str], patch: pytest.MonkeyPatch) -> None:
    """One state: each hook by itself, then the commit, then without hooks again."""
    commit = make(repo)
    repo.environment |= commit.environment
    repo.environment["PYTHONDONTWRITEBYTECODE"] = "1"
    folder = commit.cwd or repo.path
    place = hooks_of(repo, folder)
    before = content_of(place)
    index = Path(repo.environment.get("GIT_INDEX_FILE") or "")
    if not index.name:
        said = repo.git("rev-parse", "--git-path", "index", cwd=folder).stdout.rstrip("\n")
        index = folder / said
    tree = commit.tree
    if tree is None:
        tree = repo.git("write-tree", cwd=folder).stdout.strip()
    (repo.folder / "ran").unlink(missing_ok=True)
    with Answering([]) as engine:
        server = ("--base-url", engine.base_url, "--protocol", "chat", "-m", "glm")
        options = ("--deadline", str(DEADLINE_S), *server)
        installed = called(repo, folder, "install", *hooks, *options, patch=patch)
        assert installed == (1 if place.is_file() else 0)
        held = index.read_bytes() if index.exists() else b""
        began = time.monotonic()
        ran = repo.hook("run", "pre-commit", *options, cwd=folder)
        assert ran.returncode == 0, ran.stderr
        assert "Traceback" not in ran.stderr and "fault" not in ran.stderr
        assert time.monotonic() - began < DEADLINE_S + 5
        assert (index.read_bytes() if index.exists() else b"") == held
        assert not (repo.folder / "ran").exists(), "it ran what it must not"
        began = time.monotonic()
        ran = repo.git(*commit.words, cwd=folder, ok=False, typed=commit.typed)
        assert ran.returncode == commit.code, ran.stdout + ran.stderr
        assert time.monotonic() - began < len(hooks) * DEADLINE_S
        reviews = [one for one in engine.steps if b'\\"findings\\"' in one.body]
        assert commit.asked in (-1, len(reviews)), ran.stderr
    said = [line for line in ran.stderr.splitlines() if line.startswith("glmcode")]
    assert bool(said) is not commit.quiet, ran.stderr
    if tree:
        assert repo.git("rev-parse", "HEAD^{tree}", cwd=folder).stdout.strip() == tree
    called(repo, folder, "uninstall", patch=patch)
    assert content_of(place) == before


@pytest.mark.parametrize("name", STATES)
def test_in_any_state_hooks_change_nothing_and_end_in_time(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = ("commit-msg", "prepare-commit-msg")[list(STATES).index(name) % 2]
    show(Repository(tmp_path), STATES[name], ["pre-commit", second], monkeypatch)


def test_there_are_sixty_states() -> None:
    assert len(STATES) >= 60
