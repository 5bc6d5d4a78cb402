"""Which engine answered: one header that the supervisor adds to every answer it passes on.

From two of them a front end can tell why tokens were computed again: another start of the
engine, or requests of others in between. Pure. Must not judge what it means.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

HEADER = "x-glmcode-engine"
GENERATES = ("/v1/chat/completions", "/v1/completions", "/inference/v1/generate")
"""Routes whose requests fill the engine's cache, and are counted."""

_BLOCK = re.compile(r'^vllm:cache_config_info\{[^\n]*\bblock_size="(\d+)"', re.MULTILINE)
_BLOCKS = re.compile(r'^vllm:cache_config_info\{[^\n]*\bnum_gpu_blocks="(\d+)"', re.MULTILINE)
_FORM = re.compile(r"(\S+) served=(\d+) block=(\d+)(?: queued=([\d.]+))?")


@dataclass(frozen=True, slots=True)
class EngineMark:
    """engine: names one start of one engine, "" for a server that is not ours.

    served: requests that were passed on for answers since the supervisor runs, this one
    included. block: tokens of a block of its prefix cache, 0: not known. queued: seconds that
    the request waited for its turn.
    """

    engine: str = ""
    served: int = 0
    block: int = 0
    queued: float = 0.0

    def line(self) -> bytes:
        """The header's line, with its end."""
        words = f"{self.engine} served={self.served} block={self.block} queued={self.queued:g}"
        return f"{HEADER}: {words}\r\n".encode()


def read_mark(value: str | None) -> EngineMark:
    """Read the header's value; what is absent or odd says nothing."""
    found = _FORM.fullmatch(value or "")
    if found is None:
        return EngineMark()
    try:
        queued = float(found[4] or 0)
    except ValueError:
        queued = 0.0
    return EngineMark(found[1], int(found[2]), int(found[3]), queued)


def block_size(metrics: str) -> int:
    """Tokens of a cache block as vLLM's /metrics tells it; 0 when it does not."""
    found = _BLOCK.search(metrics)
    return int(found[1]) if found else 0


def cache_tokens(metrics: str) -> int:
    """Tokens that the prefix cache holds in all, as /metrics tells it; 0 when it does not."""
    found = _BLOCKS.search(metrics)
    return int(found[1]) * block_size(metrics) if found else 0
