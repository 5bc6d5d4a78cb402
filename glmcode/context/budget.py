"""The window as arithmetic: what is reserved, what is left, what no longer fits.

Each reserve is the smaller of an absolute number and a share of the window, so that the same
rules hold at 8,192 tokens and at 202,752. Pure numbers: tokens in, tokens out. Must not
count tokens itself nor know messages.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

SUMMARY_TOKENS = 4_096
LEAST_ANSWER = 1_024
LEAST_RESULT = 24
"""Tokens that a result may always take: its tags, and a word that it was cut."""
CHARS_PER_TOKEN = 2
"""For the first cut of a result, by characters: dense text; the second cut counts tokens."""
UNKNOWN = 1 << 40
"""Stands for the window of a server that does not say how long it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Shares of one window, all in tokens.

    answer: the longest answer that is planned for. result: the largest tool result. summary:
    the longest summary. question: what asking for it takes. least: the shortest answer worth
    a request.
    """

    window: int
    answer: int
    result: int
    summary: int
    question: int
    least: int

    @property
    def trigger(self) -> int:
        """A prompt above this is compacted before the next answer."""
        return self.window - self.answer - self.result - self.summary - self.question

    @property
    def spare(self) -> int:
        """What answers, results and messages leave free: a summary can still be asked for."""
        return self.summary + self.question + self.least

    @property
    def limit(self) -> int:
        """The hard limit: above it there is no room for a step."""
        return self.window - self.spare

    def result_tokens(self, used: int, results: int) -> int:
        """Tokens of the next result, when `results` (it and others) must still fit.

        used: tokens of a prompt with what is there already.
        """
        share = (self.limit - used) // max(1, results)
        return max(LEAST_RESULT, min(self.result, share))

    def overrun(self, used: int, tokens: int) -> int:
        """By how many tokens a message of `tokens` exceeds the hard limit; 0 or less: it fits."""
        return used + tokens - self.limit


def budget_of(
    window: int, *, step_cap: int, result_chars: int, question: int, compact: bool = True
) -> Budget:
    """The shares of a window of so many tokens; 0: unknown, then nothing is ever full.

    compact: False reserves nothing for a summary.
    """
    known = window or UNKNOWN
    return Budget(
        window=known,
        answer=min(step_cap, known // 6),
        result=min(max(1, result_chars // CHARS_PER_TOKEN), known // 8),
        summary=min(SUMMARY_TOKENS, known // 16) if compact else 0,
        question=question if compact else 0,
        least=min(LEAST_ANSWER, known // 16),
    )


def shrink(
    make: Callable[[int], str], characters: int, count: Callable[[str], int], limit: int
) -> str:
    """The text that `make` gives for a number of characters, within `limit` tokens.

    Begins with `characters`; returns "" when nothing fits.
    """
    while characters > 0:
        text = make(characters)
        tokens = count(text)
        if tokens <= limit:
            return text
        characters = min(characters - 1, characters * limit * 15 // (tokens * 16))
    return ""
