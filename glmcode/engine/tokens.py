"""The `tokens` protocol: ids in, ids out; the prefix is exact by construction.

Two routes: `/inference/v1/generate`, and where the server lacks it `/v1/completions` with
return_token_ids (it echoes the whole prompt, hence second). Which of them answers is found
out by the first real request, so that connecting costs none. The body is built from the
prompt's append-only buffer. Must not encode what was encoded, open connections or wait.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal
from weakref import WeakKeyDictionary

from glmcode.base.thinking import Thinking
from glmcode.core.messages import AssistantMessage, Message, Usage, UserMessage
from glmcode.core.model import Emit, Keep, ModelError
from glmcode.core.transcript import Preamble, Transcript
from glmcode.engine.endpoint import Address, Endpoint
from glmcode.engine.exchange import Exchange
from glmcode.engine.faults import Fault, Judge
from glmcode.engine.meter import Meter
from glmcode.engine.profile import CARD_SAMPLING
from glmcode.engine.token_dialect import Form, TokenDialect, both
from glmcode.engine.token_reply import TokenSink
from glmcode.glm.prompt import TokenPrompt, can_skip, reasoning_span
from glmcode.glm.tokenizer import GlmTokenizer

if TYPE_CHECKING:
    from glmcode.engine.warming import Warmed

MAX_GO_ON = 2
REPETITION = {"min_pattern_size": 16, "max_pattern_size": 200, "min_count": 128}
"""For vLLM's own detector: a backstop, more patient than ours (repetition.py) even in a file."""

STRUCTURED = "structured_outputs"
_OPTIONAL = (STRUCTURED, "repetition_detection", "detokenize", "stream_options", "output_mode")
_NO_ROUTE = (403, 404, 405, 501)


@dataclass(slots=True)
class _State:
    """A transcript as ids: the prompt, and how many messages of which segment it holds.

    cuts: how many of the transcript's rewinds it has followed.
    """

    prompt: TokenPrompt
    count: int = 0
    segment: int = 0
    cuts: int = 0

    def follow(self, transcript: Transcript) -> None:
        """Cut off what a compaction or a rewind took away."""
        if self.segment != transcript.segment:
            self.prompt.restart()
            self.count, self.segment = 0, transcript.segment
        elif self.cuts < len(transcript.cuts):
            keep = min(transcript.cuts[self.cuts :])
            if keep < self.count and self.prompt.can_rewind:
                self.prompt.rewind(keep)
                self.count = keep
            elif keep < self.count:
                self.prompt.restart()
                self.count = 0
        self.cuts = len(transcript.cuts)


