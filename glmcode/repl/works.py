"""Slash commands that wait in line and hold the floor while they run, as a turn does.

Which they are, and which of them Esc may stop in the middle. Must not do their work itself.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from glmcode.agent import Agent
from glmcode.repl import asides, changes, going, undoing
from glmcode.repl.slash import find_command

GOES = ("/resume", "/fork")
STOPPABLE = ("/review", "/commit", "/btw")
WORKS = ("/diff", *undoing.UNDOES, *GOES, *STOPPABLE)


class Host(asides.Host, changes.Host, undoing.Host, going.Host, Protocol):
    """The conversation, as far as these need it."""


async def do(host: Host, agent: Agent, text: str) -> bool:
    """Do what one of WORKS asks; whether it went well."""
    match find_command(text):
        case "/resume" | "/fork":
            return await going.go(host, agent, text)
        case "/diff":
            await changes.show_changes(host, agent, text)
            return True  # it only tells: what waits behind it goes on
        case "/review" | "/commit" | "/btw":
            return await asides.ask(host, agent, text)
        case _:
            return await undoing.take_back(host, agent, text)


async def ended(host: Host, work: asyncio.Future[bool]) -> bool:
    """Await what may be cancelled from elsewhere, and say it then. CancelledError: we are."""
    try:
        return await work
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        host.say([("warning", "interrupted")])
        return False
