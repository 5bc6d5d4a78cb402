"""The JSON Schema of every line of stream-json: what glmcode says, and what it takes.

Made from the definitions in the code wherever they are a list (modes, subtypes, exit codes, …); the
rest is held to the code by tests: recorded runs of every end are instances of it, and the reader of
input (stream_input.py) takes exactly what it allows. `python -m glmcode.stream_schema` prints it,
and docs/stream-json.schema.json is what that printed. Must not read or validate anything.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any, get_args, get_type_hints

from glmcode.base.settings import MODES
from glmcode.core.events import Compacted
from glmcode.core.tool import Preview
from glmcode.engine.lane import CLASSES
from glmcode.exits import Exit
from glmcode.stream_input import LONGEST_ID, LONGEST_WAIT_S, Code, Remember
from glmcode.stream_json import Subtype, Withdrawn

Schema = dict[str, Any]
TITLE = "Lines of glmcode -p --output-format stream-json, and of --input-format stream-json"

STRING: Schema = {"type": "string"}
BOOL: Schema = {"type": "boolean"}
COUNT: Schema = {"type": "integer", "minimum": 0}
PERHAPS_COUNT: Schema = {"type": ["integer", "null"], "minimum": 0}
SECONDS: Schema = {"type": "number", "minimum": 0}
PERHAPS_SECONDS: Schema = {"type": ["number", "null"], "minimum": 0}
ANY_OBJECT: Schema = {"type": "object"}
SAYS: Schema = {"type": "string", "pattern": "[^\\s\\u0000]"}
ID: Schema = {"type": "string", "minLength": 1, "maxLength": LONGEST_ID}
NOTHING: Schema = {"enum": [None, {}, []]}


def schema() -> Schema:
    """The whole schema. `#/$defs/output` and `#/$defs/input` are the two sides of it."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": TITLE,
        "description": "A line is an instance. New kinds of lines and new keys come with a new "
        "second number of the version; none goes, or changes its meaning, but with the first.",
        "anyOf": [_ref("output"), _ref("input")],
        "$defs": {
            "output": {"oneOf": [_ref(name) for name in _output()]},
            "input": {"oneOf": [_ref(name) for name in _input()]},
            **_output(),
            **_input(),
            **_parts(),
        },
    }


def _output() -> dict[str, Schema]:
    lines = {
        "init": _init(),
        "compact_boundary": _compact_boundary(),
        "queued": _queued(),
        "dropped": _line("system", {"subtype": _is("dropped"), "lines": COUNT}),
        "input_error": _input_error(),
        "assistant": _assistant(),
        "user": _user(),
        "stream_event": _stream_event(),
        "question": _question(),
        "question_withdrawn": _line(
            "control_cancel_request", {"request_id": STRING, "why": _one_of(get_args(Withdrawn))}
        ),
        "response": _line("control_response", {"response": _response_body(ANY_OBJECT, STRING)}),
        "result": _result(),
    }
    about = {
        "init": "The first line.",
        "compact_boundary": "The conversation was summed up; the usage is what that cost.",
        "queued": "The request waits for others at the engine; position 1 is next.",
        "dropped": "The reader was so slow that this many lines of stream_event, queued and "
        "input_error were left out here. No other line is ever left out.",
        "input_error": "A line of the input was not used; line 0: the input as a whole.",
        "assistant": "One reply of the model.",
        "user": "A tool result, or what glmcode said to the model.",
        "stream_event": "A piece of a reply, with --include-partial-messages.",
        "question": "A question to the caller (initialize, approvals): answer it by its "
        "request_id. rules: the narrowest that would allow it; why: why there are none. question: "
        "what is asked where it is not whether the tool may run; then nothing is remembered.",
        "question_withdrawn": "An open question counts as not answered.",
        "response": "The answer to a control_request of the caller.",
        "result": "How a turn ended: after each turn, and always the last line. closing: it "
        "belongs to no turn. The exit code of the process is that of the last one.",
    }
    return {name: {"description": about[name], **line} for name, line in lines.items()}


