"""What a tool is: a spec the model reads, and a function that proposes an action.

Propose, approve, commit: preparing a call reads and computes, and returns an Action;
nothing has happened until its `commit` is awaited, and only the loop awaits it, after
permission was given. This module must not contain any tool, nor decide permission.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal, Protocol, TypeAlias


class Effect(Enum):
    """What a tool does to the world; fixed per tool, written in its spec."""

    READ = "read"
    WRITE = "write"
    EXECUTE = "execute"


class ToolError(Exception):
    """A call that cannot be done. The text goes to the model: what happened, what to do."""


class ToolRefused(ToolError):
    """A call that was not even tried (stale file, outside the rules): "not run: ..."."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolSpec:
    """A tool as the model is told about it. `parameters` is a JSON Schema object."""

    name: str
    description: str
    effect: Effect
    parameters: Mapping[str, Any]

    def function(self) -> dict[str, Any]:
        """The OpenAI form, key order as in the spec file: these bytes head every prompt."""
        return {
            "type": "function",
            "function": {
                "name": self.name,
                "description": self.description,
                "parameters": dict(self.parameters),
            },
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What a person sees: a unified diff, a command line, or plain text."""

    kind: Literal["diff", "command", "text"]
    title: str
    body: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileChange:
    """One file that a commit will change: absolute real path, sha256 hex before and after.

    `before` is None when the file does not exist yet. Stored as the intent, so that after
    a crash it can be told whether the change was applied.
    """

    path: str
    before: str | None
    after: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolResult:
    """The outcome, split by audience: the model's text, and what the person sees."""

    for_model: str
    for_user: Preview | None = None
    is_error: bool = False


Work: TypeAlias = Callable[[Callable[[], bool], Callable[[], object]], ToolResult]


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """What a call would do. `subject` is what rules match: a path or a command line.

    paths are the absolute real paths it touches, given the same ones as they were named, links
    and all (empty: as paths). commit must be awaited at most once, may raise ToolError, and must
    re-check what prepare saw. draft: what a person may edit before it is done: a command, or the
    whole new content of a file, as bytes; None: there is nothing to edit.
    """

    effect: Effect
    subject: str
    preview: Preview
    commit: Callable[[], Awaitable[ToolResult]]
    paths: tuple[str, ...] = ()
    given: tuple[str, ...] = ()
    changes: tuple[FileChange, ...] = field(default=())
    work: Work | None = None
    draft: bytes | None = None


class Prepare(Protocol):
    """Propose an action for validated arguments.

    Must not change anything outside the process; raises ToolError with advice.
    `output` takes live text for the person while the commit runs; it never blocks or raises.
    """

    def __call__(
        self, call_id: str, arguments: Mapping[str, Any], output: Callable[[str], None]
    ) -> Awaitable[Action]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A spec, its argument check (returns an error text or None) and its prepare function."""

    spec: ToolSpec
    check: Callable[[Mapping[str, Any]], str | None]
    prepare: Prepare
