"""Opens a conversation: decides which engine answers, reaches it, and makes the Agent.

With a base URL no supervisor is started; otherwise the profile's engine is attached (and
started if need be). Without a GPU, an engine or a server nothing opens on a toy: the person
is told how to get one. Must not print.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from glmcode.agent import Agent, AgentOptions, Answer, nobody
from glmcode.agent_head import Ahead
from glmcode.agent_nested import (
    Nested,
    Ready,
    lease,
    looking_again,
    reach,
    said,
    taking_over,
)
from glmcode.agent_options import Reached
from glmcode.agent_own import all_specs
from glmcode.base.nested import way_out
from glmcode.base.paths import state_folder
from glmcode.base.settings import ContextSettings, EngineSettings, Reasoning
from glmcode.base.thinking import Thinking, parse_thinking
from glmcode.core.events import Notice
from glmcode.core.model import Emit, ModelError
from glmcode.core.tool import Tool
from glmcode.engine.attach import EngineAddress, EngineUnavailable, attach
from glmcode.engine.client import Client, Endpoint, connect
from glmcode.engine.default import NO_ENGINE, machine_profile
from glmcode.engine.lane import Lane
from glmcode.engine.paths import engine_paths
from glmcode.engine.profile import Profile, ProfileError, find_tokenizer, load_profile
from glmcode.engine.streamed import goes_on_the_same

SPEEDS = "speeds.json"


class OpenError(Exception):
    """No conversation can begin. usage: the caller asked for something impossible (exit 2)."""

    def __init__(self, text: str, *, usage: bool = False) -> None:
        super().__init__(text)
        self.usage = usage


async def open_agent(options: AgentOptions, emit: Emit, answer: Answer = nobody) -> Agent:
    """Reach an engine and make an agent on it. Raises OpenError, ModelError, JournalError."""
    nested = None
    if way_out(os.environ):
        if not options.engine.base_url:
            nested = await reach(options.engine.profile, emit)
            options = taking_over(options, nested)
        emit(Notice(text=said(nested)))
    ahead = Ahead(options) if options.stored is None else None
    try:
        on = await reach_engine(options, emit, nested)
    except BaseException:
        if ahead is not None:
            ahead.stop()
        raise
    try:
        if ahead is None:
            return Agent(on.options, on.client, emit, answer, on.ready)
        mapped = on.options.context.map != "off"
        head = await ahead.head(on.client, emit, mapped=mapped)
        return Agent(on.options, on.client, emit, answer, on.ready, head, ahead.block)
    except BaseException:
        if ahead is not None:
            ahead.stop()
        await on.client.close()
        raise


async def reach_engine(options: AgentOptions, emit: Emit, nested: Nested | None = None) -> Reached:
    """The engine that the options name, started if need be. Raises OpenError, ModelError."""
    client, ready, profile = await (
        open_client(options.engine, emit, options.context, options.lane, options.own_tools)
        if nested is None
        else _nested_client(nested, options, emit)
    )
    options = _fitted(options, profile)
    client.allowance.limit = options.max_output_tokens
    if client.supervisor is not None and profile is not None:
        options = replace(options, lease=lease(options, client.supervisor, profile))
    return Reached(options=options, client=client, ready=ready)


def _fitted(options: AgentOptions, profile: Profile | None) -> AgentOptions:
    """The options as the engine's profile bounds them."""
    context = options.context
    if context.map == "auto" and profile is not None and not profile.map:
        context = replace(context, map="off")
    limit, engine = options.result_chars, options.engine
    if profile is not None:
        limit = min(limit, profile.results)
        engine = replace(engine, api_key_env=engine.api_key_env or profile.api_key_env)
    return replace(options, context=context, result_chars=limit, engine=engine)


async def open_client(
    engine: EngineSettings,
    emit: Emit,
    context: ContextSettings,
    lane: Lane | None = None,
    own_tools: Sequence[Tool] = (),
) -> tuple[Client, Ready | None, Profile | None]:
    """The client; for an engine of ours also how to bring it back, and its profile."""
    reasoning: Reasoning = "template" if context.reasoning == "template" else "keep"
    if engine.base_url:
        endpoint = Endpoint(
            base_url=engine.base_url,
            api_key=_api_key(engine),
            model=engine.model or None,
            protocol=_protocol(engine.protocol),
            tokenizer=_tokenizer(engine),
            window=context.window or None,
            reasoning=reasoning,
            lane=_lane_headers(lane, "tokens", {}),
            insists=_insists(lane),
            thinking=_thinking(engine),
            speeds=state_folder() / SPEEDS,
        )
        return await connect(endpoint, all_specs(own_tools), emit), None, None
    name = engine.profile or machine_profile()
    if name is None:
        raise ModelError(NO_ENGINE, kind="unavailable")
    try:
        profile = await asyncio.to_thread(load_profile, name)
    except ProfileError as error:
        raise OpenError(str(error), usage=True) from error
    if engine.python:
        profile = replace(profile, python=engine.python)
    if profile.base_url:
        return await _server_client(profile, engine, emit, context, lane, own_tools), None, profile

    async def ready() -> None:
        try:
            await attach(profile, emit)
        except EngineUnavailable as error:
            raise ModelError(str(error), kind="unavailable", detail=error.log) from error

    try:
        address = await attach(profile, emit)
    except EngineUnavailable as error:
        raise ModelError(str(error), kind="unavailable", detail=error.log) from error
    endpoint = _our_endpoint(address, profile, engine, context, lane)
    return await connect(endpoint, all_specs(own_tools), emit), ready, profile