@dataclass(slots=True)
class TokensProtocol:
    """core.model.Model over token ids. window 0: unknown, the server decides.

    reserve: tokens that an answer leaves free where it can, for what comes after it. thinking:
    what the next answers may think. most: tokens that the next one may have, None: any number.
    """

    exchange: Exchange
    endpoint: Endpoint
    address: Address
    judge: Judge
    model: str
    window: int
    tokenizer: GlmTokenizer
    schemas: Mapping[str, Mapping[str, Any]]
    route: Literal["generate", "completions"] = "generate"
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
        """See core.model.Model. Goes on after a length limit, at most MAX_GO_ON times."""
        state = self._state(transcript)
        prompt, step, budget = state.prompt, 1 + transcript.replies, self.thinking
        prompt.answer_with(thinking=budget != 0)
        said = len(prompt.answer_prefix)
        base: list[int] = []
        usage: Usage | None = None
        parts = expected = 0
        while True:
            dialect = TokenDialect(
                self, prompt, emit, step, base, segment=state.segment, budget=budget
            )
            sink, usage = await self._part(dialect, emit, keep, usage, expected)
            expected = dialect.known_tokens if sink.finish == "thought" else 0
            if sink.finish == "thought" and self._goes_on(prompt, sink.closed()):
                base, budget = sink.closed(), None
                continue
            if sink.finish != "length" or sink.in_call or not self._goes_on(prompt, sink.ids):
                break
            if parts == MAX_GO_ON:
                break
            parts += 1
            base = sink.ids[said:]
        return sink.message(usage or Usage())

    def think(self, thinking: Thinking) -> str:
        """See Client.think."""
        if thinking == 0 and not can_skip(self.tokenizer):
            return (
                "this model knows no /nothink, so its thinking can't be switched off; a number "
                "closes it after so many tokens"
            )
        self.thinking = thinking
        return ""

    async def _part(
        self,
        dialect: TokenDialect,
        emit: Emit,
        keep: Keep,
        usage: Usage | None = None,
        expected: int = 0,
    ) -> tuple[TokenSink, Usage]:
        """One request to its end, gone on with from the same ids where it was broken off for
        somebody more urgent; and the cost of all requests, with `usage` of those before.
        expected: as in `both`."""
        goes_on = False
        while True:
            sink, clock = await self.exchange.reply(
                dialect, emit, dialect.keeping(keep), goes_on=goes_on
            )
            cost = dialect.cost(sink, clock)
            usage = cost if usage is None else both(usage, cost, expected)
            rest = dialect.going_on(sink) if sink.broken_off else None
            if rest is None:
                return sink, usage
            dialect, goes_on = rest, True

    async def ask(
        self,
        transcript: Transcript,
        question: str,
        max_tokens: int,
        emit: Emit,
        schema: Mapping[str, Any] | None = None,
    ) -> AssistantMessage:
        """One answer, without reasoning, to a question on a fork: the prompt so far is cached.

        schema: as in Client.ask.
        """
        state = self._state(transcript)
        fork = state.prompt.fork(thinking=not can_skip(self.tokenizer))
        fork.extend([UserMessage(text=question)])
        form = Form(max_tokens, schema)
        dialect = TokenDialect(self, fork, emit, 0, (), segment=state.segment, form=form)
        sink, usage = await self._part(dialect, emit, lambda message: None)
        return sink.message(usage)

    @property
    def warms(self) -> bool:
        """Whether the next prompt's beginning is known, and an engine of ours may compute it."""
        return self.address.ours and self.endpoint.reasoning == "keep"

    async def warm(self, transcript: Transcript, emit: Emit) -> Warmed:
        """See warming.warm."""
        from glmcode.engine.warming import warm

        if not self.warms:
            return "failed"
        state = self._state(transcript)
        return await warm(self, state.prompt, state.segment, emit)

    def prompt_tokens(self, transcript: Transcript) -> int:
        """The tokens of the next prompt, exactly."""
        return self._state(transcript).prompt.request_count

    def head_tokens(self, transcript: Transcript) -> int:
        """The tokens of its preamble."""
        return self._state(transcript).prompt.head_count

    def head_ids(self, transcript: Transcript) -> tuple[int, ...]:
        """The ids of its preamble."""
        return self._state(transcript).prompt.head_ids

    def count(self, transcript: Transcript, message: Message) -> int:
        """The tokens that a message would take in this transcript."""
        return self._state(transcript).prompt.count(message)

    def reasoning_tokens(self, message: AssistantMessage) -> int:
        """How many of a reply's tokens are its reasoning."""
        start, end = reasoning_span(self.tokenizer, message.token_ids or ())
        return end - start

    def preamble_tokens(self, preamble: Preamble) -> int:
        """The tokens that another preamble would take."""
        return len(TokenPrompt(self.tokenizer, preamble))

    def body(
        self,
        ids: Sequence[bytes],
        max_tokens: int,
        made: int = 0,
        schema: Mapping[str, Any] | None = None,
    ) -> tuple[str, tuple[bytes, ...]]:
        """Path and body of a request for these ids: parts of a JSON array, passed on as is.

        made: how many of them, at the end, are of the answer that is gone on with. schema: of
        the answer.
        """
        sampling: dict[str, Any] = {
            **CARD_SAMPLING,
            **self.endpoint.sampling,
            "max_tokens": max_tokens,
            "stop_token_ids": list(self.tokenizer.stop_ids),
            "repetition_detection": REPETITION,
        }
        if schema is not None:
            sampling[STRUCTURED] = {"json": schema}
        if "min_tokens" in sampling:  # of the whole answer; vLLM refuses more than there is room
            sampling["min_tokens"] = min(max(0, sampling["min_tokens"] - made), max_tokens)
        options: dict[str, Any] = {"model": self.model, "stream": True}
        options["stream_options"] = {"include_usage": True}
        if self.route == "generate":
            path, key = f"{self.address.root}/inference/v1/generate", "token_ids"
            sampling["detokenize"] = False
            options |= {"request_id": uuid.uuid4().hex, "output_mode": "tokens"}
            options["sampling_params"] = self._wanted(sampling)
        else:
            path, key = f"{self.address.api}/completions", "prompt"
            options |= {"return_token_ids": True, "skip_special_tokens": False, **sampling}
        head = json.dumps(self._wanted(options), separators=(",", ":"))
        return path, (f'{head[:-1]},"{key}":'.encode(), *ids, b"}")

    def adapt(self, fault: Fault) -> bool:
        """Whether a request was refused for something it can do without, now left out."""
        if self.route == "generate" and fault.status in _NO_ROUTE:
            if "does not exist" in fault.body:
                return False
            self.route = "completions"
            return True
        if fault.status not in (400, 422):
            return False
        named = {name for name in _OPTIONAL if name in fault.body} - self.dropped
        self.dropped |= named
        return bool(named)

    def max_tokens(self, prompt: TokenPrompt, base: Sequence[int]) -> int:
        """What may be generated. Raises ModelError when nothing may."""
        room = self.room(prompt, base)
        if room < 1:
            held = prompt.request_count + len(base)
            raise ModelError(
                f"the conversation holds {held:,} tokens and the window {self.window:,}: there "
                "is no room for an answer. Start a new session (/clear) or ask for less at once",
                kind="context_full",
            )
        left = [] if self.most is None else [max(1, self.most - len(base))]
        return min(max(room - self.reserve, room // 2, 1), self.endpoint.step_cap, *left)

    def room(self, prompt: TokenPrompt, base: Sequence[int]) -> int:
        """Tokens left of the window; the step cap where it is not known."""
        held = prompt.request_count + len(base)
        return self.window - held if self.window else self.endpoint.step_cap

    def _goes_on(self, prompt: TokenPrompt, ids: Sequence[int]) -> bool:
        """Whether more may be generated after these ids of an answer."""
        return self.room(prompt, ids) > 0 and (self.most is None or len(ids) < self.most)

    def _wanted(self, options: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in options.items() if name not in self.dropped}

    def _state(self, transcript: Transcript) -> _State:
        state = self.states.get(transcript)
        if state is None:
            reasoning = self.endpoint.reasoning
            prompt = TokenPrompt(self.tokenizer, transcript.preamble, reasoning=reasoning)
            state = self.states[transcript] = _State(prompt)
        state.follow(transcript)
        if state.count < len(transcript):
            state.prompt.extend(transcript.since(state.count))
            state.count = len(transcript)
        return state