def _input() -> dict[str, Schema]:
    text_block = _object({"type": _is("text"), "text": STRING})
    heard = {"type": "object", "properties": {"text": SAYS}}
    content = {"anyOf": [SAYS, {"type": "array", "items": text_block, "contains": heard}]}
    said = _object(
        {
            "type": _is("user"),
            "message": _object({"role": _is("user"), "content": content}),
        },
        {
            "uuid": {"type": "string", "maxLength": LONGEST_ID},
            "steer": BOOL,
            "session_id": {"type": ["string", "null"]},
            "parent_tool_use_id": {"type": ["string", "null"]},
        },
    )
    asked = _object(
        {
            "type": _is("control_request"),
            "request_id": ID,
            "request": {"oneOf": [_initialize(), _interrupt(), _set_mode()]},
        }
    )
    answered = _object(
        {
            "type": _is("control_response"),
            "response": _response_body({"oneOf": [_allow(), _deny()]}, ID, needs_error=False),
        }
    )
    return {
        "said": {
            "description": "A message, run after those before it; steer: for the running turn.",
            **said,
        },
        "asked": {"description": "Something to be done at once.", **asked},
        "answered": {"description": "The answer to a question.", **answered},
    }


def _parts() -> dict[str, Schema]:
    usage = {"input_tokens": COUNT, "cache_read_input_tokens": COUNT, "output_tokens": COUNT}
    denial = {
        "tool_name": STRING,
        "tool_use_id": STRING,
        "tool_input": ANY_OBJECT,
        "reason": STRING,
    }
    return {
        "usage": {"description": "input_tokens were not cached.", **_object(usage)},
        "denial": _object(denial),
    }


def _initialize() -> Schema:
    limit = {"type": ["number", "null"], "exclusiveMinimum": 0, "maximum": LONGEST_WAIT_S}
    nothing = dict.fromkeys(("hooks", "agents", "sdkMcpServers"), NOTHING)
    return _object(
        {"subtype": _is("initialize")}, {"approvals": BOOL, "approval_timeout_s": limit, **nothing}
    )


def _interrupt() -> Schema:
    return _object({"subtype": _is("interrupt")}, {"drop_queued": BOOL})


def _set_mode() -> Schema:
    return _object({"subtype": _is("set_permission_mode"), "mode": _one_of(MODES)})


def _allow() -> Schema:
    rules = {"type": "array", "items": {"type": "string", "pattern": "\\S"}}
    for_long = [one for one in get_args(Remember) if one]
    more = {
        "updatedInput": {"type": ["object", "null"]},
        "edited": STRING,
        "remember": _one_of(get_args(Remember)),
        "rules": rules,
    }
    keeps = {"properties": {"remember": _one_of(for_long)}, "required": ["remember"]}
    bare = {"properties": {"rules": {"maxItems": 0}}}
    return {**_object({"behavior": _is("allow")}, more), "anyOf": [keeps, bare]}


def _deny() -> Schema:
    return _object({"behavior": _is("deny")}, {"message": STRING, "interrupt": BOOL})


def _response_body(response: Schema, number: Schema, *, needs_error: bool = True) -> Schema:
    done = _object({"subtype": _is("success"), "request_id": number, "response": response})
    failed = {"subtype": _is("error"), "request_id": number}
    error = {"error": STRING}
    wrong = _object({**failed, **error}) if needs_error else _object(failed, error)
    return {"oneOf": [done, wrong]}


def _init() -> Schema:
    return _line(
        "system",
        {
            "subtype": _is("init"),
            "cwd": STRING,
            "model": STRING,
            "tools": {"type": "array", "items": STRING},
            "permissionMode": _one_of(MODES),
            "protocol": _one_of(("tokens", "chat", "")),
        },
    )


def _compact_boundary() -> Schema:
    why = get_args(get_type_hints(Compacted)["why"])
    told = {
        "trigger": _one_of(("manual", "auto")),
        "why": _one_of(why),
        "pre_tokens": COUNT,
        "post_tokens": COUNT,
        "mechanical": BOOL,
    }
    body = {"compact_metadata": _object(told), "usage": _ref("usage")}
    return _line("system", {"subtype": _is("compact_boundary"), **body})


def _queued() -> Schema:
    # The class comes from the engine's supervisor, which may be of another version: no enum.
    kind = {"type": "string", "examples": list(CLASSES)}
    ahead = _object({"class": kind, "label": STRING, "seconds": SECONDS, "running": BOOL})
    return _line(
        "system",
        {
            "subtype": _is("queued"),
            "position": COUNT,
            "seconds": SECONDS,
            "eta_seconds": PERHAPS_SECONDS,
            "broken_off": BOOL,
            "ahead": {"type": "array", "items": ahead},
        },
    )


