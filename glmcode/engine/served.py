"""What a server says of itself: the models that it lists, their windows, where their files lie.

Everything here comes from a stranger and may be anything; what is no name, no number of tokens or
no JSON counts as not said. Must not ask a server anything.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_NAME_MOST = 500
"""Letters of a model's name."""

_WINDOW_MOST = 1 << 30
"""Tokens; what says more says nothing."""

_WINDOW_KEYS = ("max_model_len", "context_length", "context_window", "max_context_length")


def cached_tokenizer(model: str) -> Path | None:
    """The tokenizer.json of a model's folder, or of a hub id in the local cache."""
    from glmcode.engine.profile import cached_snapshot

    folder = Path(model) if model.startswith("/") else None
    if folder is None and model.count("/") == 1:
        folder = cached_snapshot(model)
    file = folder / "tokenizer.json" if folder is not None else None
    try:
        return file if file is not None and file.is_file() else None
    except OSError:  # a name that can be none here
        return None


def parsed(body: bytes) -> Any:
    """JSON of a server that may say anything. Raises ValueError."""
    try:
        return json.loads(body)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def served_models(value: Any) -> list[dict[str, Any]]:
    """The models of a list, whatever its form; without an id that is a name they do not count."""
    data = value.get("data", value.get("models")) if isinstance(value, dict) else value
    entries = data if isinstance(data, list) else []
    return [e for e in entries if isinstance(e, dict) and _is_name(e.get("id"))]


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _NAME_MOST and value.isprintable()


def served_window(entry: Mapping[str, Any]) -> int:
    """Tokens of a listed model's window, 0 when it isn't said."""
    meta = entry.get("meta")
    known = [entry.get(key) for key in _WINDOW_KEYS]
    known.append(meta.get("n_ctx") if isinstance(meta, Mapping) else None)
    return next((count for value in known if (count := token_count(value))), 0)


def token_count(value: Any) -> int:
    """A number of tokens, 0 for what is none."""
    if isinstance(value, bool) or not isinstance(value, int):
        return 0
    return value if 0 < value <= _WINDOW_MOST else 0
