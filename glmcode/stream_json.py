"""The stream-json lines: events of a turn in the shape that Claude Code's users parse.

First system/init, then assistant and user (tool results), stream_event only when partial
messages are asked for, and always a last line `result`. What a caller that talks is told beside
that (questions, answers to its requests, what was wrong with a line) is made here, too. Pure:
builds dictionaries only. `stream_schema.py` says the same as a JSON Schema.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from glmcode.core.events import ApprovalAsked, Compacted, Delta, Queued
from glmcode.core.messages import AssistantMessage, Message, ToolMessage, Usage, UserMessage
from glmcode.repl.clean import escaped

Subtype = Literal[
    "success",
    "error_max_turns",
    "error_max_output_tokens",
    "error_time_limit",
    "error_during_execution",
    "interrupted",
]
"""How a turn ended, in the last line."""
Withdrawn = Literal["interrupted", "timeout", "input_closed"]
"""Why a question is not open any more."""


def init_line(
    *, session_id: str, cwd: str, model: str, mode: str, tools: list[str], protocol: str
) -> dict[str, Any]:
    """The first line."""
    return {
        "type": "system",
        "subtype": "init",
        "session_id": session_id,
        "cwd": cwd,
        "model": model,
        "tools": tools,
        "permissionMode": mode,
        "protocol": protocol,
    }


def message_line(message: Message, session_id: str) -> dict[str, Any] | None:
    """An assistant or user line; None for what the caller said itself."""
    match message:
        case AssistantMessage():
            content = _assistant_content(message)
            body = {"role": "assistant", "content": content, "usage": usage_of(message.usage)}
            return {"type": "assistant", "message": body, "session_id": session_id}
        case ToolMessage():
            block = {
                "type": "tool_result",
                "tool_use_id": message.call_id,
                "content": message.text,
                "is_error": message.is_error,
            }
            body = {"role": "user", "content": [block]}
            return {"type": "user", "message": body, "session_id": session_id}
        case UserMessage():
            if message.origin == "person":
                return None
            body = {"role": "user", "content": [{"type": "text", "text": message.text}]}
            return {"type": "user", "message": body, "session_id": session_id}


def _assistant_content(message: AssistantMessage) -> list[dict[str, Any]]:
    content: list[dict[str, Any]] = []
    if message.reasoning:
        content.append({"type": "thinking", "thinking": message.reasoning})
    if message.text:
        content.append({"type": "text", "text": message.text})
    calls: Mapping[str, Mapping[str, Any]] = {
        call.id: {"name": call.name, "input": dict(call.arguments)} for call in message.calls
    } | {
        call.id: {"name": call.name, "input": {}, "rejected": call.reason, "raw": call.raw}
        for call in message.rejected
    }
    for call_id in message.call_ids():
        content.append({"type": "tool_use", "id": call_id, **calls[call_id]})
    return content


def usage_of(usage: Usage) -> dict[str, int]:
    """Token counts in the Claude shape; input_tokens are those that were not cached."""
    return {
        "input_tokens": max(0, usage.prompt_tokens - usage.cached_tokens),
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.output_tokens,
    }


def compacted_line(event: Compacted, session_id: str) -> dict[str, Any]:
    """A compaction."""
    return {
        "type": "system",
        "subtype": "compact_boundary",
        "session_id": session_id,
        "compact_metadata": {
            "trigger": "manual" if event.why == "asked" else "auto",
            "why": event.why,
            "pre_tokens": event.before,
            "post_tokens": event.after,
            "mechanical": not event.summary,
        },
        "usage": usage_of(event.usage),
    }


def queued_line(event: Queued, session_id: str) -> dict[str, Any]:
    """The request's place in the engine's queue; position 1 is next."""
    return {
        "type": "system",
        "subtype": "queued",
        "session_id": session_id,
        "position": event.position,
        "seconds": round(event.seconds, 1),
        "eta_seconds": event.eta_s,
        "broken_off": event.broken_off,
        "ahead": [
            {"class": kind, "label": label, "seconds": round(seconds, 1), "running": running}
            for kind, label, seconds, running in event.ahead
        ],
    }


def dropped_line(count: int, session_id: str) -> dict[str, Any]:
    """Lines of progress were left out here, because nobody read fast enough."""
    return {"type": "system", "subtype": "dropped", "session_id": session_id, "lines": count}


def delta_line(delta: Delta, session_id: str) -> dict[str, Any]:
    """A partial message."""
    kinds = {"reasoning": "thinking_delta", "text": "text_delta", "call": "input_json_delta"}
    key = {"reasoning": "thinking", "text": "text", "call": "partial_json"}[delta.kind]
    inner: dict[str, Any] = {"type": kinds[delta.kind], key: delta.text}
    if delta.kind == "call":
        inner |= {"name": delta.name, "argument": delta.argument}
    event = {"type": "content_block_delta", "index": delta.call_index, "delta": inner}
    return {"type": "stream_event", "event": event, "session_id": session_id}


def question_line(
    asked: ApprovalAsked, arguments: Mapping[str, Any], request_id: str, session_id: str
) -> dict[str, Any]:
    """A question that the caller shall answer. arguments: what the tool is called with."""
    request: dict[str, Any] = {
        "subtype": "can_use_tool",
        "tool_name": asked.name,
        "input": dict(arguments),
        "tool_use_id": asked.call_id,
        "subject": asked.subject,
        "preview": {
            "kind": asked.preview.kind,
            "title": asked.preview.title,
            "body": asked.preview.body,
        },
        "rules": list(asked.rules),
        "why": asked.why,
        "question": asked.question,
    }
    return {
        "type": "control_request",
        "request_id": request_id,
        "request": request,
        "session_id": session_id,
    }


def cancel_line(request_id: str, why: Withdrawn, session_id: str) -> dict[str, Any]:
    """A question is not open any more, for another reason than its answer."""
    return {
        "type": "control_cancel_request",
        "request_id": request_id,
        "why": why,
        "session_id": session_id,
    }


def response_line(
    request_id: str, response: Mapping[str, Any], session_id: str, *, error: str = ""
) -> dict[str, Any]:
    """The answer to a control request; with an error it was not done."""
    inner: dict[str, Any] = {"subtype": "error" if error else "success", "request_id": request_id}
    inner |= {"error": error} if error else {"response": dict(response)}
    return {"type": "control_response", "response": inner, "session_id": session_id}


def input_error_line(*, code: str, error: str, line: int, session_id: str) -> dict[str, Any]:
    """A line of the caller that was not used; line counts from 1, 0: the input as a whole."""
    return {
        "type": "system",
        "subtype": "input_error",
        "session_id": session_id,
        "code": code,
        "line": line,
        "error": error,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How a run ended, for the last line. requests: the cache ledger's sums. value: the one
    answer where a schema was given. more: keys of a conversation."""

    subtype: Subtype
    is_error: bool
    text: str
    error: str
    log: str
    steps: int
    duration_s: float
    session_id: str
    usage: Usage
    denials: list[dict[str, Any]]
    exit_code: int
    requests: Mapping[str, Any] = field(default_factory=dict)
    value: tuple[Any, ...] = ()
    more: Mapping[str, Any] = field(default_factory=dict)


