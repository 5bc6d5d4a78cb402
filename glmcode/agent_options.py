"""What a front end decides before a conversation begins, and how a person answers.

Values and types only, so that front ends and the agent share them without importing each
other. Must not do anything.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from glmcode.base.settings import ContextSettings, EngineSettings, Mode, SandboxMode
from glmcode.core.events import ApprovalAsked
from glmcode.core.tool import Tool
from glmcode.engine.lane import Lane
from glmcode.engine.lease import Lease
from glmcode.permissions import Rule
from glmcode.sessions import StoredSession

if TYPE_CHECKING:
    from glmcode.engine.client import Client


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """A person's answer; advice goes to the model.

    session: rules to allow until the session ends, and when it is resumed. always: rules to allow
    in this folder from now on. together: the answer holds for all `others` of the question;
    singly: the other calls of this message shall be asked about one by one.
    """

    allowed: bool
    session: str = ""
    always: str = ""
    advice: str = ""
    together: bool = False
    singly: bool = False


Answer = Callable[[ApprovalAsked], Awaitable[Approval | None]]
"""Ask a person about an action; None means that nobody can answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandOptions:
    """How commands are confined. sandbox: None: as the permission mode has it, and changes with it.

    caches: folders that they may write besides the workspace.
    auto_allow: run unasked where the sandbox is complete; None: as a person once answered, who is
    asked if need be. environment: names or patterns of
    variables that look like secrets and are handed to commands all the same. engine: whether
    what runs in the sandbox may ask this run's engine.
    """

    sandbox: SandboxMode | None = None
    caches: tuple[Path, ...] = ()
    network: bool = False
    auto_allow: bool | None = False
    environment: tuple[str, ...] = ()
    engine: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentOptions:
    """What a front end decides before a conversation begins.

    max_turns counts model steps per turn, max_output_tokens what is generated in all of them;
    result_chars bounds one tool result. stored: a session to go on with (its journal is open
    and belongs to the agent from then on). trusted: whether its instructions may import files.
    checkpoints: whether what is changed can be undone. lane: how urgently this run asks an
    engine that others use too. lease: of a way to that engine for its own sandboxed commands.
    own_tools: the caller's, beside ours.
    """

    workspace: Path
    engine: EngineSettings = field(default_factory=EngineSettings)
    context: ContextSettings = field(default_factory=ContextSettings)
    mode: Mode = "default"
    allow: tuple[Rule, ...] = ()
    ask: tuple[Rule, ...] = ()
    deny: tuple[Rule, ...] = ()
    extra_folders: tuple[Path, ...] = ()
    commands: CommandOptions = field(default_factory=CommandOptions)
    system_prompt: str | None = None
    append_system_prompt: str | None = None
    max_turns: int | None = None
    max_output_tokens: int | None = None
    result_chars: int = 30_000
    checkpoints: bool = True
    trusted: bool = True
    session_id: str | None = None
    stored: StoredSession | None = None
    lane: Lane = field(default_factory=Lane)
    lease: Lease | None = None
    own_tools: tuple[Tool, ...] = ()


async def nobody(asked: ApprovalAsked) -> Approval | None:
    """The answer of a front end without a person."""
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """An engine that answers, and the options as it bounds them. ready: brings it back."""

    options: AgentOptions
    client: Client
    ready: Callable[[], Awaitable[None]] | None
