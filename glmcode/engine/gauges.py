"""What vLLM says of itself in /metrics, as far as a person asks: cache, requests, speed.

Names differ between versions and are absent where a feature is off: what is not there is not told.
Pure. Must not fetch.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any

_LINE = re.compile(r"^vllm:(\w+)(?:\{[^}]*\})? ([0-9.eE+-]+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gauges:
    """kv_use: 0 to 1 of the cache's blocks are held by requests. queries and hits: tokens of
    prompts so far, and those of them that were cached. None: not said."""

    kv_use: float | None = None
    running: int | None = None
    waiting: int | None = None
    queries: int | None = None
    hits: int | None = None
    generated: int | None = None
    preemptions: int | None = None

    @property
    def hit_rate(self) -> float | None:
        """Share of the prompts' tokens that needed no computing."""
        if not self.queries or self.hits is None:
            return None
        return min(1.0, self.hits / self.queries)

    def to_json(self) -> dict[str, Any]:
        """For scripts."""
        return {**asdict(self), "hit_rate": self.hit_rate}

    def words(self, pool: int = 0) -> str:
        """One line. pool: tokens that the cache holds, 0: unknown."""
        found = []
        if self.kv_use is not None:
            of = f" of {pool:,} tokens" if pool else ""
            found.append(f"KV cache {self.kv_use:.0%}{of} in use")
        if self.hit_rate is not None:
            found.append(f"{self.hit_rate:.0%} of {self.queries:,} prompt tokens were cached")
        if self.generated:
            found.append(f"{self.generated:,} tokens generated")
        if self.preemptions:
            found.append(f"{self.preemptions} preemptions for lack of KV")
        return ", ".join(found)


def read_gauges(text: str) -> Gauges:
    """Gauges from the text of /metrics; several engines are added up."""
    sums: dict[str, float] = {}
    for name, number in _LINE.findall(text):
        try:
            sums[name] = sums.get(name, 0.0) + float(number)
        except ValueError:
            continue

    def whole(*names: str) -> int | None:
        return next((int(sums[name]) for name in names if name in sums), None)

    return Gauges(
        kv_use=sums.get("kv_cache_usage_perc", sums.get("gpu_cache_usage_perc")),
        running=whole("num_requests_running"),
        waiting=whole("num_requests_waiting"),
        queries=whole("prefix_cache_queries_total", "gpu_prefix_cache_queries_total"),
        hits=whole("prefix_cache_hits_total", "gpu_prefix_cache_hits_total"),
        generated=whole("generation_tokens_total"),
        preemptions=whole("num_preemptions_total"),
    )
