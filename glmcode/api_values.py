"""What the Python API takes and gives: options, tools of the caller, results, errors.

Part of the contract with callers: what stands here changes only with the version's first number.
Must not reach an engine.
"""

from __future__ import annotations

import os
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypedDict

from glmcode.core.messages import Usage
from glmcode.core.tool import Tool as CoreTool
from glmcode.exits import Exit
from glmcode.option_types import LONGEST_S

Event = dict[str, Any]
"""One line of `--output-format stream-json` as a dict: `type` is system, assistant, user,
stream_event or result."""
PermissionMode = Literal["plan", "default", "acceptEdits", "dontAsk", "bypassPermissions"]


class Options(TypedDict, total=False):
    """What `run` and `Agent` take by keyword; each is the option of `glmcode -p` of that name.

    cwd: the workspace, default the process's folder, which is never changed. tools: the caller's
    own. approve: answers what a person would be asked; without it nobody does. notify: takes what
    `glmcode -p` would say on stderr, a sentence at a time. time_limit: seconds of `run`, reaching
    the engine included, or of each `Agent.submit`. max_turns: model steps of a turn.
    max_output_tokens: generated in all turns together. schema: a JSON Schema that the answer
    shall be an instance of. settings: as `--set`. resume: the beginning of a session's id.
    """

    cwd: str | os.PathLike[str]
    profile: str
    base_url: str
    api_key_env: str
    model: str
    protocol: Literal["tokens", "chat"]
    thinking: Literal["on", "off"] | int
    permission_mode: PermissionMode
    allowed_tools: Sequence[str]
    disallowed_tools: Sequence[str]
    sandbox: Literal["read-only", "workspace-write", "danger-full-access"]
    add_dirs: Sequence[str | os.PathLike[str]]
    system_prompt: str
    append_system_prompt: str
    instructions: bool
    trust: bool
    max_turns: int
    max_output_tokens: int
    time_limit: float
    schema: Mapping[str, Any]
    resume: str
    fork_session: bool
    queue_class: Literal["interactive", "scripted", "hook", "background"]
    queue_timeout: float
    settings: Mapping[str, object]
    tools: Sequence[Tool]
    partial_messages: bool
    approve: Approve
    notify: Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalRequest:
    """A question: may the tool be called with this input?

    subject: the command line or the path. title and preview: what would happen, for a person; kind
    is diff, command or text. rules: the narrowest that would allow it without a question; none
    where no rule can, for the reason in why. question: what is asked instead where it is not
    whether the tool may run; then nothing can be remembered.
    """

    tool_name: str
    input: Mapping[str, Any]
    tool_use_id: str
    subject: str
    kind: Literal["diff", "command", "text"]
    title: str
    preview: str
    rules: tuple[str, ...]
    why: str
    question: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Allow:
    """Yes. remember: not to be asked again in this session, or always in this folder, by the rules
    of the question, or by these if they allow it. edited: the command, or the whole text of the
    file, to be run or written in place of what was proposed; the rules judge it, the model is told.
    """

    remember: Literal["", "session", "always"] = ""
    rules: Sequence[str] = ()
    edited: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Deny:
    """No. reason: told to the model. interrupt: the turn ends, too."""

    reason: str = ""
    interrupt: bool = False


Answer = Allow | Deny | bool | None
"""True and False are a bare Allow and Deny; None: nobody can answer, so the exit code is 3."""
Approve = Callable[[ApprovalRequest], Answer | Awaitable[Answer]]
"""Answers a question. A coroutine function is awaited, another is called in a thread; the turn
waits. What it raises ends the turn with an error, and the tool does not run."""


class GlmcodeError(Exception):
    """Something went wrong. exit_code: what `glmcode -p` would end with. log: raw lines that back
    it. result: of the turn, None where none began."""

    def __init__(
        self, text: str, *, exit_code: int = Exit.ERROR, log: str = "", result: Result | None = None
    ) -> None:
        super().__init__(text)
        self.exit_code = int(exit_code)
        self.log = log
        self.result = result


class UsageError(GlmcodeError):
    """The caller asked for something that cannot be (2)."""


class BudgetError(GlmcodeError):
    """The steps, the time or the tokens were used up (53)."""


class UnavailableError(GlmcodeError):
    """The engine is busy, loading, unreachable or stuck: try again later (75)."""


class InterruptedTurn(GlmcodeError):
    """The turn was told to stop (130)."""


_KINDS: Mapping[int, type[GlmcodeError]] = {
    Exit.USAGE: UsageError,
    Exit.BUDGET: BudgetError,
    Exit.UNAVAILABLE: UnavailableError,
    Exit.INTERRUPTED: InterruptedTurn,
}


