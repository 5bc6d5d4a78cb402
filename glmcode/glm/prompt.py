"""The token sequence of a session: it only grows, and nothing in it is encoded twice.

The request's id list is kept as text beside the ids: sealed pieces that are never copied
again, and a short growing end, so that a step at 200,000 tokens costs what one at 2,000
does, but for the socket's own copy. An
assistant message goes in with the ids that were generated, verbatim, so that each prompt
begins with the prompt before it and what was answered. Three things take ids out again, and
none encodes: `restart` (a compaction) goes back to the preamble, `rewind` to the first messages,
and with the reasoning policy `template` a user message cuts the spans of earlier reasoning, as
the model's own template does. Must not change what is in it otherwise.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from typing import Literal, TypeAlias

from glmcode.core.messages import AssistantMessage, Message, ToolMessage, UserMessage
from glmcode.core.transcript import Preamble
from glmcode.glm.pieces import Piece
from glmcode.glm.template import (
    assistant_pieces,
    generation_pieces,
    preamble_pieces,
    tool_run_pieces,
    user_pieces,
)
from glmcode.glm.tokenizer import GlmTokenizer

SEALED_BYTES = 65_536
"""The growing end of the text is sealed when it has this many bytes."""

Reasoning: TypeAlias = Literal["keep", "template"]


def reasoning_span(tokenizer: GlmTokenizer, ids: Sequence[int]) -> tuple[int, int]:
    """Where the reasoning of an answer stands in its ids, without its tags; (0, 0): nowhere."""
    opening, closing = tokenizer.control_id("<think>"), tokenizer.control_id("</think>")
    if opening not in ids or closing not in ids:
        return 0, 0
    start, end = ids.index(opening) + 1, ids.index(closing)
    return (start, end) if start < end else (0, 0)


def can_skip(tokenizer: GlmTokenizer) -> bool:
    """Whether the model knows `/nothink`: else its thinking can't be closed beforehand."""
    return tokenizer.control_id("/nothink") is not None


