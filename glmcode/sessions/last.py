"""The last line of a kind in a session file, found from its end without reading the whole.

A kind stands at the head of its line, where no text of a message can: quotes inside of one are
escaped, and a newline too. Damage is nothing found. Must not write.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from glmcode.sessions.lines import VERSION

UNCOUNTED = ("compaction", "question")
"""Requests that were asked beside the conversation: their tokens are not what it holds."""
MOST_LOOKED_AT = 50


def title_given(path: Path) -> str:
    """The title that a person gave the session last, or ""."""
    for entry in _backwards(path, "title"):
        return " ".join(str(entry.get("title", "")).split())
    return ""


def tokens_held(path: Path) -> int:
    """About how many tokens the conversation held at its last request; 0: not known."""
    for entry in _backwards(path, "ledger"):
        prompt, output = entry.get("prompt"), entry.get("output")
        if entry.get("kind") not in UNCOUNTED and isinstance(prompt, int):
            return prompt + (output if isinstance(output, int) else 0)
    return 0


def _backwards(path: Path, kind: str) -> Iterator[dict[str, Any]]:
    """The lines of a kind, the last first."""
    head = f'\n{{"v":{VERSION},"t":"{kind}",'.encode()
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            at = len(data)
            for _ in range(MOST_LOOKED_AT):
                at = data.rfind(head, 0, at)
                end = data.find(b"\n", at + 1) if at >= 0 else -1
                if at < 0:
                    return
                if end > 0:  # else it was torn
                    yield json.loads(data[at + 1 : end])
    except (OSError, ValueError):
        return
