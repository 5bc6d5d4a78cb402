"""Measures a running engine: how fast it reads and writes, and what its cache is worth.

Everything is asked over the engine's own socket, as any front end asks, with token ids that
nobody has sent before; answers go on past the stop token, at temperature 0. Other requests in
between make the figures worse, so the supervisor's queue is used like everybody else's and the
report says when somebody waited. Must not start, stop or configure anything.
"""

from __future__ import annotations

import json
import random
import statistics
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from glmcode.engine.http import Response, Transport, TransportError, read_refusal
from glmcode.engine.mark import HEADER, read_mark
from glmcode.engine.sse import DONE, ObjectStream, StreamError
from glmcode.engine.usage import reported_cache
from glmcode.glm.tokenizer import GlmTokenizer

DEPTHS = (1_000, 4_000, 16_000, 64_000, 128_000)
DECODE_TOKENS = 64
RUNS = 3
MARGIN = 512
"""Tokens of the window that stay free."""
ROUTE = "/inference/v1/generate"

Tell = Callable[[str], None]


class BenchError(Exception):
    """Nothing can be measured; one sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One request. first_s: to the first token. decode_s: what `later` tokens took after what
    came first, as the engine's own clock says or else as they arrived; 0: not to be told.
    queue_s: before the engine and in it. cached: None: not said."""

    prompt_tokens: int
    tokens: int
    later: int
    first_s: float
    decode_s: float
    queue_s: float
    cached: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Depth:
    """Medians at one depth. cold: nothing of the prompt was cached; warm: all of it."""

    depth_tokens: int
    first_token_cold_s: float
    first_token_warm_s: float
    prefill_tokens_per_s: float
    decode_tokens_per_s: float
    warm_cached_tokens: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch:
    """From a session to another and back. kept: whether the first was still cached then."""

    depth_tokens: int
    back_s: float
    back_cached_tokens: int | None
    kept: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All figures; seconds and tokens."""

    depths: tuple[Depth, ...]
    switches: tuple[Switch, ...]
    waited_s: float
    skipped: tuple[str, ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """For files and scripts."""
        return asdict(self)


class Bench:
    """Asks one engine."""

    def __init__(
        self, transport: Transport, model: str, tokenizer: GlmTokenizer, window: int, tell: Tell
    ) -> None:
        """window: in tokens; tell: gets a line of what is being measured."""
        self._transport = transport
        self._model = model
        self._tokenizer = tokenizer
        self._window = window
        self._tell = tell
        self._dice = random.Random()
        self._waited = 0.0

    async def run(self, depths: Sequence[int] = DEPTHS, runs: int = RUNS) -> Report:
        """Measure. Raises BenchError."""
        most = self._window - MARGIN - DECODE_TOKENS
        fit = [depth for depth in depths if depth <= most]
        skipped = [
            f"{depth:,} tokens: the window is {self._window:,}" for depth in depths[len(fit) :]
        ]
        if not fit:
            raise BenchError(f"the window of {self._window:,} tokens is too small to measure")
        await self.ask(self._fresh(64), 4)  # what is compiled or loaded late is so now
        found = [await self._depth(depth, runs) for depth in fit]
        switches = [await self._switch(depth) for depth in fit]
        return Report(
            depths=tuple(found),
            switches=tuple(switches),
            waited_s=round(self._waited, 3),
            skipped=tuple(skipped),
        )

    async def _depth(self, depth: int, runs: int) -> Depth:
        cold, warm, speeds = [], [], []
        for number in range(runs):
            self._tell(f"{depth:,} tokens, {number + 1} of {runs}")
            ids = self._fresh(depth)
            cold.append(await self.ask(ids, 1))
            sample = await self.ask(ids, DECODE_TOKENS)
            warm.append(sample)
            if sample.later and sample.decode_s > 0:
                speeds.append(sample.later / sample.decode_s)
        first = statistics.median(one.first_s for one in cold)
        cached = [one.cached for one in warm if one.cached is not None]
        return Depth(
            depth_tokens=depth,
            first_token_cold_s=round(first, 4),
            first_token_warm_s=round(statistics.median(one.first_s for one in warm), 4),
            prefill_tokens_per_s=round(depth / max(first, 1e-6), 1),
            decode_tokens_per_s=round(statistics.median(speeds), 2) if speeds else 0.0,
            warm_cached_tokens=int(statistics.median(cached)) if cached else None,
        )

    async def _switch(self, depth: int) -> Switch:
        """One session, another of the same length, and the first again with a little more."""
        self._tell(f"from one session of {depth:,} tokens to another and back")
        one, other = self._fresh(depth), self._fresh(depth)
        await self.ask(one, 1)
        await self.ask(other, 1)
        back = await self.ask([*one, *self._fresh(32)], 1)
        kept = None if back.cached is None else back.cached > depth // 2
        return Switch(
            depth_tokens=depth,
            back_s=round(back.first_s, 4),
            back_cached_tokens=back.cached,
            kept=kept,
        )

    def _fresh(self, count: int) -> list[int]:
        """Ids of a text that nobody has sent before."""
        ids: list[int] = []
        while len(ids) < count:
            words = (f"{self._dice.getrandbits(40):x}" for _ in range(512))
            ids += self._tokenizer.encode_text(" ".join(words))
        return ids[:count]

    async def ask(self, ids: Sequence[int], max_tokens: int) -> Sample:
        """One request. Raises BenchError."""
        body = json.dumps(
            {
                "model": self._model,
                "request_id": uuid.uuid4().hex,
                "token_ids": list(ids),
                "stream": True,
                "stream_options": {"include_usage": True},
                "sampling_params": {
                    "max_tokens": max_tokens,
                    "temperature": 0.0,
                    "ignore_eos": True,
                    "detokenize": False,
                },
            }
        ).encode()
        began = time.monotonic()
        try:
            answer = await self._transport.open("POST", ROUTE, (body,))
        except TransportError as error:
            raise BenchError(f"the engine can't be asked: {error}") from error
        if answer.status != 200:
            said = (await read_refusal(answer.read)).decode("utf-8", "replace")[:300]
            answer.abort()
            raise BenchError(f"the engine answered {answer.status} to {ROUTE}: {said}")
        return await self._read(answer, began, len(ids))

    async def _read(self, answer: Response, began: float, asked: int) -> Sample:
        stream = ObjectStream()
        usage: Any = {}
        metrics: Any = {}
        first = last = 0.0
        tokens = at_once = 0
        try:
            while chunk := await answer.read():
                new = 0
                for value in stream.feed(chunk):
                    if value is DONE or not isinstance(value, dict):
                        continue
                    usage = value.get("usage") or usage
                    metrics = value.get("metrics") or metrics
                    new += _tokens(value)
                if new:
                    last = time.monotonic() - began
                    first, at_once = first or last, at_once or new
                    tokens += new
        except (TransportError, StreamError) as error:
            answer.abort()
            raise BenchError(f"the answer broke off: {error}") from error
        answer.release()
        if not tokens:
            raise BenchError("the engine answered without a token")
        queued = read_mark(answer.headers.get(HEADER)).queued
        queue_s = queued + _told_s(metrics, "queue_time_ms")
        self._waited += queue_s
        inside = _told_s(metrics, "generation_time_ms")
        return Sample(
            prompt_tokens=asked,
            tokens=tokens,
            later=tokens - 1 if inside else tokens - at_once,
            first_s=max(0.0, first - queue_s),
            decode_s=inside or last - first,
            queue_s=queue_s,
            cached=reported_cache(usage) if isinstance(usage, dict) else None,
        )


def _told_s(metrics: Any, name: str) -> float:
    """Seconds that the engine's own metrics of a request tell; 0 where they don't."""
    value = metrics.get(name) if isinstance(metrics, dict) else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e9:
        return 0.0
    return value / 1000


def _tokens(value: dict[str, Any]) -> int:
    choices = value.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        return 0
    ids = choices[0].get("token_ids")
    return len(ids) if isinstance(ids, list) else 0


def _speed(value: float) -> str:
    return f"{value:,.1f} tokens/s" if value else "not measured"


def as_markdown(report: Report, head: dict[str, str]) -> str:
    """The report as people pass it on. head: names and values of what was measured."""
    lines = ["# An engine, measured by glmcode", ""]
    lines += [f"- {name}: {value}" for name, value in head.items()]
    lines += [
        "",
        "| tokens | first token, cold | prefill | first token, warm | of them cached | decode |",
        "|---:|---:|---:|---:|---:|---:|",
    ]
    for one in report.depths:
        cached = "not said" if one.warm_cached_tokens is None else f"{one.warm_cached_tokens:,}"
        lines.append(
            f"| {one.depth_tokens:,} | {one.first_token_cold_s:.3f} s "
            f"| {one.prefill_tokens_per_s:,.0f} tokens/s | {one.first_token_warm_s:.3f} s "
            f"| {cached} | {_speed(one.decode_tokens_per_s)} |"
        )
    lines += [
        "",
        "Two sessions of that length in turn, and what coming back to the first costs:",
        "",
    ]
    lines += ["| tokens | back | of them cached |", "|---:|---:|---:|"]
    for item in report.switches:
        cached = "not said" if item.back_cached_tokens is None else f"{item.back_cached_tokens:,}"
        lines.append(f"| {item.depth_tokens:,} | {item.back_s:.3f} s | {cached} |")
    lines += [f"\nNot measured: {text}" for text in report.skipped]
    if report.waited_s > 0.5:
        lines.append(f"\nOthers used the engine: {report.waited_s:.1f} s were waited in its queue.")
    return "\n".join(lines) + "\n"
