"""The lines that a caller sends with `--input-format stream-json`, read and judged one by one.

The shapes are those that Claude Code's callers send; a key that would be passed over is refused,
because a misspelled `remember` must not look as if it had been heard. Pure: a line is bytes, and
what comes back is a value or what is wrong with it. `stream_schema.py` says the same as a JSON
Schema, and a test holds the two together. Must not read, wait or print.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from glmcode.base.settings import MODES, Mode

LONGEST_ID = 200
LONGEST_WAIT_S = 86_400.0
Remember = Literal["", "session", "always"]
Code = Literal[
    "not_utf8", "not_json", "wrong_shape", "too_long", "queue_full", "unknown_id", "unreadable"
]

_SAID_KEYS = ("type", "message", "session_id", "parent_tool_use_id", "uuid", "steer")
_EMPTY_KEYS = ("hooks", "agents", "sdkMcpServers")
"""What other agents' callers greet with; glmcode has none of it: nothing may stand there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """A message of the caller. steer: for the running turn, not after it. uuid: "" or its id."""

    text: str
    steer: bool = False
    uuid: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Initialize:
    """approvals: whether the caller answers questions. timeout_s: None: as it is."""

    request_id: str
    approvals: bool
    timeout_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Interrupt:
    """Stop the running turn, and with drop_queued forget the messages that wait."""

    request_id: str
    drop_queued: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SetMode:
    """Another permission mode from now on."""

    request_id: str
    mode: Mode


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """The answer to a question. error: the caller says that it can't give one; "".

    changed: the input to run the tool with, edited: the command or the file's whole text in its
    place; None: as it was asked. interrupt: end the turn too.
    """

    request_id: str
    allowed: bool = False
    reason: str = ""
    remember: Remember = ""
    rules: tuple[str, ...] = ()
    changed: Mapping[str, Any] | None = None
    edited: str | None = None
    interrupt: bool = False
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrong:
    """A line that cannot be used. request_id: of the control request that it was, else ""."""

    code: Code
    error: str
    request_id: str = ""


Line: TypeAlias = Said | Initialize | Interrupt | SetMode | Answered


class _Bad(Exception):
    """What is wrong with a line's shape."""


