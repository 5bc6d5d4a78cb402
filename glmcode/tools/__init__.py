"""Floor 2: the deeds. Pairs each spec of tools/*.toml with the function that serves it.

Every tool module holds one coroutine `prepare(ctx, call, *, <arguments of the spec>)`
that returns an Action. Modules are imported when first called for, so that the launch
pays for none of them. No tool asks for permission, and none imports another floor-2 folder.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache, partial
from importlib import import_module
from typing import Any

from glmcode.core.tool import Action, Tool, ToolSpec
from glmcode.tools.arguments import fitted
from glmcode.tools.context import Call, ToolContext
from glmcode.tools.specs import load_specs

MODULES = {
    "Read": "read",
    "Write": "write",
    "Edit": "edit",
    "Bash": "bash",
    "BashOutput": "background",
    "KillShell": "background",
    "Grep": "grep",
    "Glob": "glob",
    "TodoWrite": "todo",
}
FUNCTIONS = {"BashOutput": "prepare_output", "KillShell": "prepare_kill"}


def load_tools(ctx: ToolContext) -> dict[str, Tool]:
    """All tools by name, bound to one session's context."""
    return {spec.name: _bind(spec, ctx) for spec in load_specs()}


def tool_function(name: str) -> Callable[..., Awaitable[Action]]:
    """The `prepare` coroutine of a tool, imported on demand."""
    module = import_module(f"glmcode.tools.{MODULES[name]}")
    function: Callable[..., Awaitable[Action]] = getattr(module, FUNCTIONS.get(name, "prepare"))
    return function


def pieces() -> list[Callable[[], object]]:
    """Imports that the first calls need, to be called in a thread beforehand."""
    tools = [partial(tool_function, name) for name in ("Read", "Edit", "Bash")]
    return [lambda: _validator("Read"), *tools]


def _bind(spec: ToolSpec, ctx: ToolContext) -> Tool:
    def prepare(
        call_id: str, arguments: Mapping[str, Any], output: Callable[[str], None]
    ) -> Awaitable[Action]:
        return tool_function(spec.name)(ctx, Call(call_id, output), **fitted(spec, arguments))

    return Tool(
        spec=spec, check=lambda arguments: check_arguments(spec, arguments), prepare=prepare
    )


@lru_cache(maxsize=32)
def _validator(name: str) -> Any:
    from jsonschema import Draft202012Validator

    spec = next(s for s in load_specs() if s.name == name)
    return Draft202012Validator({**spec.parameters, "additionalProperties": False})


def check_arguments(spec: ToolSpec, arguments: Mapping[str, Any]) -> str | None:
    """None when the arguments fit the spec, else what is wrong and which names exist."""
    return check_against(spec, arguments, _validator(spec.name))


def check_against(spec: ToolSpec, arguments: Mapping[str, Any], validator: Any) -> str | None:
    """As check_arguments, with the validator of the spec's parameters."""
    arguments = fitted(spec, arguments)
    problems: list[str] = []
    properties = spec.parameters["properties"]
    for name in arguments:
        if name not in properties:
            problems.append(f"unknown argument {name!r}")
    for name in spec.parameters["required"]:
        if name not in arguments:
            problems.append(f"missing argument {name!r}")
    if not problems:
        for error in validator.iter_errors(arguments):
            where = ".".join(str(part) for part in error.absolute_path) or "arguments"
            said = error.message
            said = said if len(said) <= 200 else f"{said[:100]}...{said[-100:]}"
            problems.append(f"{where}: {said}")
    if not problems:
        return None
    required = spec.parameters["required"]
    known = ", ".join(
        f"{name} ({properties[name].get('type', 'any')}{'' if name in required else ', optional'})"
        for name in properties
    )
    return f"{'; '.join(problems[:5])}. {spec.name} takes: {known}."