class TokenPrompt:
    """The prompt of one session in the `tokens` protocol.

    The base is the preamble and every message so far; a request is the base and the
    generation prompt, which becomes part of the base with the assistant message. computed: how
    many of its first ids a request had the engine compute; who asks says so.
    """

    def __init__(
        self,
        tokenizer: GlmTokenizer,
        preamble: Preamble,
        thinking: bool = True,
        reasoning: Reasoning = "keep",
    ) -> None:
        """thinking: False closes reasoning before it begins and marks user messages.

        reasoning: "template" cuts that of earlier turns when a user message arrives.
        """
        self.tokenizer = tokenizer
        self._ids = array("I")
        self._sealed: list[bytes] = []
        self._end = bytearray(b"[")
        self._in_tool_run = False
        self._can_skip = can_skip(tokenizer)
        self._reasoning = reasoning
        self._spans: list[slice] = []
        self._ends: list[tuple[int, bool]] = []
        self._set_thinking(thinking)
        self._append(tokenizer.encode(preamble_pieces(preamble)))
        self._head = len(self._ids)
        self.computed = 0

    def _set_thinking(self, thinking: bool) -> None:
        self.thinking = thinking
        self._generation = self.tokenizer.encode(generation_pieces(thinking))
        self._role = self.tokenizer.encode(generation_pieces())

    def answer_with(self, thinking: bool) -> None:
        """Whether the next answers may think; what stands in the prompt is not touched by it."""
        self._generation = self.tokenizer.encode(generation_pieces(thinking))

    def __len__(self) -> int:
        """Tokens of the base: preamble and messages, without the generation prompt."""
        return len(self._ids)

    @property
    def head_count(self) -> int:
        """Tokens of the preamble."""
        return self._head

    @property
    def head_ids(self) -> tuple[int, ...]:
        """The ids of the preamble."""
        return tuple(self._ids[: self._head])

    def count(self, message: Message) -> int:
        """Tokens that a message will take, at most (a tool result may need one less)."""
        match message:
            case UserMessage():
                return len(self.tokenizer.encode(user_pieces(message, self._may_think(message))))
            case ToolMessage():
                return len(self.tokenizer.encode(tool_run_pieces([message])))
            case AssistantMessage(token_ids=None):
                return len(self.tokenizer.encode(assistant_pieces(message)))
            case AssistantMessage(token_ids=ids):
                return len(self._role) + len(ids or ())

    @property
    def ids(self) -> list[int]:
        """The ids of the base; a copy."""
        return self._ids.tolist()

    @property
    def answer_prefix(self) -> tuple[int, ...]:
        """Ids that the generation prompt puts into the model's mouth (thinking off: a closed
        think block). They belong to the answer: a message's token_ids begin with them."""
        return tuple(self._generation[len(self._role) :])

    @property
    def request_count(self) -> int:
        """Tokens of a request: the base and the generation prompt."""
        return len(self._ids) + len(self._generation)

    def request_ids(self, partial: Iterable[int] = ()) -> list[int]:
        """The ids of a request; partial: generated ids that the model goes on from."""
        return [*self._ids, *self._generation, *partial]

    def request_ids_json(self, partial: Iterable[int] = ()) -> tuple[bytes, ...]:
        """The same as a JSON array in parts; only the last of them is made now."""
        end = b"".join((self._end, _json([*self._generation, *partial])[:-1], b"]"))
        return (*self._sealed, end)

    def ids_json(self) -> tuple[bytes, ...]:
        """The ids of the base as a JSON array in parts: what the next request will begin with,
        whatever is said next (while nothing is cut)."""
        *parts, last = (*self._sealed, bytes(self._end)) if self._end else self._sealed
        return (*parts, last[:-1], b"]")

    def extend(self, messages: Sequence[Message]) -> None:
        """Append messages that are new since the last call, and encode only them.

        A run of tool messages may arrive in several calls.
        """
        for message in messages:
            match message:
                case UserMessage():
                    if self._reasoning == "template":
                        self._cut_reasoning()
                    self._write(user_pieces(message, self._may_think(message)))
                case ToolMessage():
                    self._write(tool_run_pieces([message], opened=self._in_tool_run))
                case AssistantMessage():
                    self._extend_assistant(message)
            self._in_tool_run = isinstance(message, ToolMessage)
            self._ends.append((len(self._ids), self._in_tool_run))

    def _extend_assistant(self, message: AssistantMessage) -> None:
        ids: Sequence[int]
        if message.token_ids is None:
            ids = self.tokenizer.encode(assistant_pieces(message))
        else:
            ids = [*self._role, *message.token_ids]
        if self._reasoning == "template":
            start, end = reasoning_span(self.tokenizer, ids)
            at = len(self._ids)
            self._spans.append(slice(at + start, at + end))
        self._append(ids)

    def _cut_reasoning(self) -> None:
        starts = (span.start for span in self._spans if span.start < span.stop)
        self.computed = min(self.computed, next(starts, self.computed))
        for span in reversed(self._spans):
            del self._ids[span]
        self._spell_again()

    def restart(self) -> None:
        """Back to the preamble, whose ids stay as they are."""
        del self._ids[self._head :]
        self._ends.clear()
        self.computed = min(self.computed, self._head)
        self._in_tool_run = False
        self._spell_again()

    @property
    def can_rewind(self) -> bool:
        """Whether its ids stand where they were written: not where reasoning was cut."""
        return self._reasoning == "keep"

    def rewind(self, count: int) -> None:
        """Back to the first `count` messages, whose ids stay as they are. See can_rewind."""
        size, self._in_tool_run = self._ends[count - 1] if count else (self._head, False)
        del self._ids[size:]
        del self._ends[count:]
        self.computed = min(self.computed, size)
        self._spell_again()

    def _spell_again(self) -> None:
        """The text of the ids that are left; no id is encoded or changed."""
        self._spans.clear()
        self._sealed.clear()
        self._end = bytearray(b"[")
        self._spell(self._ids)

    def fork(self, thinking: bool | None = None) -> TokenPrompt:
        """A copy that grows apart from this one; thinking: for its new messages.

        It keeps all reasoning: its prompt begins with this one's, whatever is said next.
        """
        other = object.__new__(TokenPrompt)
        other.tokenizer = self.tokenizer
        other._ids = self._ids[:]
        other._sealed = self._sealed[:]
        other._end = self._end[:]
        other._in_tool_run = self._in_tool_run
        other._can_skip = self._can_skip
        other._head = self._head
        other.computed = self.computed
        other._reasoning = "keep"
        other._spans = []
        other._ends = self._ends[:]
        other._set_thinking(self.thinking if thinking is None else thinking)
        return other

    def _may_think(self, message: UserMessage) -> bool:
        return self.thinking and (message.thinking or not self._can_skip)

    def _write(self, pieces: Sequence[Piece]) -> None:
        self._append(self.tokenizer.encode(pieces))

    def _append(self, ids: Sequence[int]) -> None:
        self._ids.extend(ids)
        self._spell(ids)

    def _spell(self, ids: Iterable[int]) -> None:
        self._end += _json(ids)
        if len(self._end) >= SEALED_BYTES:
            self._sealed.append(bytes(self._end))
            self._end.clear()


def _json(ids: Iterable[int]) -> bytes:
    """Ids as text, each followed by a comma."""
    return "".join(f"{number}," for number in ids).encode()
