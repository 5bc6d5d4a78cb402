"""What each slash command does, in terms of the conversation that it was typed into.

The conversation lends its hands (Host); here is only who does what and when it may not. Must
not draw, and must not hold anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from threading import Event
from typing import Any, Protocol

from glmcode.agent import Agent, AgentOptions, Approval
from glmcode.agent_context import holdings
from glmcode.base.config import ConfigError
from glmcode.core.events import ApprovalAsked
from glmcode.exits import Exit
from glmcode.repl import looking
from glmcode.repl.agents import Agents
from glmcode.repl.configuring import config_rows
from glmcode.repl.context import context_rows
from glmcode.repl.engines import engine
from glmcode.repl.exporting import CannotExport, copy, export
from glmcode.repl.feed import Feed
from glmcode.repl.going import Host as GoingHost
from glmcode.repl.going import rename, show_sessions
from glmcode.repl.modes import change_mode, change_thinking, switch_keys
from glmcode.repl.paint import Painter
from glmcode.repl.permitting import permissions
from glmcode.repl.screen import NEXT_MODE, Live
from glmcode.repl.slash import argument, cache_rows, help_rows, status_rows
from glmcode.repl.slash_table import COMMANDS
from glmcode.repl.theming import Host as ThemingHost
from glmcode.repl.theming import change_theme

AWAY = "no engine answers: your next message tries again; /profile and /model have another"
OPENING = "not while the engine is being reached"
RUNNING = "not while a turn runs: Esc stops it"


class Host(GoingHost, ThemingHost, Protocol):
    """The conversation, as far as commands need it."""

    options: AgentOptions
    agent: Agent | None
    live: Live
    unicode: bool
    opening: bool
    agents: Agents
    painter: Painter
    feed: Feed

    def leave(self, code: int) -> None:
        """End the session."""

    def commit(self, lines: Sequence[str]) -> None:
        """Print finished lines."""

    def foresee(self, options: AgentOptions) -> None:
        """These shall hold once there is an agent."""

    def again(self) -> None:
        """There is something to be taken up."""

    def quiet(self) -> None:
        """No engine is being started any more."""

    async def confirm(self, asked: ApprovalAsked) -> Approval | None:
        """Show an action and ask a yes or no about it."""

    def queue(self, text: str) -> None:
        """Take it up as soon as nothing else runs."""

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run it beside everything else."""


def is_echoed(name: str, text: str) -> bool:
    """Whether what a command says at once needs the words before it that asked for it."""
    return COMMANDS[name].when in ("now", "open") and not (
        text == NEXT_MODE or name in ("/exit", "/editor")
    )


def run_command(host: Host, name: str, text: str) -> None:
    """Do what a command asks; text: the whole line, in its own words."""
    command = COMMANDS[name]
    if argument(text) and not command.arguments and name != "/exit":
        host.say([("warning", f"{name} takes nothing behind it: {command.about}")])
        return
    match command.when:
        case "now":
            _now(host, name, text)
        case _ if host.agent is None:
            _before(host, name, text)
        case "open":
            _open(host, host.agent, name, text)
        case "idle" if host.live.busy:
            host.say([("warning", RUNNING)])
        case "idle" if name == "/clear":
            host.start(host.clear())
        case "idle":
            host.queue(text)
        case "queued":
            host.queue(text)


def _before(host: Host, name: str, text: str) -> None:
    """There is no agent yet: what can't be said now waits for it."""
    match COMMANDS[name].when:
        case _ if name == "/mode":
            change_mode(host, None, text)
        case _ if name == "/plan":
            change_mode(host, None, "/mode plan")
        case _ if name == "/thinking":
            change_thinking(host, None, text)
        case "queued" | "idle" if host.opening and name != "/clear":
            host.queue(text)
        case _:
            host.say([("warning", OPENING if host.opening else AWAY)])


def _now(host: Host, name: str, text: str) -> None:
    options, agent = host.options, host.agent
    match name:
        case "/help":
            host.rows(help_rows(argument(text)))
        case "/status":
            host.rows(status_rows(options, agent))
        case "/cache":
            host.rows(cache_rows(agent))
        case "/model" | "/profile":
            host.start(_switching(host, name, text))
        case "/engine":
            host.start(engine(host, text))
        case "/memory":
            host.start(_found(host, lambda: looking.memory_rows(options)))
        case "/doctor":
            host.start(_doctor(host))
        case "/config":
            host.start(_found(host, lambda: config_rows(options, argument(text))))
        case "/editor":
            host.screen.edit(argument(text))
        case "/vim":
            switch_keys(host)
        case "/theme":
            change_theme(host, text)
        case "/feedback":
            host.start(_found(host, lambda: _feedback(options, agent)))
        case "/exit":
            host.leave(Exit.DONE)


def _open(host: Host, agent: Agent, name: str, text: str) -> None:
    match name:
        case "/context":
            host.rows(context_rows(holdings(agent), unicode=host.unicode))
        case "/permissions":
            permissions(host, agent, text)
        case "/mode":
            change_mode(host, agent, text)
        case "/plan":
            change_mode(host, agent, "/mode plan")
        case "/thinking":
            change_thinking(host, agent, text)
        case "/todo":
            host.rows(looking.todo_rows(agent))
        case "/sessions":
            host.start(show_sessions(host, agent, pick=False))
        case "/rename":
            rename(host, agent, text)
        case "/export":
            host.start(_found(host, lambda: export(agent, argument(text))))
        case "/copy":
            copy(host, agent)


def _switching(host: Host, name: str, text: str) -> Coroutine[Any, Any, None]:
    """Import what it takes only now."""
    from glmcode.repl import switching

    if argument(text):
        return switching.change(host, f"{name} {argument(text)}")
    return switching.show_models(host) if name == "/model" else switching.show_profiles(host)


def _feedback(options: AgentOptions, agent: Agent | None) -> Sequence[tuple[str, str]]:
    from glmcode.repl.feedback import feedback_rows

    try:
        return feedback_rows(options, agent)
    except OSError as error:
        return [("not", f"the file cannot be written: {error}")]


async def _doctor(host: Host) -> None:
    """A minute at most, and none for whoever leaves meanwhile."""
    host.say([("dim", "looking around: up to a minute")])
    stop = Event()
    try:
        await _found(host, lambda: looking.doctor_rows(host.options, stop))
    finally:
        stop.set()


async def _found(host: Host, look: Callable[[], Sequence[tuple[str, str]]]) -> None:
    """Print what is found in a thread."""
    try:
        rows = await asyncio.to_thread(look)
    except (ConfigError, CannotExport) as error:
        host.say([("warning", str(error))])
    else:
        host.rows(rows)
