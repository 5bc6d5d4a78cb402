"""/sessions, /resume, /fork and /rename: other conversations of this folder, in the same REPL.

The list is numbered, and a number of it (or the beginning of an id) goes on there on the same
engine; what that costs is told in tokens, and in seconds where the engine's speed is known. The
session that is left is closed only when the other one is open. Must not change another session.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any, Protocol

from glmcode.agent import Agent
from glmcode.cli_options import UsageError
from glmcode.repl.clean import one_line
from glmcode.repl.offers import sessions_here
from glmcode.repl.paint import Spans
from glmcode.repl.screen import Screen
from glmcode.repl.slash import argument
from glmcode.resuming import check_workspace
from glmcode.sessions import (
    JournalError,
    SessionBusy,
    SessionError,
    StoredSession,
    find_session,
    fork_session,
    list_sessions,
    open_session,
)

LISTED = 20
TITLE = 70


class Host(Protocol):
    """The conversation, as far as this needs it."""

    screen: Screen
    listed: list[Path]

    def say(self, spans: Spans) -> None:
        """Print a line of ours."""

    def rows(self, rows: Sequence[tuple[str, str]]) -> None:
        """Print labels and values."""

    def clear(self, stored: StoredSession | None = None) -> Coroutine[Any, Any, None]:
        """Go on in another session on the same engine."""


async def show_sessions(host: Host, agent: Agent, *, pick: bool) -> None:
    """List the sessions of this folder, numbered; pick: one is chosen next, from a list below the
    input where the screen has that."""
    seconds = agent.client.prefill_seconds
    told = await asyncio.to_thread(
        sessions_here, agent.options.workspace, agent.journal.path, seconds
    )
    host.listed = [one.path for one, _ in told]
    if not told:
        host.say([("dim", "no other session of this folder")])
        return
    if pick and host.screen.offer("/resume "):
        return
    rows = [
        (str(number), f"{one_line(one.title, TITLE)}  ({worth})")
        for number, (one, worth) in enumerate(told[:LISTED], 1)
    ]
    if len(told) > LISTED:
        rows.append(("", f"and {len(told) - LISTED} older ones: glmcode sessions list"))
    host.rows([*rows, ("", "/resume NUMBER goes on there, /fork NUMBER in a copy")])


async def go(host: Host, agent: Agent, text: str) -> bool:
    """Do what `/resume [ID]` or `/fork [ID]` asks; whether another session goes on."""
    wanted, fork = argument(text), text.lower().startswith("/fork")
    if not wanted and not fork:
        await show_sessions(host, agent, pick=True)
        return False
    try:
        here = agent.journal.path
        path = await asyncio.to_thread(_path, host, agent, wanted) if wanted else here
        if path == here and not fork:
            host.say([("dim", "that is the session you are in")])
            return False
        if path == here and not len(agent.transcript):
            host.say([("dim", "nothing was said yet that could be copied")])
            return False
        check_workspace(path, agent.options.workspace)
        stored = await asyncio.to_thread(fork_session if fork else open_session, path)
    except SessionBusy as busy:
        copy = f"/fork {path.stem} goes on in a copy"
        host.say([("warning", f"the session {path.stem} is in use by {busy.holder}: {copy}")])
        return False
    except (SessionError, JournalError, UsageError) as error:
        host.say([("warning", str(error))])
        return False
    await host.clear(stored)
    return True


def _path(host: Host, agent: Agent, wanted: str) -> Path:
    """The file of the session that is meant. Blocks. Raises SessionError."""
    if wanted.isascii() and wanted.isdigit() and len(wanted) < 4:
        if not 1 <= int(wanted) <= len(host.listed):
            raise SessionError(f"there is no number {wanted}: /sessions lists them")
        return host.listed[int(wanted) - 1]
    try:
        return find_session(agent.options.workspace, wanted)
    except SessionError:
        words = wanted.lower().split()
        told = [
            one for one in list_sessions(agent.options.workspace) if one.path != agent.journal.path
        ]
        named = [one for one in told if all(word in one.title.lower() for word in words)]
        if len(named) != 1:
            raise
        return named[0].path


def rename(host: Host, agent: Agent, text: str) -> None:
    """Do what `/rename TITLE` asks."""
    title = one_line(" ".join(argument(text).split()), 100)
    if not title:
        host.say([("warning", "/rename TITLE: what shall it be called?")])
        return
    try:
        agent.journal.write("title", {"title": title})
    except JournalError as error:
        host.say([("warning", str(error))])
        return
    host.say([("good", f"this session is called {title}")])
