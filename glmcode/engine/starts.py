"""How long the phases of the last start took, kept in a file: what the next one is measured by.

Losing it only costs the next progress line its percent, so nothing here fails. Must not look at an
engine or a clock.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path

from glmcode.engine.phases import PHASES

LONGEST_S = 86_400.0
"""Of a phase of a start, where a file says how long it took."""


def last_start(path: Path) -> Mapping[str, float]:
    """Seconds per phase of the last start, {} when it is not known."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        took = {name: float(value[name]) for name in PHASES if name in value}
    except (OSError, ValueError, TypeError, OverflowError, RecursionError):
        return {}
    return {name: seconds for name, seconds in took.items() if 0 <= seconds < LONGEST_S}


def keep_start(path: Path, took: Mapping[str, float]) -> None:
    """Remember a start."""
    with contextlib.suppress(OSError):
        draft = path.with_suffix(".draft")
        draft.write_text(json.dumps({k: round(v, 3) for k, v in took.items()}), encoding="utf-8")
        draft.replace(path)
