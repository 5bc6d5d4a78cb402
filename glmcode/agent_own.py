"""Tools that a caller brings from Python: their specs stand after ours, their rules are the same.

Ours come first in the preamble, so that its head is the same for every session. What a caller's
function raises is an answer to the model. Must not know what such a tool does: only the spec says
whether it changes anything.
"""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from glmcode.base.unwaited import in_own_thread
from glmcode.core.tool import Action, Preview, Tool, ToolError, ToolResult, ToolSpec
from glmcode.tools import check_against, load_tools
from glmcode.tools.arguments import fitted
from glmcode.tools.context import ToolContext
from glmcode.tools.output import bounded
from glmcode.tools.specs import load_specs

Function = Callable[..., Any]
"""Takes the arguments by name; what it returns, or what it awaits, goes to the model: a str as it
is, anything else as JSON."""

LONGEST = 200
"""Characters of the arguments that are shown."""


def all_specs(own: Sequence[Tool]) -> tuple[ToolSpec, ...]:
    """What the preamble of a session holds: our specs, then the caller's."""
    return (*load_specs(), *(tool.spec for tool in own))


def own_tool(spec: ToolSpec, function: Function) -> Tool:
    """A tool whose arguments are checked by its schema before anything else happens."""
    validator = _validator(spec)

    async def prepare(
        call_id: str, arguments: Mapping[str, Any], output: Callable[[str], None]
    ) -> Action:
        given = fitted(spec, arguments)
        subject = json.dumps(given, ensure_ascii=False)
        shown = subject if len(subject) <= LONGEST else f"{subject[:LONGEST]}…"
        return Action(
            effect=spec.effect,
            subject=subject,
            preview=Preview(kind="text", title=f"{spec.name} {shown}"),
            commit=lambda: _called(spec.name, function, given),
        )

    return Tool(
        spec=spec,
        check=lambda arguments: check_against(spec, arguments, validator),
        prepare=prepare,
    )


def all_tools(own: Sequence[Tool], context: ToolContext) -> dict[str, Tool]:
    """Ours and the caller's by name, bound to one session's context."""
    return {**load_tools(context), **{tool.spec.name: _bound(tool, context) for tool in own}}


def _bound(tool: Tool, context: ToolContext) -> Tool:
    """The same tool, whose results are cut to what one may hold; the rest is saved."""

    async def prepared(proposal: Awaitable[Action]) -> Action:
        action = await proposal

        async def commit() -> ToolResult:
            result = await action.commit()
            text = await asyncio.to_thread(bounded, context, result.for_model, name=tool.spec.name)
            return ToolResult(for_model=text, is_error=result.is_error)

        return Action(
            effect=action.effect, subject=action.subject, preview=action.preview, commit=commit
        )

    return Tool(
        spec=tool.spec,
        check=tool.check,
        prepare=lambda call_id, arguments, output: prepared(
            tool.prepare(call_id, arguments, output)
        ),
    )


def _validator(spec: ToolSpec) -> Any:
    from jsonschema import Draft202012Validator

    return Draft202012Validator(dict(spec.parameters))


async def _called(name: str, function: Function, arguments: Mapping[str, Any]) -> ToolResult:
    """Call it and wait for it, in a thread where it is no coroutine function. Raises ToolError."""
    if inspect.iscoroutinefunction(function):
        task = asyncio.ensure_future(function(**arguments))
    else:
        task = asyncio.ensure_future(in_own_thread(name, lambda: function(**arguments)))
    try:
        await asyncio.wait({task})
    except asyncio.CancelledError:
        task.cancel()
        await asyncio.wait({task}, timeout=1.0)
        raise
    if task.cancelled():
        raise ToolError(f"{name} was cancelled by itself")
    match task.exception():
        case None:
            return ToolResult(for_model=_text(name, task.result()))
        case ToolError() as error:
            raise error
        case error:
            raise ToolError(f"{name} failed: {type(error).__name__}: {error}") from error


def _text(name: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ToolError(f"{name} returned a {type(value).__name__}, which is no JSON") from error
