"""`engine start --listen HOST:PORT --api-key-env VAR`: the engine for other machines as well.

The key comes from a variable, never from the command line, where everybody on the machine could
read it, and goes to the supervisor over its private socket. Must not open anything itself.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from glmcode.engine.attach import EngineUnavailable, find_status
from glmcode.engine.control import ControlError, ask
from glmcode.engine.paths import engine_paths
from glmcode.engine.profile import Profile, ProfileError
from glmcode.engine.state import EngineStatus, status_from_json

if TYPE_CHECKING:
    import argparse


@dataclass(frozen=True, slots=True, kw_only=True)
class Listen:
    """Where to listen ("" : nowhere any more), and the key that is asked for, or its digest."""

    address: str
    key: str = field(default="", repr=False)
    digest: str = field(default="", repr=False)


def add_listen(start: argparse.ArgumentParser) -> None:
    """The options."""
    start.add_argument(
        "--listen",
        metavar="HOST:PORT",
        help="serve other programs and machines there as well, with the queue; `off` ends it",
    )
    start.add_argument(
        "--api-key-env",
        metavar="VAR",
        help="the variable that holds the key they must send; needed beyond this machine",
    )


def listening(arguments: argparse.Namespace) -> Listen | None:
    """What was asked for; None: leave it as it is (`restart` can't ask). Raises ProfileError."""
    if "listen" not in arguments:
        return None
    if arguments.listen is None:
        if arguments.api_key_env:
            raise ProfileError("--api-key-env goes with --listen HOST:PORT")
        return None
    if arguments.listen == "off":
        return Listen(address="")
    key = ""
    if arguments.api_key_env:
        # Neither a supervisor that is started now nor its engine inherits it.
        key = os.environ.pop(arguments.api_key_env, "").strip()
        if not key:
            raise ProfileError(f"the variable {arguments.api_key_env} is not set or empty")
    return Listen(address=arguments.listen, key=key)


async def door_of(name: str) -> Listen | None:
    """Where an engine listens now, for the supervisor that follows; None: nowhere."""
    try:
        code, value = await ask(engine_paths(name).socket, "GET", "/glmcode/listen", timeout_s=3.0)
    except ControlError:
        return None
    if code != 200 or not isinstance(value, dict) or not value.get("address"):
        return None
    return Listen(address=str(value["address"]), digest=str(value.get("digest", "")))


async def open_door(profile: Profile, wanted: Listen) -> EngineStatus:
    """Let the supervisor listen there. Raises EngineUnavailable, ProfileError."""
    paths = engine_paths(profile.name)
    body = {"address": wanted.address, "key": wanted.key, "digest": wanted.digest}
    try:
        code, value = await ask(paths.socket, "POST", "/glmcode/listen", body)
    except ControlError as error:
        raise EngineUnavailable(f"the supervisor of profile {paths.name}: {error}") from error
    if code == 404:
        raise EngineUnavailable(
            "the supervisor that runs is of an older glmcode: glmcode engine restart "
            f"--profile {profile.name}"
        )
    if code != 200:
        said = value.get("error", {}).get("message", "") if isinstance(value, dict) else ""
        raise ProfileError(said or f"the supervisor answered {code}")
    found = await find_status(paths)
    return found if found is not None else status_from_json(value)
