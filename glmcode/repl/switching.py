"""/model and /profile: what answers here, and going on in this session with another.

What it costs is told first (a load, the GPUs of another engine and who uses it, the conversation
computed anew) and asked about. While an engine loads, the session goes on with the one that it
has. Must not stop an engine that nobody was asked about.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from glmcode.agent import Agent, AgentOptions, Approval
from glmcode.base.duration import about
from glmcode.base.settings import EngineSettings
from glmcode.consent import cost_lines, look, start_seconds, users
from glmcode.core.events import ApprovalAsked
from glmcode.core.model import ModelError
from glmcode.core.tool import Preview
from glmcode.engine.claims import refusal, taken, wanted
from glmcode.engine.gpus import find_gpus
from glmcode.engine.halt import HaltError, halt
from glmcode.engine.paths import engine_paths
from glmcode.engine.profile import Profile, ProfileError, list_profiles, load_profile
from glmcode.engine.state import EngineStatus
from glmcode.repl.agents import Agents
from glmcode.repl.clean import one_line
from glmcode.repl.looking import Rows, model_rows, where
from glmcode.repl.paint import Spans
from glmcode.repl.screen import Live
from glmcode.repl.slash import argument

NAMES_SHOWN = 30


class Host(Protocol):
    """The conversation, as far as this needs it."""

    options: AgentOptions
    agent: Agent | None
    agents: Agents
    live: Live

    def say(self, spans: Spans) -> None:
        """Print a line of ours."""

    def rows(self, rows: Sequence[tuple[str, str]]) -> None:
        """Print labels and values."""

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run it beside everything else."""

    def again(self) -> None:
        """There is something to be taken up."""

    async def confirm(self, asked: ApprovalAsked) -> Approval | None:
        """Show an action and ask a yes or no about it."""


class _CannotSwitch(Exception):
    """There is no such engine; one sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cost:
    """What a change takes. halts: engines that are stopped for it. free: nothing worth asking."""

    lines: tuple[str, ...]
    halts: tuple[str, ...] = ()
    free: bool = False


async def show_models(host: Host) -> None:
    """`/model`: which answers, and which others its server has."""
    agent = host.agent
    rows = model_rows(host.options, agent)
    if agent is not None and _server(host.options.engine):
        try:
            names = host.live.facts.models = await agent.client.models()
            shown = ", ".join(names[:NAMES_SHOWN])
            more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
            rows.insert(1, ("there are", f"{shown}{more}"))
        except ModelError as error:
            rows.insert(1, ("there are", str(error)))
    host.rows(rows)


async def show_profiles(host: Host) -> None:
    """`/profile`: which there are, and what each would take."""
    host.rows(await asyncio.to_thread(_profile_rows, host.options, host.agent))


def _profile_rows(options: AgentOptions, agent: Agent | None) -> Rows:
    rows: Rows = [("engine", where(options))]
    for name in list_profiles():
        try:
            profile = load_profile(name)
        except ProfileError as error:
            rows.append((name, one_line(str(error), 200)))
            continue
        if name == options.engine.profile and not options.engine.base_url:
            told = "this one" if agent is not None else "this one, not reached"
        elif profile.base_url:
            told = f"the server {profile.base_url}"
        else:
            told = _load_words(asyncio.run(look(name)), name)
        rows.append((name, told))
    return [*rows, *model_rows(options, agent)[-2:]]


def _load_words(status: EngineStatus | None, name: str) -> str:
    if status is not None and status.up:
        many = len(users(status))
        return f"runs already{f', used by {many}' if many else ''}"
    took = start_seconds(status or EngineStatus(state="absent", profile=name))
    if status is not None and status.state == "starting":
        return "is being started"
    return (
        f"its last load took {about(took)}" if took else "has to be loaded; how long is not known"
    )


async def change(host: Host, text: str) -> None:
    """Do what `/model NAME` or `/profile NAME` asks."""
    word, model = argument(text), text.lower().startswith("/model")
    if host.agents.loading:
        now = host.options.engine.profile
        if word == now and now:
            host.agents.give_up()
            return
        stay = f", or /profile {now} stays here" if now else ""
        host.say(
            [("warning", f"{host.agents.loading} is being reached: wait until it is there{stay}")]
        )
        return
    try:
        settings, profile = await _target(host, word, model=model)
    except _CannotSwitch as error:
        host.say([("warning", str(error))])
        return
    cost = await _cost(host, settings, profile)
    if not cost.free and not await _wants(host, word, cost):
        host.say([("dim", "nothing was changed")])
        return
    host.agents.holds = bool(cost.halts)
    try:
        for name in cost.halts:
            await halt(engine_paths(name))
    except (HaltError, OSError) as error:
        host.agents.holds = False
        host.again()  # what was typed meanwhile waits
        host.say([("error", str(error))])
        return
    if host.agent is not None:
        way = "messages wait" if cost.halts else f"until then {host.agent.client.model} answers"
        host.say([("dim", f"reaching {one_line(word)}: {way}")])
    await host.agents.reach(settings)


async def _target(host: Host, word: str, *, model: bool) -> tuple[EngineSettings, Profile | None]:
    """What a word means. Raises _CannotSwitch."""
    engine = host.options.engine
    if model and _server(engine):
        names = await _models(host.agent)
        if not names or word in names:
            return replace(engine, model=word), None
        if word not in list_profiles():
            listed = ", ".join(names[:NAMES_SHOWN])
            raise _CannotSwitch(f"the server does not list {one_line(word)}: it has {listed}")
    name = await asyncio.to_thread(_profile_called, word) if model else word
    try:
        profile = await asyncio.to_thread(load_profile, name)
    except ProfileError as error:
        raise _CannotSwitch(str(error)) from error
    fresh = EngineSettings(
        profile=name,
        python=engine.python,
        idle_stop=engine.idle_stop,
        warm=engine.warm,
        stall=engine.stall,
        queue_class=engine.queue_class,
        queue_timeout=engine.queue_timeout,
        thinking=engine.thinking,
    )
    if host.agent is not None and fresh.profile == engine.profile and not engine.base_url:
        raise _CannotSwitch(f"{one_line(word)} answers here already")
    return fresh, profile


async def _models(agent: Agent | None) -> Sequence[str]:
    """Those that the server lists; none where it can't be asked."""
    try:
        return await agent.client.models() if agent is not None else ()
    except ModelError:
        return ()


