"""What each slash command does, in terms of the conversation that it was typed into.

The conversation lends its hands (Host); here is only who does what and when it may not. Must
not draw, and must not hold anything.
"""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import Any, Protocol

from glmcode.agent import Agent, AgentOptions
from glmcode.agent_context import holdings
from glmcode.exits import Exit
from glmcode.repl.context import context_rows
from glmcode.repl.modes import change_mode
from glmcode.repl.paint import Spans
from glmcode.repl.permitting import permissions
from glmcode.repl.screen import Live
from glmcode.repl.slash import cache_rows, help_rows, status_rows

OPENING = "not while the engine is being reached"


class Host(Protocol):
    """The conversation, as far as commands need it."""

    options: AgentOptions
    agent: Agent | None
    live: Live
    unicode: bool

    def say(self, spans: Spans) -> None:
        """Print a line of ours."""

    def rows(self, rows: Sequence[tuple[str, str]]) -> None:
        """Print labels and values."""

    def leave(self, code: int) -> None:
        """End the session."""

    def queue(self, text: str) -> None:
        """Take it up as soon as nothing else runs."""

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run it beside everything else."""

    def clear(self) -> Coroutine[Any, Any, None]:
        """A new session on the same engine."""


def run_command(host: Host, name: str, text: str) -> None:
    """Do what a command asks; text: the whole line, in its own words."""
    match name:
        case "/help":
            host.rows(help_rows())
        case "/status":
            host.rows(status_rows(host.options, host.agent))
        case "/cache":
            host.rows(cache_rows(host.agent))
        case "/exit":
            host.leave(Exit.DONE)
        case _ if host.agent is None:
            host.say([("warning", OPENING)])
        case "/context":
            host.rows(context_rows(holdings(host.agent), unicode=host.unicode))
        case "/permissions":
            permissions(host, host.agent, text)
        case "/mode":
            change_mode(host, host.agent, text)
        case "/compact" | "/undo" | "/redo" | "/rewind":
            host.queue(text)
        case "/clear" if host.live.busy:
            host.say([("warning", "not while a turn runs: Esc stops it")])
        case "/clear":
            host.start(host.clear())
