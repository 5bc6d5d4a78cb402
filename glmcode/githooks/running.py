"""What git calls: `glmcode hook run NAME`, which answers git with 0 or 1 (`--block-code`).

It looks at what git is about to commit (the index that git names, never the working tree),
asks an engine that is up, and says on stderr what was found. Whatever else happens (no engine,
no time, an interruption) lets git go on, or blocks where the hook was installed to fail closed;
both say why. Quiet while git itself replays commits. Must not write to the index or the tree.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from glmcode.githooks import messages
from glmcode.githooks.asking import Asking, NoAnswer
from glmcode.githooks.place import Name
from glmcode.githooks.terminal import TooLate, no_longer_than, own_interrupts
from glmcode.repl.clean import visible
from glmcode.review.diff import DiffError, FileDiff, parse_diff
from glmcode.review.findings import Judged, merge
from glmcode.review.formats import Told, shown
from glmcode.review.git import GitError, ask_git, repository, run_git
from glmcode.review.judging import (
    Review,
    keep_review,
    keep_value,
    kept_review,
    kept_value,
    model_key,
    review_key,
)
from glmcode.review.source import empty_tree, range_diff, staged_diff

if TYPE_CHECKING:
    from glmcode.cli_options import Arguments

RUNNING = "GLMCODE_HOOK"
"""Set for what a hook starts: a hook inside of a hook passes."""
CALLER = "GLMCODE_GIT"
"""The process of git, as an installed hook names it."""
SAME_S = 600.0
REPLAYS = (
    "rebase-merge", "rebase-apply", "MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD", "BISECT_LOG",
)  # fmt: skip
"""Files of git's that stand while it replays or joins commits."""
FAULTS = (
    ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RuntimeError, MemoryError,
    AssertionError, ImportError, EOFError,
)  # fmt: skip
Diff: TypeAlias = tuple[str, Callable[[], bytes]]
"""What it is of, and how it is got."""
_OBJECT = re.compile("[0-9a-f]{40,64}")
GRACE_S = 0.3
"""What the ways that end by themselves get, before the hook is ended wherever it is."""
BYPASS = "(git's --no-verify passes it)"


@dataclass(frozen=True, slots=True)
class HookRun:
    """One call by git. words: git's own arguments. arguments: the settings, whose faults are no
    reason to stop git (raises GitError). closed: what can't be judged blocks. always: also while
    git replays commits. block_code: what stops git."""

    name: Name
    words: tuple[str, ...]
    arguments: Callable[[], Arguments]
    deadline_s: float
    closed: bool = False
    start: bool = False
    always: bool = False
    block_code: int = 1


def run_hook(run: HookRun) -> int:
    """Do what the hook is for; 0 lets git go on, `block_code` does not."""
    if os.environ.get(RUNNING):
        return 0
    os.environ[RUNNING] = run.name
    with own_interrupts():
        return run.block_code if _called(run) else 0


def _called(run: HookRun) -> bool:
    """Whether git is to be stopped."""
    began = time.monotonic()
    try:
        with no_longer_than(run.deadline_s + GRACE_S):
            return _answered(run, began + run.deadline_s)
    except NoAnswer as error:
        return _unjudged(run, str(error))
    except (GitError, DiffError, OSError) as error:
        return _unjudged(run, str(error))
    except TooLate:
        return _unjudged(run, "the deadline was reached")
    except FAULTS as error:  # nobody's commit is stopped by a fault of ours
        return _unjudged(run, f"a fault in glmcode ({type(error).__name__}: {error})")
    except KeyboardInterrupt:
        say(f"{run.name}: interrupted: git goes on")
        return False


def _answered(run: HookRun, deadline: float) -> bool:
    root = repository(Path.cwd())
    if not run.always and run.name != "pre-push" and _replays(root):
        return False
    asking = Asking(run.arguments(), deadline, run.start)
    match run.name:
        case "pre-commit":
            return _review(run, asking, [("what is staged", lambda: staged_diff(root))])
        case "pre-push":
            return _review(run, asking, _pushed(root, sys.stdin.buffer.read()))
        case "prepare-commit-msg":
            messages.prepare(root, run.words, asking)
            return False
        case "commit-msg":
            return messages.check(root, run.words, asking, say)


def _unjudged(run: HookRun, why: str) -> bool:
    if run.closed and run.name != "prepare-commit-msg":
        say(f"{run.name}: blocked, nothing was judged: {why} {BYPASS}")
        return True
    if not _said_already(why):
        say(f"{run.name}: passed without a look: {why}")
    return False


