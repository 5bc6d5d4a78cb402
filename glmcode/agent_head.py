"""What a conversation begins with, got ready while the engine is being reached.

The head (preamble) of a new session and the environment block of its first message are read from
the disk in threads, so that the launch does not wait for them one after the other. A session that
is gone on with has its head already and reads nothing here. Must not open sessions or engines.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from glmcode.agent_map import MapAhead
from glmcode.agent_options import AgentOptions
from glmcode.agent_own import all_specs
from glmcode.agent_setup import system_text
from glmcode.base.paths import config_folder
from glmcode.context.environment import environment
from glmcode.context.instructions import Instructions, instructions
from glmcode.context.preamble import make_preamble
from glmcode.core.model import Emit
from glmcode.core.tool import Action, Effect, Preview, ToolResult
from glmcode.core.transcript import Preamble
from glmcode.engine.client import Client
from glmcode.permissions import Policy, decide

T = TypeVar("T")

FRESH_S = 5.0
"""How old an environment block may be when the first message is sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """A new session's preamble. files: real paths of the instruction files in it.

    notices: what a person should know about it.
    """

    preamble: Preamble
    files: frozenset[str] = frozenset()
    notices: tuple[str, ...] = ()


def build_head(options: AgentOptions) -> Head:
    """The head without a map. Blocks."""
    return _head(options, found_instructions(options), "")


def _head(options: AgentOptions, found: Instructions, repository_map: str) -> Head:
    preamble = make_preamble(
        all_specs(options.own_tools),
        system_text(options),
        instructions=found.text,
        repository_map=repository_map,
    )
    return Head(preamble=preamble, files=found.files, notices=found.notices)


def found_instructions(options: AgentOptions) -> Instructions:
    """The instruction files that a new session would begin with. Blocks."""
    if not options.context.instructions:
        return Instructions()
    policy = Policy(deny=options.deny, folders=(options.workspace, *options.extra_folders))
    return instructions(
        options.workspace,
        config_folder(),
        trusted=options.trusted,
        refused=lambda path: denial(policy, path),
    )


def denial(policy: Policy, path: Path) -> str:
    """Why a rule denies reading a path; "" where none does."""
    judgement = decide(policy, "Read", reading(path))
    return judgement.why if judgement.decision == "deny" else ""


def reading(path: Path) -> Action:
    """The action that reading a path would be, for a question about permission."""

    async def never() -> ToolResult:
        raise AssertionError("a question of permission is not a reading")

    return Action(
        effect=Effect.READ,
        subject=str(path),
        preview=Preview(kind="text", title=f"Read {path}"),
        commit=never,
        paths=(os.path.realpath(path),),
        given=(str(path),),
    )


class Ahead:
    """The readings of one launch, begun when it is made (in a running event loop)."""

    def __init__(self, options: AgentOptions) -> None:
        self._options = options
        self._instructions = _started(lambda: found_instructions(options))
        self._block, self._asked_at = self._asked()
        wanted = options.context.map
        self._map = None if wanted == "off" else MapAhead(options.workspace, wanted == "on")

    async def head(self, client: Client, emit: Emit, *, mapped: bool = True) -> Head:
        """The head of a new session; mapped: whether the engine's profile has a map."""
        text = ""
        if self._map is not None and mapped:
            text = await self._map.text(client.text_tokens, client.window, emit)
        else:
            self.stop()
        return _head(self._options, await self._instructions, text)

    def stop(self) -> None:
        """Nobody waits any more: what takes long ends early."""
        if self._map is not None:
            self._map.stop()

    async def block(self) -> str:
        """The environment block, asked for anew when it is not fresh any more."""
        if time.monotonic() - self._asked_at > FRESH_S:
            self._block, self._asked_at = self._asked()
        return await asyncio.shield(self._block)

    def _asked(self) -> tuple[asyncio.Future[str], float]:
        return _started(lambda: environment(self._options.workspace)), time.monotonic()


def _started(read: Callable[[], T]) -> asyncio.Future[T]:
    return asyncio.get_running_loop().run_in_executor(None, read)


def preamble_of(head: Head | None) -> Preamble:
    """That of a new session."""
    assert head is not None, "only a stored session has no head"
    return head.preamble