def read_line(data: bytes) -> Line | Wrong:
    """One line without its end. Never raises."""
    try:
        value = json.loads(data.decode("utf-8"), parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        return Wrong(code="not_utf8", error=f"byte {error.start + 1} of the line is not UTF-8")
    except (ValueError, RecursionError) as error:
        return Wrong(code="not_json", error=f"it is no JSON: {str(error)[:200]}")
    try:
        return _line(_clean(value))
    except RecursionError:
        return Wrong(code="not_json", error="it is nested too deeply")
    except _Bad as error:
        return Wrong(code="wrong_shape", error=str(error), request_id=_request_of(value))


def _line(value: Any) -> Line:
    if not isinstance(value, dict):
        raise _Bad(f"a line is a JSON object, not {_kind(value)}")
    match value.get("type"):
        case "user":
            return _said(value)
        case "control_request":
            return _request(value)
        case "control_response":
            return _response(value)
        case other:
            raise _Bad(f"type is {_shown(other)}: user, control_request or control_response")


def _said(value: Mapping[str, Any]) -> Said:
    _only(value, _SAID_KEYS, "a user line")
    message = _object(value, "message", "a user line")
    _only(message, ("role", "content"), "message")
    if message.get("role") != "user":
        raise _Bad(f"message.role is {_shown(message.get('role'))}: user")
    for key in ("session_id", "parent_tool_use_id"):  # other agents' callers send them
        if not isinstance(value.get(key, ""), str | None):
            raise _Bad(f"{key} is {_shown(value[key])}: a string or null")
    text = _content(message.get("content")).replace("\0", "")
    if not text.strip():
        raise _Bad("message.content is empty: say what is to be done")
    return Said(text=text, steer=_flag(value, "steer"), uuid=_string(value, "uuid", LONGEST_ID))


def _content(content: Any) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise _Bad(f"message.content is {_kind(content)}: a string, or a list of text blocks")
    texts = []
    for block in content:
        if not isinstance(block, dict) or block.get("type") != "text":
            raise _Bad("message.content may hold text blocks only: the model reads text")
        _only(block, ("type", "text"), "a text block")
        if not isinstance(block.get("text"), str):
            raise _Bad("a text block has no text")
        texts.append(block["text"])
    return "\n\n".join(texts)


def _request(value: Mapping[str, Any]) -> Line:
    _only(value, ("type", "request_id", "request"), "a control_request")
    request_id = _id(value, "a control_request")
    request = _object(value, "request", "a control_request")
    kind = request.get("subtype")
    if kind == "set_model":
        raise _Bad("the model of a run is fixed when it starts: start another run with -m")
    read = _REQUESTS.get(kind) if isinstance(kind, str) else None
    if read is None:
        raise _Bad(f"request.subtype is {_shown(kind)}: {', '.join(_REQUESTS)}")
    return read(request_id, request)


def _initialize(request_id: str, request: Mapping[str, Any]) -> Line:
    keys = ("subtype", "approvals", "approval_timeout_s", *_EMPTY_KEYS)
    _only(request, keys, "initialize")
    for key in _EMPTY_KEYS:
        if request.get(key) not in (None, {}, []):
            raise _Bad(f"glmcode has no {key}: leave them out")
    limit = request.get("approval_timeout_s")
    if limit is not None and not (_is_number(limit) and 0 < limit <= LONGEST_WAIT_S):
        raise _Bad(f"approval_timeout_s is {_shown(limit)}: seconds, up to {LONGEST_WAIT_S:.0f}")
    timeout_s = None if limit is None else float(limit)
    approvals = _flag(request, "approvals")
    return Initialize(request_id=request_id, approvals=approvals, timeout_s=timeout_s)


def _interrupt(request_id: str, request: Mapping[str, Any]) -> Line:
    _only(request, ("subtype", "drop_queued"), "interrupt")
    return Interrupt(request_id=request_id, drop_queued=_flag(request, "drop_queued"))


def _set_mode(request_id: str, request: Mapping[str, Any]) -> Line:
    _only(request, ("subtype", "mode"), "set_permission_mode")
    mode = request.get("mode")
    if mode not in MODES:
        raise _Bad(f"mode is {_shown(mode)}: {', '.join(MODES)}")
    return SetMode(request_id=request_id, mode=mode)


_REQUESTS: Mapping[str, Callable[[str, Mapping[str, Any]], Line]] = {
    "initialize": _initialize,
    "interrupt": _interrupt,
    "set_permission_mode": _set_mode,
}


def _response(value: Mapping[str, Any]) -> Answered:
    _only(value, ("type", "response"), "a control_response")
    outer = _object(value, "response", "a control_response")
    request_id = _id(outer, "response")
    if outer.get("subtype") == "error":
        _only(outer, ("subtype", "request_id", "error"), "response")
        error = _string(outer, "error")
        return Answered(request_id=request_id, error=error or "the caller could not answer")
    if outer.get("subtype") != "success":
        raise _Bad(f"response.subtype is {_shown(outer.get('subtype'))}: success or error")
    _only(outer, ("subtype", "request_id", "response"), "response")
    answer = _object(outer, "response", "response")
    match answer.get("behavior"):
        case "allow":
            return _allowed(request_id, answer)
        case "deny":
            _only(answer, ("behavior", "message", "interrupt"), "an answer that denies")
            reason, ends = _string(answer, "message"), _flag(answer, "interrupt")
            return Answered(request_id=request_id, reason=reason, interrupt=ends)
        case other:
            raise _Bad(f"behavior is {_shown(other)}: allow or deny")


def _allowed(request_id: str, answer: Mapping[str, Any]) -> Answered:
    keys = ("behavior", "updatedInput", "edited", "remember", "rules")
    _only(answer, keys, "an answer that allows")
    remember = answer.get("remember", "")
    if remember not in ("", "session", "always"):
        raise _Bad(f"remember is {_shown(remember)}: session or always")
    rules = answer.get("rules", [])
    if not isinstance(rules, list) or not all(isinstance(r, str) and r.strip() for r in rules):
        raise _Bad("rules is a list of permission rules, such as 'Bash(git diff *)'")
    if rules and not remember:
        raise _Bad("rules are remembered: say for how long with remember, session or always")
    changed = answer.get("updatedInput")
    if changed is not None and not isinstance(changed, dict):
        raise _Bad(f"updatedInput is {_kind(changed)}: the tool's whole input, an object")
    return Answered(
        request_id=request_id,
        allowed=True,
        remember=remember,
        rules=tuple(rules),
        changed=changed,
        edited=_string(answer, "edited") if "edited" in answer else None,
    )


def _only(value: Mapping[str, Any], keys: tuple[str, ...], what: str) -> None:
    for key in value:
        if key not in keys:
            raise _Bad(f"{what} has no key {_shown(key)}: {', '.join(keys)}")


def _object(value: Mapping[str, Any], key: str, what: str) -> Mapping[str, Any]:
    inner = value.get(key)
    if not isinstance(inner, dict):
        raise _Bad(f"{what} needs {key}, an object")
    return inner


def _id(value: Mapping[str, Any], what: str) -> str:
    found = _string(value, "request_id", LONGEST_ID)
    if not found:
        raise _Bad(f"{what} needs a request_id, a string")
    return found


def _string(value: Mapping[str, Any], key: str, longest: int | None = None) -> str:
    found = value.get(key, "")
    if not isinstance(found, str):
        raise _Bad(f"{key} is {_kind(found)}: a string")
    if longest is not None and len(found) > longest:
        raise _Bad(f"{key} has {len(found)} characters: {longest} at most")
    return found


def _flag(value: Mapping[str, Any], key: str) -> bool:
    found = value.get(key, False)
    if not isinstance(found, bool):
        raise _Bad(f"{key} is {_shown(found)}: true or false")
    return found


def _request_of(value: Any) -> str:
    """The id under which a control request that is wrong can be answered."""
    if isinstance(value, dict) and value.get("type") == "control_request":
        found = value.get("request_id")
        if isinstance(found, str) and 0 < len(found) <= LONGEST_ID:
            return str(_clean(found))
    return ""


def _clean(value: Any) -> Any:
    """Lone surrogates are replaced, as in everything that comes in."""
    match value:
        case str():
            return value.encode("utf-8", "replace").decode("utf-8")
        case list():
            return [_clean(one) for one in value]
        case dict():
            return {_clean(key): _clean(one) for key, one in value.items()}
        case _:
            return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _no_constant(constant: str) -> Any:
    raise ValueError(f"{constant} is no value of JSON")


def _shown(value: Any) -> str:
    if value is None:
        return "missing"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:80]}…"


def _kind(value: Any) -> str:
    kinds = {dict: "an object", list: "a list", str: "a string", bool: "true or false"}
    return "null" if value is None else kinds.get(type(value), "a number")
