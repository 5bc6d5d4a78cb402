"""What of a batch's prompts came from the engine's cache, by task and in all. Pure.

The preamble (tools, system prompt, instructions, map) is the same for all tasks, so from the second
on it should be there: its share is told apart from the whole. What a server does not report is not
counted as nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Cached:
    """Tokens of prompts, and of the preamble in the first prompt of each task."""

    prompt: int = 0
    cached: int = 0
    preamble: int = 0
    preamble_cached: int = 0

    def __add__(self, other: Cached) -> Cached:
        return Cached(
            prompt=self.prompt + other.prompt,
            cached=self.cached + other.cached,
            preamble=self.preamble + other.preamble,
            preamble_cached=self.preamble_cached + other.preamble_cached,
        )

    def to_json(self) -> dict[str, int]:
        """For summary.json."""
        return {
            "prompt_tokens": self.prompt,
            "cached_tokens": self.cached,
            "preamble_tokens": self.preamble,
            "preamble_cached_tokens": self.preamble_cached,
        }

    def __str__(self) -> str:
        """ "91 % of 5,678 prompt tokens cached, 93 % of the preamble"; "" if nothing is known."""
        if not self.prompt:
            return ""
        said = f"{100 * self.cached / self.prompt:.0f} % of {self.prompt:,} prompt tokens cached"
        if not self.preamble:
            return said
        return f"{said}, {100 * self.preamble_cached / self.preamble:.0f} % of the preamble"


def cached_of(result: Mapping[str, Any]) -> Cached:
    """Of one task's result."""
    usage, engine = _table(result.get("usage")), _table(result.get("engine"))
    read, head = _number(usage.get("cache_read_input_tokens")), _table(engine.get("preamble"))
    known = head.get("cached_tokens") is not None
    return Cached(
        prompt=read + _number(usage.get("input_tokens")),
        cached=read,
        preamble=_number(head.get("tokens")) if known else 0,
        preamble_cached=_number(head.get("cached_tokens")),
    )


def cached_of_all(results: Iterable[Mapping[str, Any]]) -> Cached:
    """The sum."""
    return sum(map(cached_of, results), Cached())


def _table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _number(value: Any) -> int:
    return value if isinstance(value, int) and value > 0 else 0
