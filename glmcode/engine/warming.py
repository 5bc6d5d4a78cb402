"""Has an engine of ours compute a prompt before it is needed: the one request nobody awaits.

It asks for one token, which is thrown away; what stays is the prompt's blocks in the prefix
cache. It goes as a run of its own in the class background, never waits behind anybody and gives
way to everybody. Cancelling it closes the connection, which frees the engine at once; of what was
computed until then nothing is claimed, as nobody tells how far it came. Must not retry, show
anything itself or decide when.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, TypeAlias

from glmcode.core.events import Event, Queued, Warming
from glmcode.core.model import Emit
from glmcode.engine.clock import Clock
from glmcode.engine.faults import Fault
from glmcode.engine.lane import TOKENS, beside
from glmcode.engine.token_reply import TokenSink
from glmcode.engine.usage import read_usage

if TYPE_CHECKING:
    from glmcode.engine.tokens import TokensProtocol
    from glmcode.glm.prompt import TokenPrompt

Warmed: TypeAlias = Literal["done", "busy", "failed"]

LEAST = 256
"""Tokens below which a prompt is computed as fast as it is asked for."""
ADAPTS = 3


async def warm(protocol: TokensProtocol, prompt: TokenPrompt, segment: int, emit: Emit) -> Warmed:
    """Compute the prompt's base. Tells Warming, and RequestFinished if the engine got to it."""
    count = len(prompt)
    if count < LEAST or (protocol.window and count >= protocol.window):
        return "failed"
    emit(Warming(tokens=count))
    try:
        for _ in range(ADAPTS):
            fault = await _Try(protocol, prompt, segment, emit).run()
            if fault is None:
                return "done"
            if not protocol.adapt(fault):
                return "busy" if fault.status == 503 else "failed"
        return "failed"
    except _Behind:
        return "busy"
    finally:
        emit(Warming(tokens=0))


class _Behind(Exception):
    """Somebody else wants the engine."""


class _Try:
    """One request."""

    def __init__(
        self, protocol: TokensProtocol, prompt: TokenPrompt, segment: int, emit: Emit
    ) -> None:
        self._protocol = protocol
        self._prompt = prompt
        self._count = len(prompt)
        self._segment = segment
        self._emit = emit
        self._behind = asyncio.Event()
        self._clock = Clock(self._told, self._count)
        self._sink = TokenSink(
            lambda event: None, protocol.judge, protocol.tokenizer, {}, lambda index: ""
        )

    async def run(self) -> Fault | None:
        """Why it was refused, None when it was answered. Raises _Behind, CancelledError."""
        protocol = self._protocol
        path, body = protocol.body(self._prompt.ids_json(), 1)
        headers = {TOKENS: str(self._count), **beside(protocol.endpoint.headers)}
        asking = asyncio.ensure_future(
            protocol.exchange.single(path, body, self._sink, self._clock, headers)
        )
        behind = asyncio.ensure_future(self._behind.wait())
        try:
            await asyncio.wait({asking, behind}, return_when=asyncio.FIRST_COMPLETED)
            if not asking.done():
                raise _Behind
            asking.result()
        except Fault as fault:
            protocol.exchange.tries -= 1  # no engine was given it
            return fault
        except (asyncio.CancelledError, _Behind):
            self._broken()
            raise
        finally:
            behind.cancel()
            asking.cancel()
            await asyncio.wait({asking, behind})
        self._finished()
        return None

    def _told(self, event: Event) -> None:
        """One that does not wait is told of others only when it was broken off for them."""
        if isinstance(event, Queued) and event.ahead:
            self._behind.set()

    def _finished(self) -> None:
        sink, clock, prompt = self._sink, self._clock, self._prompt
        cost = replace(read_usage(sink.usage, sink.metrics, clock), prompt_tokens=self._count)
        self._emit(
            self._protocol.meter.finished(
                "warm",
                sink.usage,
                clock,
                cost,
                prefix=prompt.computed,
                held=self._count,
                segment=self._segment,
            )
        )
        prompt.computed = max(prompt.computed, self._count)

    def _broken(self) -> None:
        known = self._prompt.computed
        event = self._protocol.meter.broken(
            "warm", self._count, 0, prefix=known, held=known, segment=self._segment
        )
        took = round(time.monotonic() - self._clock.began, 3)
        self._emit(replace(event, prefill_s=took))
