"""The `chat` protocol: /v1/chat/completions of any OpenAI-compatible server.

Bodies grow by appending; what a server refuses to know (`stream_options`, a sampling value)
is left out from then on. Token counts come from the server's usage and an estimate for what
was added since. Must not open connections or wait.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from weakref import WeakKeyDictionary

from glmcode.base.thinking import Thinking
from glmcode.core.events import Notice
from glmcode.core.messages import AssistantMessage, Message, Usage
from glmcode.core.model import Emit, Keep
from glmcode.core.transcript import Preamble, Transcript
from glmcode.engine.chat_messages import ChatMessages, encode, message_object
from glmcode.engine.chat_reply import ChatSink
from glmcode.engine.clock import Clock
from glmcode.engine.endpoint import Address, Endpoint
from glmcode.engine.exchange import Exchange
from glmcode.engine.faults import Fault, Judge
from glmcode.engine.meter import Kind, Meter

BYTES_PER_TOKEN = 3.5
RESPONSE_FORMAT = "response_format"
NO_THINKING = "chat_template_kwargs"


@dataclass(slots=True)
class _State:
    """What is known of one transcript: its bytes, and the last count that a server gave.

    known: tokens of the first `at` bytes of the messages. segment: which they are of. held:
    tokens of the last prompt, with which the next one should begin. cuts: rewinds so far.
    """

    messages: ChatMessages
    known: int = 0
    at: int = 0
    segment: int = 0
    held: int = 0
    cuts: int = 0


@dataclass(slots=True)
class ChatProtocol:
    """core.model.Model over chat completions.

    reserve: as in `tokens`; nothing is done with it, the server decides how long it answers.
    thinking: what the next answers may think, 0 or None. most: tokens that the next one may have,
    None: any number.
    """

    exchange: Exchange
    endpoint: Endpoint
    address: Address
    judge: Judge
    model: str
    reserve: int = 0
    most: int | None = None
    thinking: Thinking = None
    dropped: set[str] = field(default_factory=set)
    states: WeakKeyDictionary[Transcript, _State] = field(default_factory=WeakKeyDictionary)
    meter: Meter = field(init=False)

    def __post_init__(self) -> None:
        self.meter = Meter(self.exchange, ours=self.address.ours)

    async def reply(
        self, transcript: Transcript, emit: Emit, keep: Callable[[AssistantMessage], None]
    ) -> AssistantMessage:
        """See core.model.Model."""
        state = self._state(transcript)
        dialect = _Dialect(self, state, transcript, emit)
        sink, clock = await self.exchange.reply(dialect, emit, dialect.keeping(keep))
        message = sink.message(clock)
        dialect.told(sink, clock, message.usage)
        if message.usage.prompt_tokens:
            state.known = message.usage.prompt_tokens
            state.at = dialect.asked_bytes
        return message

    async def ask(
        self,
        transcript: Transcript,
        question: str,
        max_tokens: int,
        emit: Emit,
        schema: Mapping[str, Any] | None = None,
    ) -> AssistantMessage:
        """One answer to a question that is not part of the transcript; schema: as in Client.ask."""
        state = self._state(transcript)
        asked = _Question(question, min(max_tokens, self.most or max_tokens), schema)
        dialect = _Dialect(self, state, transcript, emit, asked)
        sink, clock = await self.exchange.reply(dialect, emit, lambda message: None)
        message = sink.message(clock)
        dialect.told(sink, clock, message.usage)
        return message

    def think(self, thinking: Thinking) -> str:
        """See Client.think."""
        if thinking:
            return (
                "a budget for thinking needs the protocol tokens, where glmcode sees each token; "
                "in chat it is on or off"
            )
        if thinking == self.thinking:
            return ""
        self.thinking = thinking
        return (
            "the server is asked for it; whether its model has such a switch is not known, and "
            "what was said may be rendered anew by its template and computed again"
        )

    def prompt_tokens(self, transcript: Transcript) -> int:
        """The server's last count, and an estimate for what came after it."""
        state = self._state(transcript)
        return state.known + max(0, round((state.messages.size - state.at) / BYTES_PER_TOKEN))

    def head_tokens(self, transcript: Transcript) -> int:
        """An estimate of the tokens of its preamble."""
        return self.preamble_tokens(transcript.preamble)

    def head_ids(self, transcript: Transcript) -> tuple[int, ...]:
        """None are known."""
        return ()

    def count(self, transcript: Transcript, message: Message) -> int:
        """An estimate of the tokens that a message would take."""
        return math.ceil(len(encode(message_object(message))) / BYTES_PER_TOKEN)

    def reasoning_tokens(self, message: AssistantMessage) -> int:
        """An estimate of how many of a reply's tokens are its reasoning."""
        return round(len(message.reasoning.encode("utf-8", "replace")) / BYTES_PER_TOKEN)

    def preamble_tokens(self, preamble: Preamble) -> int:
        """An estimate of the tokens of a preamble."""
        return round(ChatMessages(preamble).size / BYTES_PER_TOKEN)

    def options(self) -> dict[str, Any]:
        """The request without tools and messages."""
        wanted = {
            "model": self.model,
            "stream": True,
            "stream_options": {"include_usage": True},
            **self.endpoint.sampling,
            **({NO_THINKING: {"enable_thinking": False}} if self.thinking == 0 else {}),
        }
        if self.most is not None:
            asked = int(self.endpoint.sampling.get("max_tokens", self.most))
            wanted["max_tokens"] = min(self.most, asked)
        return {name: value for name, value in wanted.items() if name not in self.dropped}

    def _state(self, transcript: Transcript) -> _State:
        state = self.states.get(transcript)
        if state is None:
            keep = self.endpoint.reasoning == "keep"
            messages = ChatMessages(transcript.preamble, keep_reasoning=keep)
            state = self.states[transcript] = _State(messages)
        if (state.segment, state.cuts) != (transcript.segment, len(transcript.cuts)):
            state.messages.restart()
            state.known = state.at = state.held = 0
            state.segment, state.cuts = transcript.segment, len(transcript.cuts)
        state.messages.extend(transcript.since(state.messages.count))
        return state