def _said_already(why: str) -> bool:
    """Whether another hook of the same git command said the same: once is enough for a commit."""
    git = os.environ.get(CALLER)
    if not git:
        return False
    now, before = time.time(), kept_value(CALLER)
    keep_value(CALLER, {"git": git, "why": why, "at": now})
    match before:
        case {"git": str(caller), "why": str(reason), "at": float(at)}:
            return (caller, reason) == (git, why) and abs(now - at) < SAME_S
        case _:
            return False


def _replays(root: Path) -> bool:
    git_dir = Path(ask_git(root, "rev-parse", "--absolute-git-dir"))
    return any((git_dir / name).exists() for name in REPLAYS)


def _review(run: HookRun, asking: Asking, diffs: Sequence[Diff]) -> bool:
    began = time.monotonic()
    told: list[Judged] = []
    files = known = 0
    unjudged: dict[str, str] = {}
    for what, get in diffs:
        try:
            changed = parse_diff(get())
            if not changed:
                continue
            files += len(changed)
            judged, kept = _judged(asking, changed)
        except (NoAnswer, GitError, DiffError) as error:  # the others are judged all the same
            unjudged[what] = str(error)
            continue
        known += kept
        told.append(judged)
    if not told:
        if unjudged:
            raise NoAnswer("; ".join(dict.fromkeys(unjudged.values())))
        return False
    left = tuple(f"{what} ({why})" for what, why in unjudged.items())
    whole = merge([*told, Judged("pass", (), left)])
    what = ", ".join(what for what, _ in diffs)
    seconds = time.monotonic() - began
    text = shown(Told(whole, what, files, known == len(told), seconds, {}), "text")
    say(f"{run.name}: {text.rstrip()}")
    if whole.verdict == "block":
        say(f"{run.name}: blocked {BYPASS}")
        return True
    if run.closed and not whole.complete:
        say(f"{run.name}: blocked, not all was judged {BYPASS}")
        return True
    return False


def _judged(asking: Asking, changed: list[FileDiff]) -> tuple[Judged, bool]:
    """What is said of a diff, and whether it was known already. Raises NoAnswer."""
    key = review_key(changed, model_key(asking.arguments.engine))
    if (kept := kept_review(key)) is not None:
        return kept, True
    asking.check()
    review: Review = asking.review(changed)
    if review.judged.lasting:
        keep_review(key, review.judged)
    return review.judged, False


def _pushed(root: Path, refs: bytes) -> list[Diff]:
    """The ranges that a push brings, from git's lines `local sha remote sha`."""
    found: list[Diff] = []
    if not refs and (named := _by_framework(root)):
        refs = named.encode()
    for line in refs.decode("utf-8", "replace").splitlines():
        parts = line.split(" ")
        if len(parts) != 4 or not (_OBJECT.fullmatch(parts[1]) and _OBJECT.fullmatch(parts[3])):
            continue
        if not parts[1].strip("0"):
            continue  # a deletion brings nothing
        name, new, old = parts[2].removeprefix("refs/heads/"), parts[1], parts[3]
        base = old if old.strip("0") and _is_before(root, old, new) else _fork_point(root, new)
        found.append((name, partial(range_diff, root, base, new)))
    return found


def _by_framework(root: Path) -> str:
    """The same line of the pre-commit framework, which gives none but sets these; of a branch
    whose remote has nothing yet only its name."""
    new, old = (os.environ.get(f"PRE_COMMIT_{name}_REF", "") for name in ("TO", "FROM"))
    branch = os.environ.get("PRE_COMMIT_LOCAL_BRANCH", "")
    if not (new and old):
        if not branch:
            return ""
        new = ask_git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", branch)
        old = "0" * len(new)
    name = branch or "HEAD"
    return f"{name} {new} {name} {old}"


def _is_before(root: Path, old: str, new: str) -> bool:
    """Whether a commit is here and `new` builds on it; after a rebase it does not."""
    return run_git(root, ("merge-base", "--is-ancestor", old, new)).returncode == 0


def _fork_point(root: Path, new: str) -> str:
    """Of a branch that is new or was rewritten: the newest commit that some remote has, else the
    empty tree."""
    try:
        listed = ask_git(root, "rev-list", "--topo-order", new, "--not", "--remotes")
    except GitError:
        return empty_tree(root)
    commits = listed.split()
    if not commits:
        return new
    try:
        return ask_git(root, "rev-parse", "--verify", "--quiet", f"{commits[-1]}^")
    except GitError:
        return empty_tree(root)


def say(text: str) -> None:
    """A line or more for the person, where git shows it."""
    try:
        os.write(2, f"glmcode: {visible(text)}\n".encode("utf-8", "replace"))
    except OSError:
        pass
