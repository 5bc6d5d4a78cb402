"""Messages to pieces, as GLM-4.6's chat template writes them.

Two ways in. `render` takes OpenAI-form messages and gives exactly the template's text,
which blanks the reasoning of earlier turns (policy `template`). The other functions write
one message of glmcode's own conversation at a time and keep reasoning (policy `keep`), so
that a prompt only ever grows. Both share every line that they have in common. Must not
know token ids.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

from glmcode.core.messages import AssistantMessage, ToolCall, ToolMessage, UserMessage
from glmcode.core.transcript import Preamble
from glmcode.glm.pieces import Control, Piece, Text

_NOTHINK = "/nothink"
_TOOLS_HEAD = """
# Tools

You may call one or more functions to assist with the user query.

You are provided with function signatures within <tools></tools> XML tags:
<tools>
"""
_TOOLS_FOOT = """</tools>

For each function call, output the function name and arguments within the following XML format:
"""


class TemplateError(Exception):
    """A message cannot be rendered; the text names it and what is wrong."""


# What both ways share


def _head() -> list[Piece]:
    return [Control("[gMASK]"), Control("<sop>")]


def _tools(tools: Sequence[Mapping[str, Any]]) -> list[Piece]:
    lines = "".join(json.dumps(tool, ensure_ascii=False) + "\n" for tool in tools)
    pieces: list[Piece] = [Control("<|system|>"), Text(_TOOLS_HEAD + lines + _TOOLS_FOOT)]
    pieces += [Control("<tool_call>"), Text("{function-name}\n")]
    for number in (1, 2):
        pieces += _argument(f"{{arg-key-{number}}}", f"{{arg-value-{number}}}")
    return [*pieces, Text("...\n"), Control("</tool_call>")]


def _argument(key: str, value: str) -> list[Piece]:
    return [
        Control("<arg_key>"),
        Text(key),
        Control("</arg_key>"),
        Text("\n"),
        Control("<arg_value>"),
        Text(value),
        Control("</arg_value>"),
        Text("\n"),
    ]


def _system(text: str) -> list[Piece]:
    return [Control("<|system|>"), Text("\n" + text)]


def _user(text: str, thinking: bool) -> list[Piece]:
    if thinking:
        return [Control("<|user|>"), Text("\n" + text)]
    return [Control("<|user|>"), Text("\n" + text.removesuffix(_NOTHINK)), Control(_NOTHINK)]


def _think(reasoning: str) -> list[Piece]:
    inner = [Text(reasoning)] if reasoning else []
    return [Text("\n"), Control("<think>"), *inner, Control("</think>")]


def _call(name: str, arguments: Mapping[str, Any]) -> list[Piece]:
    pieces: list[Piece] = [Text("\n"), Control("<tool_call>"), Text(name + "\n")]
    for key, value in arguments.items():
        spelled = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        pieces += _argument(key, spelled)
    return [*pieces, Control("</tool_call>")]


def _tool_response(text: str) -> list[Piece]:
    return [
        Text("\n"),
        Control("<tool_response>"),
        Text(f"\n{text}\n"),
        Control("</tool_response>"),
    ]


def generation_pieces(thinking: bool = True) -> list[Piece]:
    """What makes the model answer: its role token, and a closed think block with thinking off."""
    role: list[Piece] = [Control("<|assistant|>")]
    return role if thinking else role + _think("")


# glmcode's own conversation, one message at a time


def preamble_pieces(preamble: Preamble) -> list[Piece]:
    """The head of every prompt of a session: tool specs, then the system message."""
    tools = [spec.function() for spec in preamble.specs]
    return [*_head(), *(_tools(tools) if tools else []), *_system(preamble.system)]


def user_pieces(message: UserMessage, thinking: bool = True) -> list[Piece]:
    """One user message; with thinking off it ends with the control `/nothink`."""
    return _user(message.text, thinking)


def tool_run_pieces(messages: Sequence[ToolMessage], opened: bool = False) -> list[Piece]:
    """Consecutive tool results under one `<|observation|>`.

    opened: the run was begun before, its role token already stands.
    """
    pieces: list[Piece] = [] if opened or not messages else [Control("<|observation|>")]
    for message in messages:
        pieces += _tool_response(message.text)
    return pieces


def assistant_pieces(message: AssistantMessage) -> list[Piece]:
    """A reply whose generated ids are not known (from a `chat` server, or written by us).

    A rejected call is written as the text that it was.
    """
    pieces = [Control("<|assistant|>"), *_think(message.reasoning.strip())]
    text = message.text.strip()
    if text:
        pieces.append(Text("\n" + text))
    for position in range(len(message.calls) + 1):
        pieces += [Text("\n" + r.raw) for r in message.rejected if r.before == position]
        if position < len(message.calls):
            call: ToolCall = message.calls[position]
            pieces += _call(call.name, call.arguments)
    return pieces


# OpenAI-form messages, as the template renders them


def render(
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Mapping[str, Any]] | None = None,
    add_generation_prompt: bool = False,
    enable_thinking: bool = True,
) -> list[Piece]:
    """The prompt of a whole conversation, equal in text to GLM-4.6's template.

    Where the template would fail or print Python's `None`, content that is null counts as
    empty, and arguments may also be a JSON object in a string. Raises TemplateError.
    """
    pieces = _head()
    if tools:
        pieces += _tools(tools)
    last_user = max((i for i, m in enumerate(messages) if m.get("role") == "user"), default=-1)
    before = ""
    for index, message in enumerate(messages):
        role = message.get("role")
        content = message.get("content")
        if role == "system":
            pieces += _system(_visible(content))
        elif role == "user":
            pieces += _user(_visible(content), enable_thinking)
        elif role == "assistant":
            pieces += _openai_assistant(message, index, live=index > last_user)
        elif role == "tool":
            pieces += _openai_tool(content, opened=before == "tool")
        before = str(role)
    return pieces + generation_pieces(enable_thinking) if add_generation_prompt else pieces


def _visible(content: Any) -> str:
    """The text of a content: a string, or the text parts of a list."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, list | tuple):
        return str(content)
    parts = (p.get("text") if _is_object(p) and p.get("type") == "text" else p for p in content)
    return "".join(part for part in parts if isinstance(part, str))


