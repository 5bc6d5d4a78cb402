"""Asks git: as plumbing, without colours, external diffs, text conversion or optional locks.

What a person configured for reading by eye (prefixes, quoting, a pager, another program) must
not change what is read, and what a repository configured must not run. GIT_DIR and
GIT_INDEX_FILE of a hook are honoured: git sets them to what it is about to commit. Must not
write anything.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

LIMIT_S = 120.0
_CONFIG = (
    "-c", "core.quotePath=true", "-c", "core.fsmonitor=false",
    "-c", "diff.noprefix=false", "-c", "diff.relative=false", "-c", "color.ui=false",
    "-c", "diff.autoRefreshIndex=false",  # or it writes the index
)  # fmt: skip
_SET = {
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "LC_ALL": "C",
}
_UNSET = (
    "GIT_EXTERNAL_DIFF", "GIT_DIFF_OPTS", "GIT_LITERAL_PATHSPECS", "GIT_GLOB_PATHSPECS",
    "GIT_NOGLOB_PATHSPECS", "GIT_ICASE_PATHSPECS",
)  # fmt: skip


class GitError(Exception):
    """git could not be run, or did not do it; the text says why."""


def run_git(folder: Path, words: Sequence[str]) -> subprocess.CompletedProcess[bytes]:
    """One git command that changes nothing, whatever it ends with. Raises GitError."""
    environment = {k: v for k, v in os.environ.items() if k not in _UNSET} | _SET
    try:
        return subprocess.run(
            ["git", *_CONFIG, *words],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=LIMIT_S,
        )
    except FileNotFoundError as error:
        if not folder.is_dir():
            raise GitError(f"{folder} is not there") from error
        raise GitError("git was not found on PATH: install it") from error
    except subprocess.TimeoutExpired as error:
        raise GitError(f"git {words[0]} did not end within {LIMIT_S:g} s") from error
    except OSError as error:
        raise GitError(f"git cannot be run: {error.strerror or error}") from error


def git_bytes(folder: Path, *words: str) -> bytes:
    """What git says. Raises GitError, also where git ends with anything but 0."""
    done = run_git(folder, words)
    if done.returncode:
        raise GitError(f"git {words[0]}: {_fault(done)}")
    return done.stdout


def ask_git(folder: Path, *words: str) -> str:
    """One line of git's answer. Raises GitError."""
    return os.fsdecode(git_bytes(folder, *words).removesuffix(b"\n"))


def repository(folder: Path) -> Path:
    """The working tree around a folder; of a bare repository its own folder. Raises GitError."""
    try:
        return Path(ask_git(folder, "rev-parse", "--show-toplevel"))
    except GitError:
        return Path(ask_git(folder, "rev-parse", "--absolute-git-dir"))


def _fault(done: subprocess.CompletedProcess[bytes]) -> str:
    lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
    if not lines:
        return f"exit code {done.returncode}"
    faults = [line.partition(": ")[2] for line in lines if line.startswith(("fatal: ", "error: "))]
    fault = faults[0] if faults else lines[-1]
    if "dubious ownership" in fault:
        fault += ". If you trust it: git config --global --add safe.directory FOLDER"
    return fault
