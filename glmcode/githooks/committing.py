"""Makes a commit of what is staged, with a message that a person has agreed to.

The repository's own hooks run, as they do for anyone who commits. What was staged when the
message was agreed to is what is committed, or nothing. Must not stage anything.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from glmcode.githooks.place import HookError
from glmcode.review.git import ask_git

LIMIT_S = 900.0
"""Hooks may test and lint."""
_SAID = 20


def staged_tree(root: Path) -> str:
    """What would be committed now, as the id of a tree. Blocks. Raises GitError."""
    return ask_git(root, "write-tree")


def commit(root: Path, message: str, tree: str) -> str:
    """Commit, and what git says of it in a line. Blocks. Raises GitError; then nothing was done.

    tree: what was staged when the person agreed.
    """
    if staged_tree(root) != tree:
        raise HookError("what is staged changed meanwhile: /commit again")
    command = ["git", "commit", "--quiet", "--cleanup=whitespace", "--file=-"]
    environment = {**os.environ, "GIT_TERMINAL_PROMPT": "0", "GIT_EDITOR": "true"}
    try:
        done = subprocess.run(
            command,
            cwd=root,
            env=environment,
            input=message.encode("utf-8", "replace"),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=LIMIT_S,
        )
    except subprocess.TimeoutExpired as error:
        raise HookError(f"git commit did not end within {LIMIT_S:g} s") from error
    except OSError as error:
        raise HookError(f"git cannot be run: {error.strerror or error}") from error
    if done.returncode:
        lines = done.stdout.decode("utf-8", "replace").strip().splitlines()[-_SAID:]
        said = "\n".join(lines) or f"exit code {done.returncode}"
        raise HookError(f"git did not commit: {said}")
    return ask_git(root, "log", "-1", "--format=%h %s")