def error_for(code: int, text: str, *, log: str = "", result: Result | None = None) -> GlmcodeError:
    """The exception of an exit code."""
    kind = _KINDS.get(code, GlmcodeError)
    return kind(text, exit_code=code, log=log, result=result)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How a turn ended. exit_code: 0 done; 3 done, but something needed an answer that nobody could
    give (permission_denials); others as in `glmcode --help`.

    structured_output: the value where a schema was given. num_turns: model steps. usage: tokens of
    this turn. event: the line `result` of stream-json.
    """

    text: str
    structured_output: Any
    exit_code: int
    subtype: str
    error: str
    log: str
    session_id: str
    num_turns: int
    duration_s: float
    usage: Usage
    permission_denials: tuple[Mapping[str, Any], ...]
    event: Mapping[str, Any]

    @property
    def ok(self) -> bool:
        """Whether the turn came to its answer (exit codes 0 and 3)."""
        return self.exit_code in (Exit.DONE, Exit.UNANSWERED)

    def check(self) -> Result:
        """Itself. Raises GlmcodeError, or the one of its exit code, where it is not ok."""
        if self.ok:
            return self
        raise error_for(self.exit_code, self.error, log=self.log, result=self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A tool of the caller: what the model is told, and the function that does it.

    parameters: a JSON Schema of type object; arguments are checked by it before anything is asked
    or run. function takes them by name and may be a coroutine function; others run in a thread.
    A str goes to the model as it is, anything else as JSON; what it raises is told to the model.
    effect: "execute" needs a permission (a rule with the tool's name, or bypassPermissions);
    "read" promises that nothing is changed: runs unasked, also in plan mode and beside others.
    The function runs in this process, outside of the sandbox.
    """

    name: str
    description: str
    parameters: Mapping[str, Any]
    function: Callable[..., Any]
    effect: Literal["read", "execute"] = "execute"


def core_tools(tools: Sequence[Tool]) -> tuple[CoreTool, ...]:
    """The tools as a conversation takes them. Raises UsageError."""
    if isinstance(tools, str) or not all(isinstance(tool, Tool) for tool in tools):
        raise UsageError("tools is a list of glmcode.Tool", exit_code=Exit.USAGE)
    names = [tool.name for tool in tools]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"two tools are called {name}", exit_code=Exit.USAGE)
    return tuple(_core_tool(tool) for tool in tools)


def _core_tool(tool: Tool) -> CoreTool:
    from glmcode.agent_own import own_tool
    from glmcode.agent_structured import SchemaError, check_schema
    from glmcode.core.tool import Effect, ToolSpec
    from glmcode.permissions.rules import FOREIGN, TOOLS

    problem = ""
    parameters: dict[str, Any] = {"type": "object", "properties": {}, "required": []}
    parameters |= {"additionalProperties": False, **tool.parameters}
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,63}", tool.name):
        problem = "a tool's name is made of letters, digits and _"
    elif tool.name in TOOLS or tool.name in FOREIGN:
        problem = "this name is taken: choose another"
    elif not tool.description.strip():
        problem = "it needs a description: it is what the model is told"
    elif tool.effect not in ("read", "execute"):
        problem = f"its effect is {tool.effect!r}: read or execute"
    elif not callable(tool.function):
        problem = "its function cannot be called"
    elif parameters["type"] != "object" or not isinstance(parameters["properties"], Mapping):
        problem = "its parameters are no JSON Schema of type object with properties"
    if not problem:
        try:
            check_schema(parameters, f"parameters of {tool.name}")
        except SchemaError as error:
            problem = str(error)
    if problem:
        raise UsageError(f"the tool {tool.name!r}: {problem}", exit_code=Exit.USAGE)
    spec = ToolSpec(
        name=tool.name,
        description=tool.description.strip(),
        effect=Effect(tool.effect),
        parameters=parameters,
    )
    return own_tool(spec, tool.function)


def checked_limit(limit: float | None) -> float | None:
    """A time limit as the command line takes it. Raises UsageError."""
    number = isinstance(limit, (int, float)) and not isinstance(limit, bool)
    if limit is None or (number and 0 < limit < LONGEST_S):
        return limit
    raise UsageError(f"time_limit is seconds, more than 0, not {limit!r:.60}", exit_code=Exit.USAGE)


_FLAGS = {
    "profile": "--profile",
    "base_url": "--base-url",
    "api_key_env": "--api-key-env",
    "model": "--model",
    "protocol": "--protocol",
    "thinking": "--thinking",
    "permission_mode": "--permission-mode",
    "sandbox": "--sandbox",
    "system_prompt": "--system-prompt",
    "append_system_prompt": "--append-system-prompt",
    "max_turns": "--max-turns",
    "max_output_tokens": "--max-output-tokens",
    "time_limit": "--time-limit",
    "resume": "--resume",
    "queue_class": "--queue-class",
    "queue_timeout": "--queue-timeout",
}


def as_arguments(options: Options) -> list[str]:
    """The options as `glmcode -p` would be given them. Raises UsageError for an unknown one."""
    given: Mapping[str, Any] = {**options}
    unknown = sorted(given.keys() - Options.__annotations__.keys())
    if unknown:
        raise UsageError(f"there is no option {unknown[0]}", exit_code=Exit.USAGE)
    folder = Path(given.get("cwd") or Path.cwd())
    words = ["-p", f"--cd={folder}"]
    words += [f"{_FLAGS[name]}={given[name]}" for name in _FLAGS if given.get(name) is not None]
    for name, flag in (
        ("allowed_tools", "--allowed-tools"),
        ("disallowed_tools", "--disallowed-tools"),
    ):
        rules = given.get(name) or ()
        words += [f"{flag}={rule}" for rule in ((rules,) if isinstance(rules, str) else rules)]
    words += [f"--add-dir={folder / Path(one)}" for one in given.get("add_dirs") or ()]
    for key, value in (given.get("settings") or {}).items():
        words.append(f"--set={key}={_setting(value)}")
    for name, flag in (("trust", "--trust"), ("fork_session", "--fork-session")):
        words += [flag] if given.get(name) else []
    return [*words, *(["--no-instructions"] if given.get("instructions") is False else [])]


def _setting(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
