"""/engine: how this session's engine is, its log, and starting and stopping it.

To stop it is asked about, with who else uses it and what the next start takes. Must not touch the
engine of another profile.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from glmcode.agent import Agent, AgentOptions, Approval
from glmcode.consent import Doing, cost_lines, look
from glmcode.core.events import ApprovalAsked
from glmcode.core.tool import Preview
from glmcode.engine.attach import EngineUnavailable, attach
from glmcode.engine.default import machine_profile
from glmcode.engine.halt import HaltError, halt
from glmcode.engine.paths import engine_paths
from glmcode.engine.profile import Profile, ProfileError, load_profile
from glmcode.repl.agents import Agents
from glmcode.repl.clean import one_line, plain_output
from glmcode.repl.feed import Feed
from glmcode.repl.looking import engine_rows
from glmcode.repl.paint import Painter, Spans
from glmcode.repl.screen import Live
from glmcode.repl.slash import argument

VERBS = {
    "status": "how it is, and who uses it",
    "start": "start it, or try again to reach it",
    "stop": "end it, after asking",
    "restart": "end it and start it again, after asking",
    "log": "the last lines that it wrote",
}
LOG_LINES = 30
RUNNING = "not while a turn runs: Esc stops it"


class Host(Protocol):
    """The conversation, as far as this needs it."""

    options: AgentOptions
    agent: Agent | None
    agents: Agents
    live: Live
    painter: Painter
    feed: Feed

    def say(self, spans: Spans) -> None:
        """Print a line of ours."""

    def rows(self, rows: Sequence[tuple[str, str]]) -> None:
        """Print labels and values."""

    def commit(self, lines: Sequence[str]) -> None:
        """Print finished lines."""

    def again(self) -> None:
        """There is something to be taken up."""

    def quiet(self) -> None:
        """No engine is being started any more."""

    async def confirm(self, asked: ApprovalAsked) -> Approval | None:
        """Show an action and ask a yes or no about it."""


async def engine(host: Host, text: str) -> None:
    """Do what `/engine [status|start|stop|restart|log]` asks."""
    verb = argument(text).lower() or "status"
    verb = {"logs": "log"}.get(verb, verb)
    does: dict[str, Callable[[Host, str], Coroutine[Any, Any, None]]]
    does = {"start": _start, "stop": _stop, "restart": _restart, "log": _log}
    if verb == "status":
        rows = await asyncio.to_thread(engine_rows, host.options)
        if host.agent is None:
            rows.append(("here", "not reached: your next message, or /engine start, tries again"))
        host.rows(rows)
    elif verb not in does:
        host.say([("warning", f"/engine {'|'.join(VERBS)}: not {one_line(verb, 40)!r}")])
    elif (name := _name(host)) is not None:
        try:
            await does[verb](host, name)
        except (EngineUnavailable, HaltError, ProfileError, OSError) as error:
            host.say([("error", one_line(str(error), 1_000))])
        finally:
            host.quiet()


def _name(host: Host) -> str | None:
    """The profile of an engine that glmcode runs; else that there is none is said."""
    settings = host.options.engine
    name = settings.profile or machine_profile()
    where = settings.base_url
    if not where and name:
        try:
            where = load_profile(name).base_url
        except ProfileError as error:
            host.say([("warning", str(error))])
            return None
    if where and host.agent is None:
        host.again()  # a server that could not be reached may be there by now
        return None
    if where or not name:
        host.say([("warning", f"{where or 'none is configured'}: no engine that glmcode runs")])
        return None
    return name


async def _profile(host: Host, name: str) -> Profile:
    profile = await asyncio.to_thread(load_profile, name)
    python = host.options.engine.python
    return replace(profile, python=python) if python else profile


async def _start(host: Host, name: str) -> None:
    if host.agent is None:
        host.again()
        return
    await attach(await _profile(host, name), host.feed.put)
    host.say([("good", f"{name} is up")])


async def _stop(host: Host, name: str) -> None:
    if await _agreed(host, name, "stop"):
        was = await halt(engine_paths(name))
        said = "stopped; your next message starts it again" if was else "no engine was running"
        host.say([("good", f"{name}: {said}")])


async def _restart(host: Host, name: str) -> None:
    if await _agreed(host, name, "restart"):
        await halt(engine_paths(name), again=True)
        await _start(host, name)


async def _agreed(host: Host, name: str, doing: Doing) -> bool:
    if host.live.busy:
        host.say([("warning", RUNNING)])
        return False
    status = await look(name)
    if status is None:
        return True
    asked = ApprovalAsked(
        call_id=f"engine-{doing}",
        name="Engine",
        subject=name,
        preview=Preview(kind="text", title=name, body="\n".join(cost_lines(status, doing))),
        question=f"{doing.capitalize()} it?",
    )
    approval = await host.confirm(asked)
    if approval is not None and approval.allowed and not host.live.busy:
        return True
    host.say([("dim", "nothing was done")])
    return False


async def _log(host: Host, name: str) -> None:
    log = engine_paths(name).log
    if not log.is_file():
        host.say([("dim", f"no engine of profile {name} was started on this machine: no log")])
        return
    text = await asyncio.to_thread(_last, log)
    host.commit(host.painter.output(plain_output(text), style=""))
    host.say([("dim", f"the whole of it: {log}")])


def _last(log: Path) -> str:
    with log.open("rb") as file:
        return b"".join(deque(file, maxlen=LOG_LINES)).decode("utf-8", "replace").rstrip("\n")
