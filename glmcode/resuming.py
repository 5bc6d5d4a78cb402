"""Which stored session a run goes on with, and what is asked about it on a terminal.

Plain lines before any screen is set up: a numbered list for `-r` without an id, and a yes or
no for a copy when another process holds the session. Where nobody can be asked, the sentence
says which option answers. Must not reach an engine.
"""

from __future__ import annotations

import sys
from pathlib import Path
from shlex import quote

from glmcode.cli_options import CannotResume, Resume, UsageError
from glmcode.core.calls import TurnStop
from glmcode.repl.clean import one_line
from glmcode.sessions import (
    SessionBusy,
    SessionError,
    SessionUnknown,
    StoredSession,
    Summary,
    ago,
    find_session,
    fork_session,
    latest_session,
    list_sessions,
    open_session,
    summarise,
)

LISTED = 20


def stored_session(
    resume: Resume | None, workspace: Path, *, terminal: bool
) -> StoredSession | None:
    """Open what is asked for; None when nothing is. Its lock is held from now on.

    Raises UsageError for an id that is none, CannotResume for everything else.
    """
    if resume is None:
        return None
    try:
        path = _wanted(resume, workspace)
        check_workspace(path, workspace)
        return _open(path, fork=resume.fork, terminal=terminal)
    except (SessionError, TurnStop) as error:
        raise CannotResume(str(error)) from error


def _wanted(resume: Resume, workspace: Path) -> Path:
    if resume.session_id is None:
        return latest_session(workspace)
    if resume.session_id == "":
        return _chosen(list_sessions(workspace), workspace)
    try:
        return find_session(workspace, resume.session_id)
    except SessionUnknown as error:
        raise UsageError(f"-r {resume.session_id}: {error}") from error


def check_workspace(path: Path, workspace: Path) -> None:
    """A conversation about another folder must not go on here: its paths would lie.

    Raises SessionError, UsageError.
    """
    summary = summarise(path)
    if summary is None or Path(summary.workspace) == workspace:
        return
    if summary.fault:
        raise SessionError(summary.fault)
    if not Path(summary.workspace).is_dir():
        raise UsageError(
            f"the session {summary.session_id} belongs to {summary.workspace}, and that folder "
            f"is gone: read it with `glmcode sessions show {summary.session_id}`, or put the "
            "folder back to go on there"
        )
    raise UsageError(
        f"the session {summary.session_id} belongs to another folder: "
        f"add -C {quote(summary.workspace)} to go on there"
    )


def _open(path: Path, *, fork: bool, terminal: bool) -> StoredSession:
    if fork:
        return fork_session(path)
    try:
        return open_session(path)
    except SessionBusy as busy:
        if not terminal:
            raise
        print(f"glmcode: the session {path.stem} is in use by {busy.holder}.")
        if _asked("Go on in a copy of it? [y/N] ").strip().lower() not in ("y", "yes"):
            raise CannotResume("nothing was opened") from busy
        return fork_session(path)


def _chosen(summaries: list[Summary], workspace: Path) -> Path:
    if not summaries:
        raise SessionUnknown(f"there is no session of {workspace} to go on with")
    for number, one in enumerate(summaries[:LISTED], 1):
        title = one_line(one.title, 70)
        print(f"{number:3}  {one.session_id}  {ago(one.used):>12}  {title}")
    if len(summaries) > LISTED:
        print(f"     and {len(summaries) - LISTED} older ones: glmcode sessions list")
    while True:
        answer = _asked("Which one? (its number; Enter for 1, Ctrl-C for none) ").strip() or "1"
        if answer.isdecimal() and 1 <= int(answer) <= min(len(summaries), LISTED):
            return summaries[int(answer) - 1].path
        print(f"a number from 1 to {min(len(summaries), LISTED)}, please")


def _asked(question: str) -> str:
    try:
        return input(question)
    except EOFError as error:
        sys.stdout.write("\n")
        raise CannotResume("nothing was opened") from error
