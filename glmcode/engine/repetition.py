"""Notices that an answer has begun to repeat itself, from its tokens alone.

A period p counts once the last tokens equal those p before them for long enough: at least
REPEATS periods and SPAN tokens. Tables, rulers and arrays repeat too, so the span is long,
and four times as long inside a tool call, in fenced code and in JSON, where what repeats may be
what was asked for. The cost is constant per token: one candidate period is followed; when it
breaks, the last place where the same GRAM tokens stood proposes the next (with shorter grams two
wrong candidates can propose each other for ever). Must not decide what happens to the answer.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable

MAX_PERIOD = 200
REPEATS = 8
SPAN = 400
PATIENCE = 4
GRAM = 12


class RepetitionDetector:
    """Feed tokens (ids, or pieces of text where there are no ids)."""

    def __init__(self) -> None:
        self._tokens: list[Hashable] = []
        self._seen: dict[int, int] = {}
        self._period = 0
        self._run = 0

    def feed(self, tokens: Iterable[Hashable], *, patient: bool = False) -> bool:
        """True as soon as the stream repeats itself. patient: the tokens belong to a call
        or to what is Verbatim."""
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


class Verbatim:
    """Follows an answer's text: whether it stands in fenced code, or is JSON from its beginning."""

    def __init__(self) -> None:
        self._line = ""
        self._fenced = False
        self._json = False
        self._begun = False

    @property
    def open(self) -> bool:
        """Whether what comes next is such."""
        return self._fenced or self._json

    def feed(self, text: str) -> None:
        """Take the next piece."""
        if not self._begun and (begin := text.lstrip()):
            self._begun, self._json = True, begin[0] in "[{"
        *whole, rest = text.split("\n")
        for line in whole:
            if (self._line + line).lstrip().startswith(("```", "~~~")):
                self._fenced = not self._fenced
            self._line = ""
        self._line = (self._line + rest)[:40]
