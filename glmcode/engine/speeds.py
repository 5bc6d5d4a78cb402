"""Where the learned speed of engines is kept between runs: one small file of all of them.

It is read when a prompt takes long enough that somebody wonders, never at launch. What cannot be
read or written costs an estimate and nothing else, so it is not told. Must not measure.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from glmcode.engine.pace import Pace, Sample

ENGINES = 20
"""Those asked last are kept."""
LARGEST = 1 << 20


def known_pace(file: Path | None, name: str, figures: Path | None = None) -> Pace:
    """The pace of the engine `name`. file: of all engines, None: nothing is kept. figures: what
    `engine bench` wrote about it, which counts as older than all else."""

    def benched() -> list[Sample]:
        return bench_samples(_read(figures)) if figures is not None else []

    def load() -> Sequence[Sample]:
        kept = _samples(_read(file).get(name)) if file is not None else []
        return [*benched(), *kept]

    def keep(samples: Sequence[Sample]) -> None:
        if file is None:
            return
        known = {key: value for key, value in _read(file).items() if key != name}
        elsewhere = set(benched())
        known[name] = [list(one) for one in samples if one not in elsewhere]
        _write(file, dict(list(known.items())[-ENGINES:]))

    return Pace(load, keep)


def bench_samples(value: dict[str, Any]) -> list[Sample]:
    """What the figures of `engine bench` say of prompts of which nothing was cached."""
    depths = value.get("depths")
    rows = [one for one in depths if isinstance(one, dict)] if isinstance(depths, list) else []
    return _samples([[0, one.get("depth_tokens"), one.get("first_token_cold_s")] for one in rows])


def _samples(value: Any) -> list[Sample]:
    found: list[Sample] = []
    for one in value if isinstance(value, list) else []:
        with contextlib.suppress(TypeError, ValueError, OverflowError):
            cached, prompt, seconds = one
            found.append((int(cached), int(prompt), float(seconds)))
    return found


def _read(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as opened:
            value = json.loads(opened.read(LARGEST))
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _write(file: Path, value: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = file.with_name(f"{file.name}.{os.getpid()}.tmp")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
                json.dump(value, opened)
            draft.replace(file)
        except OSError:
            draft.unlink(missing_ok=True)
            raise
