"""Gets the diff that is to be reviewed: from git, as it stands in the index, or from a file.

The working tree is looked at only where it is what was asked for. Must not write anything, nor
run what the repository's configuration names.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from glmcode.review.git import GitError, ask_git, git_bytes, repository, run_git

EMPTY_TREE = {
    "sha1": "4b825dc642cb6eb9a060e54bf8d69288fbee4904",
    "sha256": "6ef19b41225c5369f1c104d45d8d85efa9b057b53b14b4b9b939dd74decc5321",
}
MOST_BYTES = 256 << 20
STDIN = Path("-")
_DIFF = (
    "--no-ext-diff", "--no-textconv", "--no-color", "--src-prefix=a/", "--dst-prefix=b/",
    "-O/dev/null", "--find-renames", "--full-index", "--submodule=short", "--unified=5",
    "--diff-algorithm=histogram", "--ignore-submodules=dirty", "-l1000",
)  # fmt: skip


class SourceError(GitError):
    """There is no diff to be had; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be reviewed: exactly one of these, or nothing: what is staged, else what is
    changed. base: a revision, or a range with two or three dots."""

    staged: bool = False
    base: str = ""
    file: Path | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """A diff. what: for people. root: of the repository, None where there is none."""

    data: bytes
    what: str
    root: Path | None


def get_diff(asked: Asked, folder: Path) -> Source:
    """The diff as bytes. Raises GitError."""
    if asked.file is not None:
        return Source(_file(asked.file), "stdin" if asked.file == STDIN else str(asked.file), None)
    root = repository(folder)
    if asked.base:
        return Source(_range(root, asked.base), asked.base, root)
    staged = _git(root, "diff", "--cached", *_DIFF, _head(root), "--")
    if staged or asked.staged:
        return Source(staged, "what is staged", root)
    return Source(_git(root, "diff", *_DIFF, "--"), "what is changed and not staged", root)


def staged_diff(root: Path) -> bytes:
    """What would be committed now, an unborn branch included. Raises GitError."""
    return _git(root, "diff", "--cached", *_DIFF, _head(root), "--")


def range_diff(root: Path, old: str, new: str) -> bytes:
    """From one commit or tree to another. Raises GitError."""
    return _git(root, "diff", *_DIFF, old, new, "--")


def empty_tree(root: Path) -> str:
    """The tree without files, in the repository's own hash. Raises GitError."""
    kind = ask_git(root, "rev-parse", "--show-object-format")
    return EMPTY_TREE.get(kind, EMPTY_TREE["sha1"])


def _head(root: Path) -> str:
    found = run_git(root, ("rev-parse", "--verify", "--quiet", "HEAD^{commit}"))
    if found.returncode == 0:
        return found.stdout.decode().strip()
    return empty_tree(root)


def _range(root: Path, base: str) -> bytes:
    if base.startswith("-"):
        raise SourceError(f"{base!r} is no revision")
    if "..." in base:
        old, _, new = base.partition("...")
        return _since(root, old or "HEAD", new or "HEAD")
    if ".." in base:
        old, _, new = base.partition("..")
        return range_diff(root, _commit(root, old or "HEAD"), _commit(root, new or "HEAD"))
    return _since(root, base, "HEAD")


def _since(root: Path, old: str, new: str) -> bytes:
    """What `new` changed since it left `old`."""
    commits = _commit(root, old), _commit(root, new)
    found = run_git(root, ("merge-base", *commits))
    if found.returncode:
        raise SourceError(f"{old} and {new} have no commit in common (a shallow clone may lack it)")
    return range_diff(root, found.stdout.decode().strip(), commits[1])


def _commit(root: Path, name: str) -> str:
    found = run_git(
        root, ("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
    )
    if found.returncode:
        raise SourceError(f"{name!r} is no commit here (a shallow clone may lack it)")
    return found.stdout.decode().strip()


def _git(folder: Path, *words: str) -> bytes:
    data = git_bytes(folder, *words)
    if len(data) > MOST_BYTES:
        raise SourceError(f"the diff has more than {MOST_BYTES >> 20} MiB")
    return data


def _file(path: Path) -> bytes:
    try:
        with os.fdopen(0, "rb", closefd=False) if path == STDIN else path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}") from error
    if len(data) > MOST_BYTES:
        raise SourceError(f"{path} has more than {MOST_BYTES >> 20} MiB")
    return data
