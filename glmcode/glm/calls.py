"""Tool calls as they stand in an answer, and the judgement on each once it has ended.

The parser notes where a call and its parts lie (offsets into the answer's bytes); here it
is decided whether that is a call, a rejection, or prose that only mentions the tags. A
call either is what the model wrote, byte for byte, or it is rejected; nothing is guessed.
Must not look at more than the answer, the schemas and how it ended.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from glmcode.core.messages import RejectReason
from glmcode.glm.spans import CallSpan
from glmcode.glm.values import read_json, read_value

FinishReason: TypeAlias = Literal["stop", "length", "interrupted"]

MAX_NAME = 128
"""Longest tool name, in bytes; more than this after `<tool_call>` is not a name."""

_NAME = re.compile(r"\w[\w.:/-]*")
_NAME_SO_FAR = re.compile(rb"\s*(?:[\w\x80-\xff][\w.:/\x80-\xff-]*\s*)?")


class Malformed(Exception):
    """Internal to the dialect: a call that cannot be read."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How the answer ended: what decides between a broken call and a mere mention.

    observed: it stopped with `<|observation|>`, so the model believes that it called a tool.
    """

    reason: FinishReason
    observed: bool


def may_be_name(data: bytes) -> bool:
    """Whether what follows `<tool_call>` so far can still become a name."""
    return len(data) <= MAX_NAME and _NAME_SO_FAR.fullmatch(data) is not None


def rejection(span: CallSpan, ending: Ending) -> RejectReason | None:
    """Why a call is rejected before its parts are even read; None if it may be read."""
    if span.ambiguous:
        return "ambiguous"
    if span.end < 0 and ending.reason != "stop" and not span.fault:
        return "truncated"
    if span.end < 0 or span.fault:
        return "malformed"
    if span.nested:
        return "ambiguous" if span.quoting else "malformed"
    return None


def is_prose(
    span: CallSpan, answer: bytes | bytearray, known: Mapping[str, Any], ending: Ending
) -> bool:
    """Whether the tags are only mentioned: "Use the <tool_call> tag for that."

    Either no name follows, or it stands within a line, without arguments, and names no
    tool. An answer that stopped as a call does gets the benefit of the doubt only where no
    argument tag was written.
    """
    if span.ambiguous or (ending.observed and span.tags):
        return False
    end = span.name_end if span.name_end >= 0 else len(answer)
    text = answer[span.name_start : end].decode(errors="replace").strip()
    if text.startswith("{"):
        return (span.tags or span.inline) and _json_call(text) is None
    if text and not _is_name(text):
        return True
    return span.inline and not span.tags and text not in known


def span_name(span: CallSpan, answer: bytes | bytearray) -> str:
    """The tool's name if that much can be read, else the empty text."""
    end = span.name_end if span.name_end >= 0 else len(answer)
    head = answer[span.name_start : min(end, span.name_start + 4 * MAX_NAME)]
    name = head.decode(errors="replace").strip()
    return name if _is_name(name) else ""


def read_call(
    span: CallSpan, answer: bytes | bytearray, schemas: Mapping[str, Mapping[str, Any]]
) -> tuple[str, dict[str, Any]]:
    """Name and arguments of a closed call. Raises Malformed."""
    name = _text(answer, span.name_start, span.name_end).strip()
    if name.startswith("{") and not span.tags:
        call = _json_call(name)
        if call is None:
            raise Malformed("neither a name nor a call in JSON notation")
        return call
    if not _is_name(name):
        raise Malformed("no name")
    schema = schemas.get(name, {})
    arguments: dict[str, Any] = {}
    for key_start, key_end, start, end in span.arguments:
        key = _text(answer, key_start, key_end).strip()
        if not key or key in arguments:
            raise Malformed("a key is empty or stands twice")
        arguments[key] = read_value(_text(answer, start, end), _parameter(schema, key))
    return name, arguments


def _is_name(text: str) -> bool:
    return len(text) <= MAX_NAME and _NAME.fullmatch(text) is not None


def _text(answer: bytes | bytearray, start: int, end: int) -> str:
    try:
        return answer[start:end].decode()
    except UnicodeDecodeError as error:
        raise Malformed("invalid UTF-8") from error


def _parameter(schema: Mapping[str, Any], key: str) -> Any:
    """The schema of one parameter; None for one that the tool does not declare."""
    properties = schema.get("properties")
    if isinstance(properties, Mapping) and key in properties:
        return properties[key]
    others = schema.get("additionalProperties")
    return others if isinstance(others, Mapping) and others else None


def _json_call(text: str) -> tuple[str, dict[str, Any]] | None:
    """A call in JSON notation: an object with a name and arguments; None if it is none."""
    call = read_json(text, unique_keys=True)
    if not isinstance(call, dict):
        return None
    name, arguments = call.get("name"), call.get("arguments", {})
    if isinstance(arguments, str):
        arguments = read_json(arguments, unique_keys=True)
    if not isinstance(name, str) or not _is_name(name) or not isinstance(arguments, dict):
        return None
    return name, arguments
