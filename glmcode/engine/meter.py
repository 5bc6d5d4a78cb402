"""What each request of one client cost, as one event: the raw facts that the ledger judges.

Counts our own tries too, so that requests of others can be told from ours by the engine's
count, and tells the exchange's pace what a prompt took. Must not judge or show anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from glmcode.core.events import RequestFinished
from glmcode.core.messages import Usage
from glmcode.engine.clock import Clock
from glmcode.engine.exchange import Exchange
from glmcode.engine.usage import reported_cache

Kind = Literal["step", "go_on", "compaction", "question", "warm"]


class Meter:
    """One per client. ours: the server is our own engine, which leaves out a count of 0."""

    def __init__(self, exchange: Exchange, *, ours: bool) -> None:
        self._exchange = exchange
        self._reports = ours
        self._tries = 0

    def finished(
        self,
        kind: Kind,
        told: Mapping[str, Any],
        clock: Clock,
        cost: Usage,
        *,
        prefix: int,
        held: int,
        segment: int,
    ) -> RequestFinished:
        """A request that was answered; told: its stream's `usage`, {} where we broke it off."""
        cached = reported_cache(told)
        self._reports = self._reports or cached is not None
        if cached is None and told and self._reports:
            cached = 0
        mark = clock.mark
        if clock.first is not None:
            known = prefix if cached is None else cached
            self._exchange.pace.learn(known, cost.prompt_tokens, cost.prefill_s)
        return RequestFinished(
            kind=kind,
            prompt_tokens=cost.prompt_tokens,
            cached_tokens=cached,
            output_tokens=cost.output_tokens,
            queue_s=cost.queue_s,
            prefill_s=cost.prefill_s,
            decode_s=cost.decode_s,
            prefix=prefix,
            held=held,
            segment=segment,
            engine=mark.engine,
            served=mark.served,
            tries=self._tried(),
            block=mark.block,
            whole=bool(told) or not self._reports,
        )

    def broken(
        self, kind: Kind, prompt: int, output: int, *, prefix: int, held: int, segment: int
    ) -> RequestFinished:
        """A request whose answer broke off: nobody told what it cost."""
        mark = self._exchange.mark
        return RequestFinished(
            kind=kind,
            prompt_tokens=prompt,
            cached_tokens=None,
            output_tokens=output,
            prefix=prefix,
            held=held,
            segment=segment,
            engine=mark.engine,
            served=mark.served,
            tries=self._tried(),
            block=mark.block,
            whole=False,
        )

    def _tried(self) -> int:
        tries, self._tries = self._exchange.tries - self._tries, self._exchange.tries
        return tries