def _openai_tool(content: Any, opened: bool) -> list[Piece]:
    role: list[Piece] = [Control("<|observation|>")]
    if content is None or isinstance(content, str):
        return ([] if opened else role) + _tool_response(content or "")
    pieces = role
    for part in content if isinstance(content, list | tuple | Mapping) else [content]:
        pieces += _tool_response(str(part.get("output", part) if _is_object(part) else part))
    return pieces


def _is_object(part: Any) -> TypeGuard[Mapping[str, Any]]:
    return isinstance(part, Mapping)


def _openai_assistant(message: Mapping[str, Any], index: int, live: bool) -> list[Piece]:
    content = _visible(message.get("content"))
    given = (message.get("reasoning_content"), message.get("reasoning"))
    reasoning = next((r for r in given if isinstance(r, str)), None)
    if reasoning is None:
        reasoning, content = _split_inline(content)
    pieces = [Control("<|assistant|>"), *_think(reasoning.strip() if live else "")]
    if content.strip():
        pieces.append(Text("\n" + content.strip()))
    for number, call in enumerate(message.get("tool_calls") or []):
        where = f"messages[{index}].tool_calls[{number}]"
        function = call.get("function") or call if isinstance(call, Mapping) else None
        if not isinstance(function, Mapping):
            raise TemplateError(f"{where} is not an object with a function")
        name = function.get("name")
        pieces += _call("" if name is None else str(name), _arguments(function, where))
    return pieces


def _split_inline(content: str) -> tuple[str, str]:
    """Reasoning that stands in the content as `<think>...</think>`, and the rest."""
    if "</think>" not in content:
        return "", content
    first = content.split("</think>")[0].rstrip("\n")
    return first.split("<think>")[-1].lstrip("\n"), content.split("</think>")[-1].lstrip("\n")


def _arguments(function: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    arguments = function.get("arguments") or {}
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except (ValueError, RecursionError) as error:
            raise TemplateError(f"{where}: the arguments are not JSON: {error}") from error
    if not isinstance(arguments, Mapping):
        raise TemplateError(f"{where}: the arguments are not a JSON object")
    return arguments