def _profile_called(word: str) -> str:
    """The profile that serves a model of that name, else the word itself."""
    for name in list_profiles():
        try:
            profile = load_profile(name)
        except ProfileError:
            continue
        if word.lower() in (name.lower(), profile.served_name.lower(), profile.model.lower()):
            return name
    return word


def _server(engine: EngineSettings) -> str:
    """The address of a server that somebody else runs; "": an engine of ours."""
    if engine.base_url or not engine.profile:
        return engine.base_url
    try:
        return load_profile(engine.profile).base_url
    except ProfileError:
        return ""


async def _cost(host: Host, settings: EngineSettings, profile: Profile | None) -> _Cost:
    lines: list[str] = []
    halts: tuple[str, ...] = ()
    agent = host.agent
    held = agent.context_tokens()[0] if agent is not None and len(agent.transcript) else 0
    free = not held
    if profile is not None and not profile.base_url:
        status = await look(profile.name)
        lines.append(f"{profile.name} {_load_words(status, profile.name)}")
        if status is None or not status.up:
            free = agent is None
            halts = await asyncio.to_thread(_in_the_way, profile)
    for name in halts:
        free = False
        lines.append(f"its GPUs are those of {name}, which is stopped for it")
        if (there := await look(name)) is not None:
            lines += cost_lines(there, "stop")
    if held:
        lines.append(f"the {held:,} tokens of this session are computed there anew")
    return _Cost(lines=tuple(lines), halts=halts, free=free)


def _in_the_way(profile: Profile) -> tuple[str, ...]:
    """Engines whose GPUs this one needs."""
    mine = wanted(profile, {**os.environ, **profile.env}, find_gpus())
    others = [one for one in taken() if one.profile != profile.name]
    if mine is None or not refusal(mine, others):
        return ()
    return tuple(one.profile for one in others if set(one.gpus) & set(mine.gpus))


async def _wants(host: Host, word: str, cost: _Cost) -> bool:
    asked = ApprovalAsked(
        call_id=f"switch-{word}",
        name="Switch",
        subject=one_line(word),
        preview=Preview(kind="text", title=one_line(word), body="\n".join(cost.lines)),
        question="Go on with it in this session?",
    )
    approval = await host.confirm(asked)
    return approval is not None and approval.allowed
