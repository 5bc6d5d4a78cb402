"""Messages: the plain values that a conversation is made of, and their JSON form.

Frozen, so that what was sent can never be changed afterwards. The JSON form is
what the session journal stores. This module must not know how a message is
rendered for a model (glm/template.py) or shown to a person (repl/).
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

Stop: TypeAlias = Literal["end", "calls", "length", "repetition", "interrupted"]
"""Why a model stopped: "end" (`<|user|>`, `<|endoftext|>`, chat "stop"), "calls"
(`<|observation|>`, chat "tool_calls"), "length" (token limit), "repetition" (it was
stopped because it repeated itself), "interrupted" (cancelled by the person)."""

RejectReason: TypeAlias = Literal["malformed", "ambiguous", "truncated", "missing"]
"""Why a tool call was not accepted. "missing": the model stopped as if it had called
a tool, but there is no call in its message."""


class MessageError(Exception):
    """A stored message cannot be read back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What one model reply cost. Tokens are counts, times are seconds.

    prompt_tokens includes cached_tokens (those the engine did not compute again).
    """

    prompt_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    queue_s: float = 0.0
    prefill_s: float = 0.0
    decode_s: float = 0.0

    def plus(self, other: Usage) -> Usage:
        """The sum of both, field by field."""
        return Usage(
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            cached_tokens=self.cached_tokens + other.cached_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            queue_s=self.queue_s + other.queue_s,
            prefill_s=self.prefill_s + other.prefill_s,
            decode_s=self.decode_s + other.decode_s,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A request by the model: a tool's name and its arguments (a JSON object)."""

    id: str
    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectedCall:
    """Something that was meant as a tool call and must not run.

    `before` is the number of accepted calls that stand before it in its message.
    `raw` is what the model wrote, for the person and for debugging. `name` is the
    tool's name if that much could be read, else "".
    """

    id: str
    reason: RejectReason
    raw: str
    name: str = ""
    before: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class UserMessage:
    """What the person said. `origin` is "person", or "glmcode" for a nudge of ours.

    thinking: False where it was said with thinking off, which GLM marks behind its text.
    """

    text: str
    origin: Literal["person", "glmcode"] = "person"
    thinking: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class AssistantMessage:
    """One reply of the model.

    token_ids are the generated ids, verbatim and without the stop token, in the
    `tokens` protocol; None in `chat`. reasoning_field is the name under which a chat
    server sent the reasoning and under which it goes back.
    """

    reasoning: str = ""
    text: str = ""
    calls: tuple[ToolCall, ...] = ()
    rejected: tuple[RejectedCall, ...] = ()
    token_ids: tuple[int, ...] | None = None
    stop: Stop = "end"
    usage: Usage = field(default_factory=Usage)
    reasoning_field: str | None = None

    def call_ids(self) -> tuple[str, ...]:
        """The ids that need an answer, in the order in which the model wrote them."""
        ids: list[str] = []
        for position in range(len(self.calls) + 1):
            ids += [r.id for r in self.rejected if r.before == position]
            if position < len(self.calls):
                ids.append(self.calls[position].id)
        return tuple(ids)


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolMessage:
    """The answer to one tool call, as the model reads it."""

    call_id: str
    name: str
    text: str
    is_error: bool = False


Message: TypeAlias = UserMessage | AssistantMessage | ToolMessage


def message_to_json(message: Message) -> dict[str, Any]:
    """A message as a JSON object; `message_from_json` gives the same message back."""
    match message:
        case UserMessage():
            marked = {} if message.thinking else {"thinking": False}
            return {"role": "user", "text": message.text, "origin": message.origin, **marked}
        case ToolMessage():
            return {
                "role": "tool",
                "call_id": message.call_id,
                "name": message.name,
                "text": message.text,
                "is_error": message.is_error,
            }
        case AssistantMessage():
            return _assistant_to_json(message)


def _assistant_to_json(message: AssistantMessage) -> dict[str, Any]:
    usage = message.usage
    return {
        "role": "assistant",
        "reasoning": message.reasoning,
        "text": message.text,
        "calls": [
            {"id": c.id, "name": c.name, "arguments": dict(c.arguments)} for c in message.calls
        ],
        "rejected": [
            {"id": r.id, "reason": r.reason, "raw": r.raw, "name": r.name, "before": r.before}
            for r in message.rejected
        ],
        "token_ids": None if message.token_ids is None else list(message.token_ids),
        "stop": message.stop,
        "reasoning_field": message.reasoning_field,
        "usage": {name: getattr(usage, name) for name in Usage.__slots__},
    }


def message_from_json(value: Mapping[str, Any]) -> Message:
    """Read a message back. Raises MessageError when the object is not one of ours."""
    try:
        match value["role"]:
            case "user":
                return UserMessage(
                    text=_text(value["text"]),
                    origin=_text(value["origin"]),
                    thinking=value.get("thinking") is not False,
                )
            case "tool":
                return ToolMessage(
                    call_id=_text(value["call_id"]),
                    name=_text(value["name"]),
                    text=_text(value["text"]),
                    is_error=bool(value["is_error"]),
                )
            case "assistant":
                return _assistant_from_json(value)
            case role:
                raise MessageError(f"unknown role {role!r}")
    except (LookupError, TypeError, ValueError, OverflowError, AttributeError) as error:
        raise MessageError(f"not a stored message: {error}") from error


def _assistant_from_json(value: Mapping[str, Any]) -> AssistantMessage:
    ids, name = value["token_ids"], value["reasoning_field"]
    usage = Usage(**value["usage"])
    if not all(isinstance(getattr(usage, key), int | float) for key in Usage.__slots__):
        raise TypeError("usage holds what is no number")
    return AssistantMessage(
        reasoning=_text(value["reasoning"]),
        text=_text(value["text"]),
        calls=tuple(_call(call) for call in value["calls"]),
        rejected=tuple(_rejected(call) for call in value["rejected"]),
        token_ids=None if ids is None else tuple(array("I", ids)),
        stop=_text(value["stop"]),
        usage=usage,
        reasoning_field=None if name is None else _text(name),
    )


def _call(value: Mapping[str, Any]) -> ToolCall:
    call = ToolCall(**value)
    _text(call.id), _text(call.name)
    if not isinstance(call.arguments, dict):
        raise TypeError("the arguments of a call are no object")
    return call


def _rejected(value: Mapping[str, Any]) -> RejectedCall:
    call = RejectedCall(**value)
    _text(call.id), _text(call.reason), _text(call.raw), _text(call.name)
    if not isinstance(call.before, int):
        raise TypeError("the place of a rejected call is no number")
    return call


def _text(value: Any) -> Any:
    """The value, a string as it must be; its kind is what the writer wrote."""
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.40} is no text")
    return value
