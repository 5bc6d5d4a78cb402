"""The stream of generated ids, made into one AssistantMessage.

The ids are kept verbatim and without the stop token; what they say is read by the GLM
parser, piece by piece as they come. Serves both routes: `/inference/v1/generate` and
`/v1/completions` with return_token_ids. Must not render or send anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from glmcode.base.thinking import Thinking
from glmcode.core.events import Delta
from glmcode.core.messages import AssistantMessage, Stop, Usage
from glmcode.core.model import Emit, ModelError
from glmcode.engine.clock import Clock
from glmcode.engine.faults import Fault, Judge
from glmcode.engine.joined import Joined
from glmcode.engine.repetition import RepetitionDetector, Verbatim
from glmcode.engine.sse import StreamError
from glmcode.glm.interrupt import cut_interrupted
from glmcode.glm.parser import ReplyParser
from glmcode.glm.tokenizer import GlmTokenizer

OBSERVATION = "<|observation|>"
_LAST_ID = 2**31 - 1
SLICE = 8
"""Ids of an earlier part that are read at once: what repeats is judged by where it stands."""


class Thought:
    """Counts an answer's reasoning as its ids come."""

    def __init__(self, tokenizer: GlmTokenizer, budget: Thinking) -> None:
        """budget None: it is never used up."""
        self._left = budget
        self._opening = tokenizer.control_id("<think>")
        self._closing = tokenizer.control_id("</think>")
        self._open = False

    def over(self, number: int) -> bool:
        """Whether this id would be one more than the budget; else it counts."""
        if self._left is None or number == self._closing:
            self._left = None
            return False
        if not self._open:
            self._open = number == self._opening
            return False
        self._left -= 1
        return self._left < 0


