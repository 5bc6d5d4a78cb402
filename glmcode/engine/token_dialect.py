"""One request of the `tokens` protocol: what is asked for, what it cost, how it is gone on with.

Apart from tokens.py, which knows transcripts and what may be generated, so that what a request
is and what a conversation is are read each by itself. Must not send anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from glmcode.base.thinking import Thinking
from glmcode.core.messages import AssistantMessage, Usage
from glmcode.core.model import Emit, Keep
from glmcode.engine.clock import Clock
from glmcode.engine.faults import Fault
from glmcode.engine.meter import Kind
from glmcode.engine.token_reply import TokenSink
from glmcode.engine.usage import read_usage
from glmcode.glm.prompt import TokenPrompt

if TYPE_CHECKING:
    from glmcode.engine.tokens import TokensProtocol


@dataclass(frozen=True, slots=True)
class Form:
    """What the answer to a question on a fork may be: its most tokens, and a JSON Schema."""

    cap: int
    schema: Mapping[str, Any] | None


class TokenDialect:
    """exchange.Dialect for one request of a reply.

    base: what was generated before and is sent again. segment: of the transcript. form: of the
    answer to a question on a fork, None for a reply. left: the tokens that are left of an answer
    which was broken off. budget: tokens of reasoning after which a reply is stopped.
    """

    def __init__(
        self,
        protocol: TokensProtocol,
        prompt: TokenPrompt,
        emit: Emit,
        step: int,
        base: Sequence[int],
        *,
        segment: int,
        form: Form | None = None,
        left: int | None = None,
        budget: Thinking = None,
    ) -> None:
        self.prompt_tokens = prompt.request_count + len(base)
        self.known_tokens = self.prompt_tokens if base else prompt.computed
        self._protocol = protocol
        self._prompt = prompt
        self._emit = emit
        self._step = step
        self._base = base
        self._said = prompt.answer_prefix
        self._segment = segment
        self._form = form
        self._left = left
        self._budget = budget
        self._kind: Kind = "go_on" if base else "step"
        if form is not None:
            self._kind = "compaction" if form.schema is None else "question"
        self._tries = 0

    def cost(self, sink: TokenSink, clock: Clock) -> Usage:
        """What the request cost; it is told as an event, too."""
        cost = read_usage(sink.usage, sink.metrics, clock)
        made = cost.output_tokens or len(sink.ids) - len(self._base) - len(self._said)
        cost = replace(cost, prompt_tokens=self.prompt_tokens, output_tokens=made)
        cut = sink.finish == "repetition"
        kept = sink.message(cost).token_ids or () if cut else sink.ids
        prefix, held = self._computed(len(kept))
        self._emit(
            self._protocol.meter.finished(
                self._kind, sink.usage, clock, cost, prefix=prefix, held=held, segment=self._segment
            )
        )
        return cost

    def keeping(self, keep: Keep) -> Keep:
        """`keep` that also tells of the request whose answer broke off."""

        def kept(message: AssistantMessage) -> None:
            made = len(message.token_ids or ())
            prefix, held = self._computed(max(0, made - 1))  # a closing tag may be ours
            self._emit(
                self._protocol.meter.broken(
                    self._kind,
                    self.prompt_tokens,
                    made - len(self._base) - len(self._said),
                    prefix=prefix,
                    held=held,
                    segment=self._segment,
                )
            )
            keep(message)

        return kept

    def _computed(self, kept: int) -> tuple[int, int]:
        """(tokens of the prompt that the engine had, those it has now with the kept answer)."""
        prefix = self.prompt_tokens if self._base else self._prompt.computed
        held = self._prompt.request_count + kept - len(self._said)
        self._prompt.computed = held
        return prefix, held

    def request(self) -> tuple[str, tuple[bytes, ...]]:
        ids = self._prompt.request_ids_json(self._base)
        schema = None if self._form is None else self._form.schema
        return self._protocol.body(ids, self._max_tokens(), len(self._base), schema)

    def _max_tokens(self) -> int:
        if self._left is not None:
            return self._left
        if self._form is not None:
            cap = min(self._form.cap, self._protocol.most or self._form.cap)
            return min(self._protocol.room(self._prompt, self._base), cap)
        return self._protocol.max_tokens(self._prompt, self._base)

    def going_on(self, sink: TokenSink) -> TokenDialect | None:
        """The request for the rest of an answer that was broken off; None when it is complete.

        It may generate what was left, so that the answer is what it would have been. What has
        a schema begins anew: its grammar knows only what one request generates.
        """
        again = self._form is not None and self._form.schema is not None
        base = () if again else sink.ids[len(self._said) :]
        left = self._max_tokens() - (len(base) - len(self._base))
        if left < 1:
            sink.finish = "length"
            return None
        return TokenDialect(
            self._protocol,
            self._prompt,
            self._emit,
            self._step,
            base,
            segment=self._segment,
            form=self._form,
            left=left,
            budget=self._budget,
        )

    def sink(self) -> TokenSink:
        self._tries += 1
        protocol = self._protocol
        return TokenSink(
            self._emit,
            protocol.judge,
            protocol.tokenizer,
            protocol.schemas,
            lambda index: f"call_{self._step}_{index + 1}",
            (*self._said, *self._base),
            said=len(self._said),
            budget=self._budget,
            replay=self._tries > 1,
        )

    def adapt(self, fault: Fault) -> bool:
        if self._protocol.adapt(fault):
            return True
        form = self._form
        if fault.status not in (400, 422) or form is None or form.schema is None:
            return False
        self._form = replace(form, schema=None)  # its grammar can't say that: asked without
        return True


def both(first: Usage, then: Usage, expected: int = 0) -> Usage:
    """The cost of a reply that went on: one prompt, all that was generated.

    expected: what should have been cached of the first prompt, where we broke its answer off and
    nobody told: it counts as far as the second request found it.
    """
    return replace(
        first,
        cached_tokens=max(first.cached_tokens, min(expected, then.cached_tokens)),
        output_tokens=first.output_tokens + then.output_tokens,
        queue_s=first.queue_s + then.queue_s,
        decode_s=first.decode_s + then.prefill_s + then.decode_s,
    )
