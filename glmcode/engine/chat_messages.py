"""Messages of the transcript as a chat-completions server reads them: bytes, made once.

The request body is an append-only list of encoded messages; what was sent is never encoded
or changed again. A rejected call goes back with `{}` as its arguments, always. Control words
in text are broken (literals.py), so that it can't open a role. Reasoning goes back under the
name it came with; reasoning that stood as `<think>` in the content goes back there. Must not
send anything.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from glmcode.core.messages import AssistantMessage, Message, ToolMessage, UserMessage
from glmcode.core.transcript import Preamble
from glmcode.engine.literals import broken, broken_own
from glmcode.engine.text import is_clean, mended

IN_CONTENT = "content:"
"""reasoning_field of reasoning that stood in the content: this, the white space before
`<think>`, a `|`, and the white space after `</think>`."""

UNKNOWN_TOOL = "unknown"
_THINK = re.compile(r"(\s*)<think>(.*?)(?:</think>(\s*)(.*)|$)", re.DOTALL)


class ChatMessages:
    """The encoded head and messages of one conversation."""

    def __init__(self, preamble: Preamble, *, keep_reasoning: bool = True) -> None:
        """keep_reasoning: False leaves out that of earlier turns once a user message follows."""
        tools = [spec.function() for spec in preamble.specs]
        self.tools = encode(tools) if tools else b""
        self._parts: list[bytes] = []
        if preamble.system:
            system = broken(preamble.system)  # it holds the instructions of a repository
            self._parts.append(encode({"role": "system", "content": system}))
        self._head = len(self._parts)
        self._keep_reasoning = keep_reasoning
        self._reasoned: dict[int, AssistantMessage] = {}
        self.count = 0
        self.size = self._measure()

    def _measure(self) -> int:
        return len(self.tools) + sum(len(part) for part in self._parts)

    def extend(self, messages: Sequence[Message]) -> None:
        """Append messages that the transcript gained."""
        for message in messages:
            if not self._keep_reasoning:
                self._cut_reasoning(message)
            part = encode(message_object(message))
            self._parts.append(part)
            self.size += len(part)
        self.count += len(messages)

    def restart(self) -> None:
        """Back to the head: a new segment follows."""
        del self._parts[self._head :]
        self._reasoned.clear()
        self.count, self.size = 0, self._measure()

    def _cut_reasoning(self, message: Message) -> None:
        if isinstance(message, AssistantMessage) and message.reasoning:
            self._reasoned[len(self._parts)] = message
        if not isinstance(message, UserMessage):
            return
        for place, reply in self._reasoned.items():
            self._parts[place] = encode(message_object(replace(reply, reasoning="")))
        self._reasoned.clear()
        self.size = self._measure()

    def body(self, options: Mapping[str, Any], question: str | None = None) -> bytes:
        """The whole request: options first, then tools and messages (and a last question)."""
        parts = [encode(options)[:-1]]
        if self.tools:
            parts += [b',"tools":', self.tools]
        messages = self._parts
        if question is not None:
            messages = [*messages, encode(message_object(UserMessage(text=question)))]
        return b"".join([*parts, b',"messages":[', b",".join(messages), b"]}"])


def encode(value: Any) -> bytes:
    """JSON as UTF-8; half characters (lone surrogates) become U+FFFD."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return (text if is_clean(text) else mended(text)).encode()


def message_object(message: Message) -> dict[str, Any]:
    """One message in the OpenAI form."""
    match message:
        case UserMessage():
            return {"role": "user", "content": broken(message.text)}
        case ToolMessage():
            return {
                "role": "tool",
                "tool_call_id": broken_own(message.call_id),
                "content": broken(message.text),
            }
        case AssistantMessage():
            return _assistant(message)


def _assistant(message: AssistantMessage) -> dict[str, Any]:
    text, reasoning = broken_own(message.text), broken_own(message.reasoning)
    made: dict[str, Any] = {"role": "assistant", "content": text}
    field = message.reasoning_field
    if field is not None and field.startswith(IN_CONTENT) and reasoning:
        made["content"] = join_think(reasoning, text, field)
    elif field is not None and reasoning:
        made[field] = reasoning
    if message.call_ids():
        made["tool_calls"] = _calls(message)
    return made


def _calls(message: AssistantMessage) -> list[dict[str, Any]]:
    known = {call.id: (call.name, dict(call.arguments)) for call in message.calls}
    known |= {call.id: (call.name or UNKNOWN_TOOL, {}) for call in message.rejected}
    made = []
    for call_id in message.call_ids():
        name, arguments = known[call_id]
        text = broken_own(json.dumps(arguments, ensure_ascii=False))
        function = {"name": broken_own(name), "arguments": text}
        made.append({"id": broken_own(call_id), "type": "function", "function": function})
    return made


def split_think(content: str) -> tuple[str, str, str | None]:
    """(reasoning, text, reasoning_field) of content; field None when it begins otherwise."""
    match = _THINK.match(content)
    if match is None:
        return "", content, None
    before, reasoning, after, text = match.groups(default="")
    return reasoning, text, f"{IN_CONTENT}{before}|{after}"


def join_think(reasoning: str, text: str, field: str) -> str:
    """The content that split_think took apart (closed, if it was cut while thinking)."""
    before, _, after = field.removeprefix(IN_CONTENT).partition("|")
    return f"{before}<think>{reasoning}</think>{after}{text}"