def _input_error() -> Schema:
    code = _one_of(get_args(Code))
    return _line(
        "system", {"subtype": _is("input_error"), "code": code, "line": COUNT, "error": STRING}
    )


def _assistant() -> Schema:
    call = {"type": _is("tool_use"), "id": STRING, "name": STRING, "input": ANY_OBJECT}
    blocks = [
        _object({"type": _is("thinking"), "thinking": STRING}),
        _object({"type": _is("text"), "text": STRING}),
        _object(call, {"rejected": STRING, "raw": STRING}),
    ]
    content = {"type": "array", "items": {"oneOf": blocks}}
    message = {"role": _is("assistant"), "content": content, "usage": _ref("usage")}
    return _line("assistant", {"message": _object(message)})


def _user() -> Schema:
    answer = {
        "type": _is("tool_result"),
        "tool_use_id": STRING,
        "content": STRING,
        "is_error": BOOL,
    }
    blocks = [_object(answer), _object({"type": _is("text"), "text": STRING})]
    content = {"type": "array", "items": {"oneOf": blocks}}
    return _line("user", {"message": _object({"role": _is("user"), "content": content})})


def _stream_event() -> Schema:
    call = {"type": _is("input_json_delta"), "partial_json": STRING}
    deltas = [
        _object({"type": _is("thinking_delta"), "thinking": STRING}),
        _object({"type": _is("text_delta"), "text": STRING}),
        _object({**call, "name": STRING, "argument": STRING}),
    ]
    event = {"type": _is("content_block_delta"), "index": COUNT, "delta": {"oneOf": deltas}}
    return _line("stream_event", {"event": _object(event)})


def _question() -> Schema:
    kinds = get_args(get_type_hints(Preview)["kind"])
    request = {
        "subtype": _is("can_use_tool"),
        "tool_name": STRING,
        "input": ANY_OBJECT,
        "tool_use_id": STRING,
        "subject": STRING,
        "preview": _object({"kind": _one_of(kinds), "title": STRING, "body": STRING}),
        "rules": {"type": "array", "items": STRING},
        "why": STRING,
        "question": STRING,
    }
    return _line("control_request", {"request_id": STRING, "request": _object(request)})


def _result() -> Schema:
    cause = _object({"cause": STRING, "requests": COUNT, "again_tokens": COUNT})
    counts = ("requests", "prompt_tokens", "cached_tokens", "expected_tokens", "again_tokens")
    engine = {
        **dict.fromkeys(("queue_s", "prefill_s", "decode_s"), SECONDS),
        "cache_hit": {"type": "number", "minimum": 0, "maximum": 1},
    }
    sums = {
        **dict.fromkeys(counts, COUNT),
        "again_s": PERHAPS_SECONDS,
        "preamble": _object({"tokens": COUNT, "cached_tokens": PERHAPS_COUNT}),
        "causes": {"type": "array", "items": cause},
    }
    line = {
        "subtype": _one_of(get_args(Subtype)),
        "is_error": BOOL,
        "result": STRING,
        "num_turns": COUNT,
        "duration_ms": COUNT,
        "usage": _ref("usage"),
        "permission_denials": {"type": "array", "items": _ref("denial")},
        "engine": _object(engine, sums),
        "exit_code": _one_of([int(code) for code in Exit if code is not Exit.BLOCK]),
    }
    more: Schema = {
        "structured_output": True,
        "error": STRING,
        "log": STRING,
        "turn": {"type": "integer", "minimum": 1},
        "uuid": STRING,
        "closing": _is(True),
    }
    good = {"properties": {"is_error": _is(False), "exit_code": _one_of([0, 3])}}
    bad = {"properties": {"is_error": _is(True), "exit_code": {"not": _one_of([0, 3])}}}
    return {**_line("result", line, more), "oneOf": [good, bad]}


def _line(kind: str, needed: Mapping[str, Any], more: Mapping[str, Any] | None = None) -> Schema:
    return _object({"type": _is(kind), "session_id": STRING, **needed}, more)


def _object(needed: Mapping[str, Any], more: Mapping[str, Any] | None = None) -> Schema:
    return {
        "type": "object",
        "properties": {**needed, **(more or {})},
        "required": list(needed),
        "additionalProperties": False,
    }


def _is(value: Any) -> Schema:
    return {"const": value}


def _one_of(values: Any) -> Schema:
    return {"enum": list(values)}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name}"}


def text() -> str:
    """The schema as it stands in docs/."""
    return json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(text())
