"""Notices that an answer has begun to repeat itself, from its tokens alone.

A period p counts once the last tokens equal those p before them for long enough: at least
REPEATS periods and SPAN tokens. Tables, rulers and arrays repeat too, so the span is long,
and four times as long inside a tool call, where the content is a file. The cost is constant
per token: one candidate period is followed; when it breaks, the last place where the same
GRAM tokens stood proposes the next. Must not decide what happens to the answer.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable

MAX_PERIOD = 200
REPEATS = 8
SPAN = 400
PATIENCE = 4
GRAM = 6


class RepetitionDetector:
    """Feed tokens (ids, or pieces of text where there are no ids)."""

    def __init__(self) -> None:
        self._tokens: list[Hashable] = []
        self._seen: dict[int, int] = {}
        self._period = 0
        self._run = 0

    def feed(self, tokens: Iterable[Hashable], *, patient: bool = False) -> bool:
        """True as soon as the stream repeats itself. patient: the tokens belong to a call."""
        scale = PATIENCE if patient else 1
        for token in tokens:
            self._tokens.append(token)
            self._follow()
            if self._period and self._run >= scale * max(SPAN, REPEATS * self._period):
                return True
        return False

    def _follow(self) -> None:
        tokens = self._tokens
        last = len(tokens) - 1
        if self._period and tokens[last] == tokens[last - self._period]:
            self._run += 1
        else:
            self._period = self._run = 0
        if last < GRAM:
            return
        gram = hash(tuple(tokens[last - GRAM + 1 :]))
        before = self._seen.get(gram)
        self._seen[gram] = last
        if not self._period and before is not None and last - before <= MAX_PERIOD:
            self._period = last - before
            self._run = GRAM

    def kept(self) -> int:
        """How many of the tokens stand before the third repetition: what is worth keeping."""
        if not self._period:
            return len(self._tokens)
        return min(len(self._tokens), len(self._tokens) - self._run + self._period)
