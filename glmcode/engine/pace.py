"""How fast an engine computes prompts, learned from those it has computed.

Deep tokens take longer than the first ones, as each looks back on all before it: the seconds of a
prompt are `a` for each new token and `b` for each token that such a token looks back on, and both
come from what was measured. It is an estimate, shown where the engine itself doesn't tell
(watch.py), and given up as soon as the prompt takes clearly longer than it says. Pure: must not
read files or clocks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from glmcode.engine.clock import Share

LEAST_TOKENS = 256
LEAST_S = 0.3
"""What is smaller tells more of the way than of the engine."""
MOST_S = 86_400.0
FASTEST = 1e7
"""Tokens a second that no engine reaches."""
LONGEST = 10**8
KEPT = 24
OLDER = 0.9
"""What a sample counts beside the one after it."""
ROUNDS = 12
NEAR = 0.02
APART = 3.0
"""Depths that differ by less say nothing of what depth costs."""
LATE, LATE_S = 1.25, 2.0

Sample: TypeAlias = tuple[int, int, float]
"""(tokens that were cached, tokens of the prompt, seconds until its first token)."""


@dataclass(slots=True)
class Pace:
    """What is known of one engine, the newest sample last.

    load: the samples from before, asked for once and only when they are needed. keep: given all
    samples after a new one.
    """

    load: Callable[[], Sequence[Sample]] = lambda: ()
    keep: Callable[[Sequence[Sample]], None] = lambda samples: None
    _samples: list[Sample] | None = None
    _fit: tuple[float, float] | None = field(default=None)

    @property
    def samples(self) -> list[Sample]:
        """All of them, those that make no sense left out."""
        if self._samples is None:
            self._samples = [one for one in self.load() if _sound(one)][-KEPT:]
        return self._samples

    def learn(self, cached: int, prompt: int, seconds: float) -> None:
        """A prompt was computed."""
        sample = (cached, prompt, round(seconds, 3))
        if not _sound(sample):
            return
        self.samples.append(sample)
        del self.samples[:-KEPT]
        self._fit = None
        self.keep(self.samples)

    def seconds(self, cached: int, prompt: int) -> float | None:
        """What a prompt should take; None: nothing is known."""
        if not self.samples or not 0 <= cached < prompt:
            return None
        a, b = self._rates()
        return a * (prompt - cached) + b * (prompt**2 - cached**2) / 2

    def share(self, cached: int, prompt: int, elapsed: float) -> Share:
        """Percent (at most 99) and seconds left after `elapsed`; None: it can't be said."""
        whole = self.seconds(cached, prompt)
        if whole is None or elapsed < 0 or elapsed > LATE * whole + LATE_S:
            return None, None
        a, b = self._rates()
        if b > 0:
            ahead = a * cached + b * cached**2 / 2 + elapsed
            reached = (math.sqrt(a * a + 2 * b * ahead) - a) / b
        else:
            reached = cached + elapsed / a
        left = whole - elapsed
        return min(99.0, 100 * reached / prompt), left if left > 0 else None

    def _rates(self) -> tuple[float, float]:
        """Seconds of a new token, and of each that it looks back on."""
        if self._fit is None:
            self._fit = _fitted(self.samples)
        return self._fit


def _sound(sample: Sample) -> bool:
    cached, prompt, seconds = sample
    new = prompt - cached
    return (
        0 <= cached < prompt <= LONGEST
        and new >= LEAST_TOKENS
        and LEAST_S <= seconds <= MOST_S
        and new / seconds <= FASTEST
    )


def _fitted(samples: Sequence[Sample]) -> tuple[float, float]:
    """By least relative deviations, so that one prompt that had to wait does not decide."""
    rows = [(p - c, (p**2 - c**2) / 2, s) for c, p, s in samples]
    depths = [back / new for new, back, _ in rows]
    apart = max(depths) >= APART * min(depths)
    age = [OLDER ** (len(rows) - 1 - n) for n in range(len(rows))]
    a, b = sorted(s / new for new, _, s in rows)[len(rows) // 2], 0.0
    for _ in range(ROUNDS):
        weights = []
        for old, (new, back, s) in zip(age, rows, strict=True):
            said = a * new + b * back
            off = max(NEAR, abs(said - s) / said)
            weights.append(old / said**2 / off)
        a, b = _least_squares(rows, weights, deep=apart)
    return a, b


def _least_squares(
    rows: Sequence[tuple[int, float, float]], weights: Sequence[float], *, deep: bool
) -> tuple[float, float]:
    """Two rates, neither below 0."""
    nn = nb = bb = ns = bs = 0.0
    for (new, back, seconds), w in zip(rows, weights, strict=True):
        nn, nb, bb = nn + w * new * new, nb + w * new * back, bb + w * back * back
        ns, bs = ns + w * new * seconds, bs + w * back * seconds
    flat = (ns / nn, 0.0)
    below = nn * bb - nb * nb
    if not deep or below <= 1e-9 * nn * bb:
        return flat
    a, b = (ns * bb - bs * nb) / below, (bs * nn - ns * nb) / below
    if b < 0:
        return flat
    return (a, b) if a > 0 else (1e-9, bs / bb)