async def open_asker(
    engine: EngineSettings,
    emit: Emit,
    context: ContextSettings,
    lane: Lane | None = None,
    own_tools: Sequence[Tool] = (),
) -> Client:
    """A client for questions that need no agent, such as a review; from inside the sandbox of
    another run that one's engine. Raises OpenError, ModelError."""
    if way_out(os.environ) and not engine.base_url:
        nested = await reach(engine.profile, emit)
        endpoint = _our_endpoint(nested, nested.profile, engine, context, lane)
        return await connect(endpoint, all_specs(own_tools), emit)
    client, _, _ = await open_client(engine, emit, context, lane)
    return client


async def _nested_client(
    nested: Nested, options: AgentOptions, emit: Emit
) -> tuple[Client, Ready, Profile]:
    """As open_client, from inside the sandbox of another run."""
    endpoint = _our_endpoint(nested, nested.profile, options.engine, options.context, options.lane)
    ready = looking_again(options.engine.profile, emit)
    specs = all_specs(options.own_tools)
    return await connect(endpoint, specs, emit), ready, nested.profile


def _our_endpoint(
    address: EngineAddress | Nested,
    profile: Profile,
    engine: EngineSettings,
    context: ContextSettings,
    lane: Lane | None,
) -> Endpoint:
    return Endpoint(
        socket=address.socket,
        model=address.model,
        protocol=_protocol(engine.protocol or profile.protocol),
        tokenizer=address.tokenizer,
        window=min(address.window, context.window or address.window),
        sampling=profile.sampling,
        step_cap=profile.step_cap,
        reasoning="template" if context.reasoning == "template" else "keep",
        headers=_lane_headers(lane, engine.protocol or profile.protocol, profile.sampling),
        stall_s=engine.stall,
        gives_up=lane is None or lane.kind != "interactive",
        thinking=_thinking(engine),
        speeds=state_folder() / SPEEDS,
        figures=engine_paths(profile.name).figures,
    )


async def _server_client(
    profile: Profile,
    engine: EngineSettings,
    emit: Emit,
    context: ContextSettings,
    lane: Lane | None,
    own_tools: Sequence[Tool],
) -> Client:
    """The client of a server that a profile names; nothing is started."""
    own = replace(engine, api_key_env=engine.api_key_env or profile.api_key_env)
    tokenizer = _tokenizer(engine) if engine.tokenizer else find_tokenizer(profile)
    wanted = _protocol(engine.protocol)
    if wanted is None and profile.protocol == "chat":
        wanted = "chat"
    window = profile.window if isinstance(profile.window, int) else None
    endpoint = Endpoint(
        base_url=profile.base_url,
        api_key=_api_key(own),
        model=engine.model or profile.served_name or None,
        protocol=wanted,
        tokenizer=tokenizer,
        window=context.window or window,
        sampling=profile.sampling,
        step_cap=profile.step_cap,
        reasoning="template" if context.reasoning == "template" else "keep",
        lane=_lane_headers(lane, "tokens", profile.sampling),
        insists=_insists(lane),
        thinking=_thinking(engine),
        speeds=state_folder() / SPEEDS,
    )
    return await connect(endpoint, all_specs(own_tools), emit)


def _insists(lane: Lane | None) -> bool:
    """Whether somebody would be harmed if one request of this run counted as any other."""
    return lane is not None and (lane.wait_s is not None or lane.kind in ("hook", "background"))


def _lane_headers(lane: Lane | None, protocol: str, sampling: Mapping[str, Any]) -> dict[str, str]:
    """Only ids can be gone on from, and only with a sampling that does not count them: else
    nothing that was seen is broken off."""
    if lane is None or not lane.run:
        return {}
    resumes = protocol == "tokens" and goes_on_the_same(sampling)
    return replace(lane, resumes=resumes, turns=True).headers()


def _protocol(name: str) -> Literal["tokens", "chat"] | None:
    match name:
        case "tokens" | "chat":
            return name
        case _:
            return None


def _thinking(engine: EngineSettings) -> Thinking:
    try:
        return parse_thinking(engine.thinking)
    except ValueError as error:
        raise OpenError(f"engine.thinking: {error}", usage=True) from error


def _tokenizer(engine: EngineSettings) -> Path | None:
    try:
        return Path(engine.tokenizer).expanduser() if engine.tokenizer else None
    except RuntimeError as error:
        raise OpenError(f"engine.tokenizer {engine.tokenizer}: {error}", usage=True) from error


def _api_key(engine: EngineSettings) -> str | None:
    if not engine.api_key_env:
        return None
    key = os.environ.get(engine.api_key_env)
    if not key:
        raise OpenError(
            f"the variable {engine.api_key_env} (--api-key-env) is not set or empty", usage=True
        )
    return key
