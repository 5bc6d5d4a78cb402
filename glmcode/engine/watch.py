"""Looks at an engine of ours while nothing comes from it: how far it is, and whether it works.

What its scheduler tells in /metrics is read once or twice a second, and only in a silence. Of the
cache, a prompt that is computed takes more with every chunk, so that with one request at the
engine its share is known. A stall is no token and nothing that moves: not in the counts of tokens
and steps, not in the cache. The time that something takes is no reason. Must not send anything
else.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from glmcode.core.events import Notice
from glmcode.core.model import Emit
from glmcode.engine.clock import QUIET_S, Clock, Share
from glmcode.engine.gauges import read_gauges
from glmcode.engine.mark import cache_tokens

EVERY_S = 0.5
LATER_S = 1.0
LATER_FROM_S = 10.0
RECENT = 4
"""Chunks that tell the speed: later ones take longer, as they look back on more."""

_SIGNS = re.compile(
    r"^vllm:(?:generation_tokens_total|prompt_tokens_total|iteration_tokens_total_count"
    r"|prefix_cache_queries_total|kv_cache_usage_perc|gpu_cache_usage_perc|num_requests_running)"
    r"(?:\{[^}]*\})? (\S+)$",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """path: of the metrics. stall_s: how long it may stand still, 0: for ever. gives_up: the
    answer is then ended; else it is said, and the person decides."""

    path: str
    stall_s: float
    gives_up: bool


class Prefill:
    """How far a prompt is, from the tokens that the cache holds. Times are of one clock.

    These grow when a chunk is begun, so that the last chunk is not computed yet.
    """

    def __init__(self, prompt_tokens: int) -> None:
        self._prompt = prompt_tokens
        self._levels: list[tuple[float, int]] = []
        self._chunk = prompt_tokens

    def take(self, held: int, now: float) -> None:
        """The cache holds so many tokens now."""
        last = self._levels[-1][1] if self._levels else 0
        if held > last:
            if self._levels:
                self._chunk = min(self._chunk, held - last)
            self._levels.append((now, held))

    def share(self, now: float) -> Share:
        """Percent from the second chunk on; seconds, too, once the speed is known."""
        if len(self._levels) < 2 or self._levels[-1][1] > self._prompt + self._chunk:
            return None, None
        at, held = self._levels[-1]
        done = held - self._chunk
        percent = min(99.0, 100 * done / self._prompt)
        # When the first of them was begun is not known: it may have been seen late.
        first = max(1, len(self._levels) - 1 - RECENT)
        if first == len(self._levels) - 1:
            return percent, None
        began, before = self._levels[first]
        left = max(0, self._prompt - done) * (at - began) / (held - before) - (now - at)
        return percent, left if left > 0 else None


class Watch:
    """Of one try. look: the text at a path, "" when it does not come in a moment."""

    def __init__(
        self,
        rules: Rules,
        clock: Clock,
        prompt_tokens: int,
        look: Callable[[str], Awaitable[str]],
        emit: Emit,
        limit: asyncio.Timeout,
    ) -> None:
        """limit: of the work that is watched; it is let expire when that is given up."""
        self._rules = rules
        self._clock = clock
        self._prompt_tokens = prompt_tokens
        self._look = look
        self._emit = emit
        self._limit = limit
        self._prefill = Prefill(prompt_tokens)
        self._signs: list[str] = []
        self._moved = 0.0
        clock.prefill = lambda: self._prefill.share(time.monotonic())

    async def run(self) -> None:
        """Look until cancelled, or until it is given up."""
        while not self._limit.expired():
            silent = time.monotonic() - self._clock.last
            await asyncio.sleep(EVERY_S if silent < LATER_FROM_S else LATER_S)
            now = time.monotonic()
            if self._clock.queued_now or now - self._clock.last < QUIET_S:
                self._moved = 0.0
                self._prefill = Prefill(self._prompt_tokens)
                continue
            text = await self._look(self._rules.path)
            self._take(text, time.monotonic())
            if self._rules.stall_s and self._stands_still(time.monotonic()):
                return

    def _take(self, text: str, now: float) -> None:
        signs = _SIGNS.findall(text)
        if not self._moved or (signs and signs != self._signs):
            self._moved, self._signs = now, signs
        gauges = read_gauges(text)
        if gauges.running == 1 and gauges.kv_use is not None:
            self._prefill.take(round(gauges.kv_use * cache_tokens(text)), now)
        else:  # whose tokens the cache holds can't be told
            self._prefill = Prefill(self._prompt_tokens)

    def _stands_still(self, now: float) -> bool:
        """Whether that was so long that there is nothing more to wait for."""
        if now - max(self._moved, self._clock.last) < self._rules.stall_s:
            return False
        if self._rules.gives_up:
            self._limit.reschedule(asyncio.get_running_loop().time())
            return True
        self._moved = now
        self._emit(
            Notice(
                text=f"the engine stands still: no token and no progress of its scheduler for "
                f"{self._rules.stall_s:.0f} s. Esc stops; `glmcode engine logs` shows what it said "
                "last, `glmcode engine restart` starts it again"
            )
        )
        return False
