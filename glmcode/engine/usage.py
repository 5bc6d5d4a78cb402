"""What one reply cost, read from the usage and metrics that a stream carries."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from glmcode.core.messages import Usage
from glmcode.engine.clock import Clock


def read_usage(usage: Mapping[str, Any], metrics: Mapping[str, Any], clock: Clock) -> Usage:
    """Usage of one stream, in either protocol; what a server leaves out counts as 0.

    vLLM leaves out cached_tokens when it is 0. Times are measured here, except the queue's:
    that before our engine, as its supervisor tells, and that inside vLLM.
    """
    queue = _number(metrics.get("queue_time_ms")) / 1000 + clock.mark.queued
    now = time.monotonic()
    first = clock.first if clock.first is not None else now
    prompt = int(_number(usage.get("prompt_tokens")))
    return Usage(
        prompt_tokens=prompt,
        cached_tokens=min(prompt, reported_cache(usage) or 0),
        output_tokens=int(_number(usage.get("completion_tokens"))),
        queue_s=round(queue, 3),
        prefill_s=round(max(0.0, first - clock.began - queue), 3),
        decode_s=round(now - first, 3),
    )


def reported_cache(usage: Mapping[str, Any]) -> int | None:
    """Tokens that were not computed again; None where the server does not say."""
    details = usage.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, Mapping) else None
    if cached is None:
        cached = usage.get("prompt_cache_hit_tokens")
    return None if cached is None else int(_number(cached))


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and 0 <= value < 1e12 else 0.0
