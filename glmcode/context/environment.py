"""The environment block of the first user message: folder, date, platform, and what git says.

It stands in the message and not in the preamble, because it differs between sessions. git is
asked through GitPython, three questions at once, with one time limit for all of them: a huge
repository, a file system that hangs or a broken `.git` costs LIMIT_S and one line that says so.
Nothing of the repository is written (no index refresh) and nothing that its configuration names
is run (fsmonitor, signature checks, filters: a folder may come from anybody). The block holds no
empty line. Must not raise.
"""

from __future__ import annotations

import os
import re
import selectors
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import Any

from glmcode.context.instructions import repository_root

LIMIT_S = 2.0
STATUS_LINES = 20
COMMITS = 5
WIDTH = 120
"""The most characters of one line."""

_KEPT = 64 * 1024
_SETTINGS = {
    "core.fsmonitor": "false",
    "core.quotePath": "false",
    "color.ui": "false",
    "color.status": "false",
    "log.showSignature": "false",
    "status.relativePaths": "true",
}
_QUESTIONS: Mapping[str, Sequence[str]] = {
    "branch": ("symbolic-ref", "--quiet", "--short", "HEAD"),
    "status": ("status", "--short", "--no-branch", "--ignore-submodules=dirty"),
    "commits": ("log", f"--max-count={COMMITS}", "--format=%h %s", "--encoding=UTF-8"),
}
_FILTERS = ("config", "--null", "--show-scope", "--name-only", "--get-regexp", r"^filter\.")
_OF_REPO = ("local", "worktree")
_ENVIRONMENT = {
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_TERMINAL_PROMPT": "0",
}
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


@dataclass(slots=True)
class _Answer:
    """What one git process said. code None: it did not end in time."""

    out: bytearray = field(default_factory=bytearray)
    error: bytearray = field(default_factory=bytearray)
    newlines: int = 0
    code: int | None = None

    def lines(self) -> list[str]:
        text = self.out.decode("utf-8", "replace")
        return [_clean(line) for line in text.split("\n") if line.strip()]

    def why(self) -> str:
        """The reason that git gives, without its prefix."""
        lines = self.error.decode("utf-8", "replace").splitlines()
        said = [line for line in lines if line.startswith(("fatal: ", "error: "))] or lines
        return _clean(said[-1].partition(": ")[2] or said[-1]) if said else f"exit code {self.code}"


def environment(workspace: Path, limit_s: float = LIMIT_S) -> str:
    """The block, without a line end at its end. Takes at most about limit_s seconds."""
    lines = [
        f"Working directory: {workspace}",
        f"Date: {time.strftime('%Y-%m-%d')}",
        f"Platform: {sys.platform}",
    ]
    root = repository_root(workspace)
    if root != workspace:
        lines.append(f"Repository root: {os.path.relpath(root, workspace)}")
    return "\n".join([*lines, *git_lines(workspace, limit_s)])


def git_lines(workspace: Path, limit_s: float = LIMIT_S) -> list[str]:
    """What git says of the repository around a folder; nothing where there is none."""
    answers: dict[str, _Answer] = {}
    found: list[bool] = []

    def work() -> None:
        found.append(any(os.path.lexists(one / ".git") for one in (workspace, *workspace.parents)))
        if found[0]:
            _ask(workspace, time.monotonic() + limit_s, answers)

    # A thread that is not waited for: what hangs in the kernel hangs there alone.
    worker = Thread(target=work, daemon=True)
    worker.start()
    worker.join(limit_s + 0.2)
    if found != [True]:
        return []
    return _told(dict(answers), limit_s)


def _ask(workspace: Path, end: float, answers: dict[str, _Answer]) -> None:
    try:
        from git.cmd import Git
        from git.exc import GitError
    except ImportError:  # also when there is no git program
        return
    program = Git.GIT_PYTHON_GIT_EXECUTABLE or "git"
    settings = [word for key, value in _SETTINGS.items() for word in ("-c", f"{key}={value}")]
    started: dict[str, Any] = {}

    def start(name: str, words: Sequence[str], into: dict[str, _Answer]) -> None:
        started[name] = Git(workspace).execute(
            [program, *words], as_process=True, env=_ENVIRONMENT, start_new_session=True
        )
        into[name] = _Answer()

    try:
        first: dict[str, _Answer] = {}
        start("filters", _FILTERS, first)
        _listen(started, first, end)
        off = _switched_off(first["filters"])
        for name, question in _QUESTIONS.items():
            if off is None and name == "status":
                answers[name] = _Answer()
            else:
                start(name, [*settings, *(off or ()), *question], answers)
        _listen({name: started[name] for name in answers if name in started}, answers, end)
    except (GitError, OSError):
        pass  # told by what is missing
    finally:
        for process in started.values():
            _end(process)


