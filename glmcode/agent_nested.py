"""A run inside the sandbox of another: how it gets its engine, and what it takes over.

The outer run's front end holds a hatch (engine/lease.py) through which its commands may ask, and
tells through it what a run inside could not read for itself: profile, tokenizer, and the rules that
deny or ask, which must hold inside as well. The inner run starts nothing and waits for an engine
only while that starts. Must not loosen anything: the outer sandbox holds whatever is decided here.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from glmcode.agent_options import AgentOptions
from glmcode.base.nested import CLOSED, way_out
from glmcode.core.events import EngineProgress
from glmcode.core.model import Emit, ModelError
from glmcode.engine.control import ControlError, ask
from glmcode.engine.hatch import ROUTE
from glmcode.engine.lease import Lease
from glmcode.engine.profile import Profile, find_tokenizer
from glmcode.engine.state import PROTOCOL
from glmcode.permissions import RuleError, parse_rules

LOOK_S = 0.5
NO_WAY = (
    "this run is inside the sandbox of another one, which lets no engine through "
    "(permissions.sandbox_engine, or it uses a server elsewhere): run it outside the sandbox"
)

OTHER = "the run around this one is of another version of glmcode: use the same"


@dataclass(frozen=True, slots=True, kw_only=True)
class Nested:
    """An engine as it is reached from inside. taken: what the outer run told of itself."""

    socket: Path
    model: str
    window: int
    tokenizer: Path | None
    profile: Profile
    taken: Mapping[str, Any]


def lease(options: AgentOptions, supervisor: Path, profile: Profile) -> Lease | None:
    """The way to this run's engine for its own sandboxed commands; None where there is to be none.

    One run has one; nothing is asked for before a command needs it.
    """
    if not options.commands.engine or not options.lane.run or way_out(os.environ):
        return None

    def told() -> Mapping[str, Any]:
        tokenizer = options.engine.tokenizer or find_tokenizer(profile) or ""
        return {
            "protocol": options.engine.protocol or profile.protocol,
            "tokenizer": str(tokenizer),
            "sampling": dict(profile.sampling),
            "step_cap": profile.step_cap,
            "results": profile.results,
            "map": profile.map,
            "window": options.context.window,
            "network": options.commands.network,
            "deny": [rule.text for rule in options.deny],
            "ask": [rule.text for rule in options.ask],
        }

    return Lease(supervisor, options.lane, told)


def said(nested: Nested | None) -> str:
    """What a person is told about a run inside; None: it asks a server of its own."""
    answers = "its engine answers, " if nested is not None else ""
    return (
        f"inside the sandbox of another run: {answers}its sandbox holds here as well, and this "
        "session is kept only as long as that run"
    )


async def reach(wanted: str, emit: Emit) -> Nested:
    """The outer run's engine, once it is up. wanted: a profile that was named, or "".

    Raises ModelError.
    """
    way = way_out(os.environ)
    if way == CLOSED:
        raise ModelError(NO_WAY, kind="unavailable")
    last: EngineProgress | None = None
    while True:
        value = await _look(Path(way))
        match value.get("state"):
            case "ready" | "busy":
                try:
                    return _nested(Path(way), value, wanted)
                except (LookupError, TypeError, ValueError) as error:
                    raise ModelError(OTHER, kind="unavailable") from error
            case "starting" | "stopping" as state:
                phase = str(value.get("phase") or f"the engine is {state}")
                now = EngineProgress(phase=phase, percent=value.get("percent"))
                if now != last:
                    emit(now)
                last = now
                await asyncio.sleep(LOOK_S)
            case state:
                why = f": {value['reason']}" if value.get("reason") else ""
                text = f"the engine of the run around this one is {state}{why}"
                raise ModelError(
                    f"{text}; from inside its sandbox none is started", kind="unavailable"
                )


async def state_outside() -> str:
    """What the outer run's engine does now, in a word."""
    way = way_out(os.environ)
    if way == CLOSED:
        return "out of reach from inside its sandbox"
    try:
        return str((await _look(Path(way))).get("state"))
    except ModelError:
        return "gone"


async def _look(way: Path) -> Mapping[str, Any]:
    try:
        code, value = await ask(way, "GET", ROUTE)
    except ControlError as error:
        text = "the engine of the run around this one is gone, or that run has ended"
        text = f"{text} ({error}); from inside its sandbox none is started"
        raise ModelError(text, kind="unavailable") from error
    if code != 200 or not isinstance(value, dict) or value.get("protocol") != PROTOCOL:
        raise ModelError(OTHER, kind="unavailable")
    return value


def _nested(way: Path, value: Mapping[str, Any], wanted: str) -> Nested:
    """Raises ModelError for what does not fit."""
    taken = value["facts"]
    name = str(value.get("profile"))
    if wanted and wanted != name:
        text = f"inside the sandbox of another run only its engine can be asked (profile {name})"
        raise ModelError(f"{text}, not that of profile {wanted}", kind="unavailable")
    tokenizer = Path(taken["tokenizer"]) if taken.get("tokenizer") else None
    return Nested(
        socket=way,
        model=str(value["model"]),
        window=int(value["window"]),
        tokenizer=tokenizer,
        profile=Profile(
            name=name,
            model=str(value["model"]),
            protocol="chat" if taken["protocol"] == "chat" else "tokens",
            sampling=taken["sampling"],
            step_cap=int(taken["step_cap"]),
            results=int(taken["results"]),
            map=bool(taken["map"]),
        ),
        taken=taken,
    )


def taking_over(options: AgentOptions, nested: Nested) -> AgentOptions:
    """The options with what the outer run forbids or asks about. Raises ModelError."""
    try:
        deny = parse_rules([str(rule) for rule in nested.taken["deny"]])
        asked = parse_rules([str(rule) for rule in nested.taken["ask"]])
    except RuleError as error:
        raise ModelError(f"a rule of the run around this one: {error}") from error
    known = nested.taken.get("window") or options.context.window
    window = min(known, options.context.window or known)
    network = options.commands.network or not nested.taken["network"]
    return replace(
        options,
        deny=(*options.deny, *deny),
        ask=(*options.ask, *asked),
        context=replace(options.context, window=window),
        checkpoints=False,  # the outer run's command is what can be undone
        # Where the outer sandbox has no network, there is none to close a second time.
        commands=replace(options.commands, network=network),
    )


Ready = Callable[[], Awaitable[None]]
"""Brings a dead engine of ours back, or waits for it; raises ModelError."""


def looking_again(wanted: str, emit: Emit) -> Ready:
    """What a nested run awaits at the start of later turns."""

    async def ready() -> None:
        await reach(wanted, emit)

    return ready
