"""The last results of all benchmarks, in one file: each script replaces only its own part."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results.json"


def keep(values: dict[str, Any]) -> None:
    """Replace these top-level keys of results.json; the others stay."""
    try:
        known = json.loads(RESULTS.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        known = {}
    RESULTS.write_text(json.dumps({**known, **values}, indent=1) + "\n", encoding="utf-8")