def _switched_off(filters: _Answer) -> list[str] | None:
    """Options that keep the repository's own filters from running; None: they aren't known.

    `git status` runs a filter on every file that looks changed. Those of the person's own
    settings are theirs, and without git-lfs its files would look changed.
    """
    if filters.code is None or len(filters.out) >= _KEPT:
        return None
    words = filters.out.decode("utf-8", "surrogateescape").split("\0")
    keys = {key for scope, key in zip(words[::2], words[1::2], strict=False) if scope in _OF_REPO}
    if any("=" in key for key in keys):
        return None  # an option can't name it
    names = sorted({key.rpartition(".")[0] for key in keys})
    off = ("clean=", "smudge=", "process=", "required=false")
    return [word for name in names for end in off for word in ("-c", f"{name}.{end}")]


def _listen(started: dict[str, Any], answers: dict[str, _Answer], end: float) -> None:
    """Take what the processes say until all have ended or the time is up."""
    with selectors.DefaultSelector() as selector:
        for name, process in started.items():
            for stream in (process.stdout, process.stderr):
                selector.register(stream, selectors.EVENT_READ, (name, stream is process.stderr))
        while selector.get_map() and (left := end - time.monotonic()) > 0:
            for key, _ in selector.select(left):
                name, is_error = key.data
                answer = answers[name]
                data = os.read(key.fd, 1 << 16)
                if not data:
                    selector.unregister(key.fileobj)
                    continue
                into = answer.error if is_error else answer.out
                answer.newlines += 0 if is_error else data.count(b"\n")
                into += data[: max(0, _KEPT - len(into))]
        open_names = {key.data[0] for key in selector.get_map().values()}
    for name, process in started.items():
        if name not in open_names:
            answers[name].code = process.proc.wait()  # its own wait() raises


def _end(process: Any) -> None:
    """Kill what did not end, with everything it started."""
    if process.proc.poll() is None:
        try:
            os.killpg(process.proc.pid, signal.SIGKILL)
        except OSError:
            pass
        process.proc.wait()
    for stream in (process.stdout, process.stderr):
        stream.close()


def _told(answers: dict[str, _Answer], limit_s: float) -> list[str]:
    late = f"no answer within {limit_s:g} s"
    if not answers:
        return ["Git: it could not be asked"]
    branch, status, commits = (answers.get(name, _Answer()) for name in _QUESTIONS)
    if all(answer.code is None for answer in (branch, status, commits)):
        return [f"Git: {late}"]
    if all(answer.code for answer in (status, commits)) and not branch.lines():
        return [f"Git: {status.why()}"]
    history = commits.lines() if commits.code == 0 else []
    return [
        f"Git branch: {_branch(branch, commits, history)}",
        *_status(status, late),
        *(["Recent commits:", *history[:COMMITS]] if history else []),
    ]


def _branch(branch: _Answer, commits: _Answer, history: list[str]) -> str:
    if name := "".join(branch.lines()[:1]):
        return name if history or commits.code is None else f"{name} (no commits yet)"
    return f"detached at {history[0].split()[0]}" if history else "unknown"


def _status(status: _Answer, late: str) -> list[str]:
    if status.code is None:
        return [f"Git status: {late}"]
    if status.code:
        return [f"Git status: unknown ({status.why()})"]
    lines = status.lines()
    if not lines:
        return ["Git status: clean"]
    more = status.newlines - STATUS_LINES
    rest = [f"[and {more} more]"] if more > 0 else []
    return ["Git status:", *lines[:STATUS_LINES], *rest]


def _clean(line: str) -> str:
    line = _CONTROL.sub("\N{REPLACEMENT CHARACTER}", line.rstrip())
    return line if len(line) <= WIDTH else f"{line[: WIDTH - 3]}..."