class TokenSink:
    """exchange.Sink for `tokens`.

    base: ids of this reply that earlier requests generated (it goes on after a length
    limit); replay: they are shown again, because what was shown is void. said: how many of base,
    at its beginning, the prompt put into the model's mouth. budget: tokens of reasoning after
    which the answer is stopped, to be gone on with from `closed()`.
    """

    def __init__(
        self,
        emit: Emit,
        judge: Judge,
        tokenizer: GlmTokenizer,
        schemas: Mapping[str, Mapping[str, Any]],
        make_id: Callable[[int], str],
        base: Sequence[int] = (),
        *,
        replay: bool = False,
        said: int = 0,
        budget: Thinking = None,
    ) -> None:
        self.complete = False
        self.enough = False
        self.broken_off = False
        self.streamed = bool(base)
        self.finish: Literal["", "stop", "length", "repetition", "thought"] = ""
        self.ids: list[int] = []
        self.usage: dict[str, Any] = {}
        self.metrics: dict[str, Any] = {}
        self._shown = Joined(emit)
        self.flush = self._shown.flush
        self._judge = judge
        self._tokenizer = tokenizer
        self._schemas = schemas
        self._make_id = make_id
        self._parser = ReplyParser(schemas, make_id)
        self._stop: str | None = None
        self._thought = Thought(tokenizer, budget)
        self._detector = RepetitionDetector()
        self._verbatim = Verbatim()
        shown: list[Delta] = []
        for at in range(0, len(base), SLICE):
            shown += self._take(base[at : at + SLICE])
        self._told = len(self.ids)
        self._said = said
        self._show(shown, replay)
        self.flush()

    @property
    def in_call(self) -> bool:
        """Whether a tool call is open."""
        return self._parser.in_call

    def feed(self, value: dict[str, Any], clock: Clock) -> bool:
        """See exchange.Sink."""
        for name, store in (("usage", self.usage), ("metrics", self.metrics)):
            if isinstance(value.get(name), dict):
                store.update(value[name])
        choices = value.get("choices")
        if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
            return False
        choice = choices[0]
        ids = choice.get("token_ids")
        if ids is None and choice.get("text"):
            text = "this server sends no token ids: use --protocol chat"
            raise Fault(ModelError(text), cut=True)
        ids = ids if isinstance(ids, list) else []
        if not set(map(type, ids)) <= {int}:
            raise self._judge.stream(StreamError("it sent token ids that are no numbers"))
        if ids and not 0 <= min(ids) <= max(ids) <= _LAST_ID:
            raise self._judge.stream(StreamError("it sent token ids that no model has"))
        self._show(self._take(ids), True)
        self._finished(choice.get("finish_reason"), choice.get("stop_reason"))
        return bool(ids)

    def _take(self, ids: Sequence[int]) -> list[Delta]:
        kept: list[int] = []
        for number in () if self._stop is not None else ids:
            self._stop = self._tokenizer.stop_ids.get(number)
            if self._stop is not None:
                break
            if self._thought.over(number):
                self.finish = "thought"
                self.enough = self.complete = True
                break
            kept.append(number)
        self.ids += kept
        deltas: list[Delta] = []
        patient = self._parser.in_call or self._verbatim.open
        for piece in self._tokenizer.pieces(kept):
            deltas += self._parser.feed(piece)
            patient = patient or self._parser.in_call
        for delta in deltas:
            if delta.kind == "text":
                self._verbatim.feed(delta.text)
        if not self.enough and self._detector.feed(kept, patient=patient):
            self.finish = "repetition"
            self.enough = self.complete = True
        return deltas

    def _show(self, deltas: Sequence[Delta], visible: bool) -> None:
        if visible and deltas:
            self.streamed = True
            for delta in deltas[:-1]:
                self._shown.take(delta)
            told, self._told = self._told, len(self.ids)
            self._shown.take(replace(deltas[-1], tokens=self._told - told))

    def _finished(self, finish: Any, stop_reason: Any) -> None:
        match finish:
            case "stop" | "length" | "repetition":
                if not self.enough:
                    self.finish = finish
                self.complete = True
                if isinstance(stop_reason, int):
                    self._stop = self._tokenizer.stop_ids.get(stop_reason, self._stop)
            case str() if finish:
                raise self._judge.ended(f"finish reason {finish!r}")

    def partial(self) -> AssistantMessage | None:
        """See exchange.Sink: the ids up to the last closed structure."""
        if len(self.ids) <= self._said:
            return None
        return self._cut(self.ids, "interrupted", Usage(output_tokens=len(self.ids)))

    def closed(self) -> list[int]:
        """What was generated until the budget was used up, with the closing tag behind it."""
        return cut_interrupted(self._tokenizer, self.ids)[self._said :]

    def message(self, usage: Usage) -> AssistantMessage:
        """The whole answer."""
        if self.finish == "repetition":
            cut = self._cut(self.ids[: self._detector.kept()], "repetition", usage)
            return cut or AssistantMessage(token_ids=(), stop="repetition", usage=usage)
        at_limit = self.finish in ("length", "thought")
        reply = self._parser.finish("length" if at_limit else "stop", self._stop)
        stop: Stop = "end"
        if at_limit:
            stop = "length"
        elif self._stop == OBSERVATION or reply.calls or reply.rejected:
            stop = "calls"
        return AssistantMessage(
            reasoning=reply.reasoning,
            text=reply.text,
            calls=reply.calls,
            rejected=reply.rejected,
            token_ids=tuple(self.ids),
            stop=stop,
            usage=usage,
        )

    def _cut(self, ids: Sequence[int], stop: Stop, usage: Usage) -> AssistantMessage | None:
        kept = cut_interrupted(self._tokenizer, ids)
        if not kept:
            return None
        parser = ReplyParser(self._schemas, self._make_id)
        for piece in self._tokenizer.pieces(kept):
            parser.feed(piece)
        reply = parser.finish("interrupted")
        return AssistantMessage(
            reasoning=reply.reasoning,
            text=reply.text,
            calls=reply.calls,
            rejected=reply.rejected,
            token_ids=tuple(kept),
            stop=stop,
            usage=usage,
        )
