"""Gets the diff that is to be reviewed: from git, as it stands in the index, or from a file.

git is asked as plumbing: no colours, no external diff, no text conversion, no optional locks,
names as they are; the working tree is looked at only where it is what was asked for. GIT_DIR
and GIT_INDEX_FILE of a hook are honoured, since git sets them to what it is about to commit.
Must not write anything, nor run what the repository's configuration names.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

EMPTY_TREE = {
    "sha1": "4b825dc642cb6eb9a060e54bf8d69288fbee4904",
    "sha256": "6ef19b41225c5369f1c104d45d8d85efa9b057b53b14b4b9b939dd74decc5321",
}
MOST_BYTES = 256 << 20
LIMIT_S = 120.0
_DIFF = (
    "--no-ext-diff", "--no-textconv", "--no-color", "--src-prefix=a/", "--dst-prefix=b/",
    "-O/dev/null", "--find-renames", "--full-index", "--submodule=short", "--unified=5",
    "--diff-algorithm=histogram", "--ignore-submodules=dirty", "-l1000",
)  # fmt: skip
_CONFIG = (
    "-c", "core.quotePath=true", "-c", "core.fsmonitor=false",
    "-c", "diff.noprefix=false", "-c", "diff.relative=false", "-c", "color.ui=false",
    "-c", "diff.autoRefreshIndex=false",  # or it writes the index
)  # fmt: skip


class SourceError(Exception):
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
    """The diff as bytes. Raises SourceError."""
    if asked.file is not None:
        return Source(_file(asked.file), str(asked.file), None)
    root = Path(os.fsdecode(_git(folder, "rev-parse", "--show-toplevel").removesuffix(b"\n")))
    if asked.base:
        return Source(_range(root, asked.base), asked.base, root)
    staged = _git(root, "diff", "--cached", *_DIFF, _head(root), "--")
    if staged or asked.staged:
        return Source(staged, "what is staged", root)
    return Source(_git(root, "diff", *_DIFF, "--"), "what is changed and not staged", root)


def staged_diff(root: Path) -> bytes:
    """What would be committed now, an unborn branch included. Raises SourceError."""
    return _git(root, "diff", "--cached", *_DIFF, _head(root), "--")


def range_diff(root: Path, old: str, new: str) -> bytes:
    """From one commit or tree to another. Raises SourceError."""
    return _git(root, "diff", *_DIFF, old, new, "--")


def empty_tree(root: Path) -> str:
    """The tree without files, in the repository's own hash. Raises SourceError."""
    kind = _git(root, "rev-parse", "--show-object-format").decode().strip()
    return EMPTY_TREE.get(kind, EMPTY_TREE["sha1"])


def _head(root: Path) -> str:
    found = _run(root, ("rev-parse", "--verify", "--quiet", "HEAD^{commit}"))
    if found.returncode == 0:
        return found.stdout.decode().strip()
    return empty_tree(root)


def _range(root: Path, base: str) -> bytes:
    if base.startswith("-"):
        raise SourceError(f"{base!r} is no revision")
    if "..." in base:
        old, _, new = base.partition("...")
        merge = _git(root, "merge-base", old or "HEAD", new or "HEAD").decode().strip()
        return range_diff(root, merge, _commit(root, new or "HEAD"))
    if ".." in base:
        old, _, new = base.partition("..")
        return range_diff(root, _commit(root, old or "HEAD"), _commit(root, new or "HEAD"))
    merge = _git(root, "merge-base", base, "HEAD").decode().strip()
    return range_diff(root, merge, _commit(root, "HEAD"))


def _commit(root: Path, name: str) -> str:
    found = _run(
        root, ("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
    )
    if found.returncode:
        raise SourceError(f"{name!r} is no commit here (a shallow clone may lack it)")
    return found.stdout.decode().strip()


def _git(folder: Path, *words: str) -> bytes:
    done = _run(folder, words)
    if done.returncode:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
        said = lines[-1].removeprefix("fatal: ") if lines else f"exit code {done.returncode}"
        raise SourceError(f"git {words[0]}: {said}")
    if len(done.stdout) > MOST_BYTES:
        raise SourceError(f"the diff has more than {MOST_BYTES >> 20} MiB")
    return done.stdout


def _run(folder: Path, words: Sequence[str]) -> subprocess.CompletedProcess[bytes]:
    environment = os.environ | {
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "LC_ALL": "C",
    }
    for name in ("GIT_EXTERNAL_DIFF", "GIT_DIFF_OPTS", "GIT_LITERAL_PATHSPECS"):
        environment.pop(name, None)
    command = ["git", *_CONFIG, *words]
    try:
        return subprocess.run(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=LIMIT_S,
        )
    except FileNotFoundError as error:
        raise SourceError("git was not found: install it, or give a diff (--pr-file)") from error
    except subprocess.TimeoutExpired as error:
        raise SourceError(f"git {words[0]} did not end within {LIMIT_S:g} s") from error
    except OSError as error:
        raise SourceError(f"git cannot be run: {error.strerror or error}") from error


def _file(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}") from error
    if len(data) > MOST_BYTES:
        raise SourceError(f"{path} has more than {MOST_BYTES >> 20} MiB")
    return data