def result_line(result: Result) -> dict[str, Any]:
    """The last line, whatever happened."""
    usage = result.usage
    line: dict[str, Any] = {
        "type": "result",
        "subtype": result.subtype,
        "is_error": result.is_error,
        "result": result.text or result.error,
        "num_turns": result.steps,
        "duration_ms": round(result.duration_s * 1000),
        "session_id": result.session_id,
        "usage": usage_of(usage),
        "permission_denials": result.denials,
        "engine": {
            "queue_s": round(usage.queue_s, 4),
            "prefill_s": round(usage.prefill_s, 4),
            "decode_s": round(usage.decode_s, 4),
            "cache_hit": round(usage.cached_tokens / usage.prompt_tokens, 4)
            if usage.prompt_tokens
            else 0.0,
            **result.requests,
        },
        "exit_code": result.exit_code,
    }
    if result.value:
        line["structured_output"] = result.value[0]
    if result.error:
        line["error"] = result.error
    if result.log:
        line["log"] = result.log
    return {**line, **result.more}


def unbegun_lines(
    output_format: str, *, cwd: str, subtype: Subtype, error: str, exit_code: int, duration_s: float
) -> list[dict[str, Any]]:
    """The lines of a run that ended before a session began: in text none, in json the result."""
    if output_format not in ("json", "stream-json"):
        return []
    result = Result(
        subtype=subtype,
        is_error=True,
        text="",
        error=error,
        log="",
        steps=0,
        duration_s=duration_s,
        session_id="",
        usage=Usage(),
        denials=[],
        exit_code=exit_code,
    )
    lines = [result_line(result)]
    if output_format == "stream-json":
        init = init_line(session_id="", cwd=cwd, model="", mode="default", tools=[], protocol="")
        lines.insert(0, init)
    return lines


def as_line(value: dict[str, Any]) -> str:
    """One line of JSON, whatever its reader takes for the end of a line, a terminal included."""
    return escaped(json.dumps(value, ensure_ascii=False)) + "\n"