@dataclass(frozen=True, slots=True)
class _Question:
    """What is asked after a transcript's messages, and what the answer may be."""

    text: str
    max_tokens: int
    schema: Mapping[str, Any] | None

    def options(self) -> dict[str, Any]:
        """What the request has beside what every request has."""
        if self.schema is None:
            return {"max_tokens": self.max_tokens}
        form = {"name": "answer", "schema": self.schema}
        return {
            "max_tokens": self.max_tokens,
            RESPONSE_FORMAT: {"type": "json_schema", "json_schema": form},
            NO_THINKING: {"enable_thinking": False},
        }


class _Dialect:
    """exchange.Dialect for one reply; question: asked after the transcript's messages."""

    def __init__(
        self,
        protocol: ChatProtocol,
        state: _State,
        transcript: Transcript,
        emit: Emit,
        question: _Question | None = None,
    ) -> None:
        self._protocol = protocol
        self._state = state
        self._messages = state.messages
        self._emit = emit
        self._names = [spec.name for spec in transcript.preamble.specs]
        self._step = 1 + transcript.replies
        self._question = question
        self.prompt_tokens = protocol.prompt_tokens(transcript)
        self.known_tokens = min(state.held, self.prompt_tokens)
        self.asked_bytes = state.messages.size
        self._kind: Kind = "step"
        if question is not None:
            self._kind = "compaction" if question.schema is None else "question"

    def told(self, sink: ChatSink, clock: Clock, usage: Usage) -> None:
        """Tell what the request cost as an event."""
        cost = replace(usage, prompt_tokens=usage.prompt_tokens or self.prompt_tokens)
        state = self._state
        before, held = state.held, usage.prompt_tokens
        if self._kind == "step":
            state.held = held
        self._emit(
            self._protocol.meter.finished(
                self._kind, sink.usage, clock, cost, prefix=before, held=held, segment=state.segment
            )
        )

    def keeping(self, keep: Keep) -> Keep:
        """`keep` that also tells of the request whose answer broke off."""

        def kept(message: AssistantMessage) -> None:
            state = self._state
            self._emit(
                self._protocol.meter.broken(
                    self._kind,
                    self.prompt_tokens,
                    0,
                    prefix=state.held,
                    held=state.held,
                    segment=state.segment,
                )
            )
            keep(message)

        return kept

    def request(self) -> tuple[str, tuple[bytes, ...]]:
        options = self._protocol.options()
        asked = self._question
        more = asked.options() if asked is not None else {}
        dropped = self._protocol.dropped
        options |= {name: value for name, value in more.items() if name not in dropped}
        body = self._messages.body(options, asked.text if asked is not None else None)
        return f"{self._protocol.address.api}/chat/completions", (body,)

    def _unbound(self) -> bool:
        """Ask without a schema where that may be what the server refused."""
        asked = self._question
        if asked is None or asked.schema is None:
            return False
        self._question = replace(asked, schema=None)
        return True

    def sink(self) -> ChatSink:
        def make_id(number: int) -> str:
            return f"call_{self._step}_{number}"

        return ChatSink(self._emit, self._names, make_id, self._protocol.judge)

    def adapt(self, fault: Fault) -> bool:
        if fault.status not in (400, 422):
            return False
        optional = {"stream_options": "include_usage"}
        if self._protocol.thinking == 0:
            optional[NO_THINKING] = "enable_thinking"
        if self._question is not None:
            optional |= {name: name for name in self._question.options()}
        if self._question is not None or self._protocol.most is not None:
            optional["max_tokens"] = "max_completion_tokens"
        optional |= {name: name for name in self._protocol.endpoint.sampling}
        named = {
            name for name, other in optional.items() if name in fault.body or other in fault.body
        } - self._protocol.dropped
        if not named:
            return self._unbound()
        self._protocol.dropped |= named
        left_out = ", ".join(sorted(named))
        self._emit(Notice(text=f"the server does not take {left_out}: left out from now on"))
        return True
