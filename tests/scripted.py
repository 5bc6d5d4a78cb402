"""A model that answers from a list: what the loop and the front ends are tested with.

Each entry is an AssistantMessage (streamed as Delta events, then returned), an exception
(raised), or a function `(transcript, emit, keep)` that returns an AssistantMessage, plain
or awaitable. The model keeps what it was asked (`asked`), so that a test can look at every
prompt; it must not know anything about tools or rules.
"""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, TypeAlias

from glmcode.core.events import Delta
from glmcode.core.messages import AssistantMessage, Message, ToolCall, Usage
from glmcode.core.model import Emit
from glmcode.core.transcript import Transcript

Keep: TypeAlias = Callable[[AssistantMessage], None]
Answer: TypeAlias = Callable[
    [Transcript, Emit, Keep], AssistantMessage | Awaitable[AssistantMessage]
]
Entry: TypeAlias = AssistantMessage | BaseException | Answer


class ScriptExhausted(AssertionError):
    """The loop asked for more replies than the script holds."""


class ScriptedModel:
    """core.model.Model from a list. `asked` holds the messages of each request."""

    def __init__(
        self,
        script: Iterable[Entry],
        *,
        window: int = 16_384,
        protocol: str = "tokens",
        model: str = "scripted",
        summaries: Iterable[Entry] = (),
    ) -> None:
        self.script = list(script)
        self.window = window
        self.protocol = protocol
        self.protocol_reason = "a scripted model"
        self.model = model
        self.tokenizer_id = "scripted" if protocol == "tokens" else ""
        self.step_cap = 32_768
        self.free = 0
        self.summaries = list(summaries)
        self.questions: list[str] = []
        self.asked: list[tuple[Message, ...]] = []
        self.closed = False
        self.thinking: int | None = None

    async def __call__(self, transcript: Transcript, emit: Emit, keep: Keep) -> AssistantMessage:
        self.asked.append(transcript.messages)
        if len(self.asked) > len(self.script):
            raise ScriptExhausted(f"{len(self.asked)} requests, {len(self.script)} replies")
        entry = self.script[len(self.asked) - 1]
        await asyncio.sleep(0)
        if isinstance(entry, BaseException):
            raise entry
        if isinstance(entry, AssistantMessage):
            for delta in deltas_of(entry):
                emit(delta)
                await asyncio.sleep(0)
            return entry
        message = entry(transcript, emit, keep)
        return await message if inspect.isawaitable(message) else message

    def prompt_tokens(self, transcript: Transcript) -> int:
        """A rough count, four characters a token: enough for tests of budgets."""
        return sum(self.count(transcript, message) for message in transcript.messages)

    def count(self, transcript: Transcript, message: Message) -> int:
        """The same for one message."""
        return len(repr(message)) // 4

    def head_tokens(self, transcript: Transcript) -> int:
        """The preamble counts nothing here."""
        return 0

    def leave_free(self, tokens: int) -> None:
        """Remember what answers shall leave free."""
        self.free = tokens

    async def ask(
        self, transcript: Transcript, question: str, max_tokens: int, emit: Emit
    ) -> AssistantMessage:
        """The next of `summaries`; `questions` holds what was asked."""
        self.questions.append(question)
        if len(self.questions) > len(self.summaries):
            raise ScriptExhausted(f"{len(self.questions)} questions")
        entry = self.summaries[len(self.questions) - 1]
        await asyncio.sleep(0)
        if isinstance(entry, BaseException):
            raise entry
        if isinstance(entry, AssistantMessage):
            return entry
        message = entry(transcript, emit, lambda kept: None)
        return await message if inspect.isawaitable(message) else message

    def text_tokens(self, text: str) -> int:
        """As in a client without a tokenizer."""
        return -(-len(text.encode("utf-8", "replace")) // 3)

    def turn_over(self) -> None:
        """As in a client without a queue before it."""

    async def close(self) -> None:
        """Remember that it was closed."""
        self.closed = True


def says(text: str, *, reasoning: str = "", **fields: Any) -> AssistantMessage:
    """A final answer."""
    usage = Usage(prompt_tokens=100, cached_tokens=64, output_tokens=max(1, len(text) // 4))
    return AssistantMessage(text=text, reasoning=reasoning, **{"usage": usage, **fields})


def calls(
    *named: tuple[str, Mapping[str, Any]],
    text: str = "",
    reasoning: str = "",
    step: int = 1,
    **fields: Any,
) -> AssistantMessage:
    """A message with calls; ids are `call_<step>_<n>` as in the `tokens` protocol."""
    made = tuple(
        ToolCall(id=f"call_{step}_{number}", name=name, arguments=arguments)
        for number, (name, arguments) in enumerate(named, start=1)
    )
    usage = Usage(prompt_tokens=100, cached_tokens=64, output_tokens=20 * len(made))
    given = {"usage": usage, "stop": "calls", **fields}
    return AssistantMessage(text=text, reasoning=reasoning, calls=made, **given)


def deltas_of(message: AssistantMessage) -> list[Delta]:
    """How a message streams: reasoning and text word by word, then each argument."""
    deltas = [Delta(kind="reasoning", text=word) for word in _words(message.reasoning)]
    deltas += [Delta(kind="text", text=word) for word in _words(message.text)]
    for index, call in enumerate(message.calls):
        deltas.append(Delta(kind="call", text="", call_index=index, name=call.name))
        for key, value in call.arguments.items():
            text = value if isinstance(value, str) else json.dumps(value)
            deltas.append(
                Delta(kind="call", text=text, call_index=index, name=call.name, argument=key)
            )
    return deltas


def _words(text: str) -> list[str]:
    parts = text.split(" ")
    return [part + " " for part in parts[:-1]] + [parts[-1]] if text else []
