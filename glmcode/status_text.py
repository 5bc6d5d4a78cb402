"""How the state of an engine is written, for people and for scripts. Pure.

With the state come who has the engine and who waits, the engine's own gauges (how full its cache
is, how much of the prompts it had already), and where it can be reached.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from glmcode.engine.gauges import Gauges
from glmcode.engine.state import EngineStatus, describe, gpu_numbers, queue_lines


def status_value(item: EngineStatus, gauges: Gauges | None, socket: Path) -> Mapping[str, Any]:
    """For scripts."""
    told = gauges.to_json() if gauges else None
    return {**item.to_json(), "socket": str(socket), "gauges": told}


def unknown_value(profile: str, reason: str, socket: Path) -> Mapping[str, Any]:
    """For scripts, of an engine that could not be asked: the same keys."""
    blank = EngineStatus(state="absent", profile=profile, reason=reason)
    return {**status_value(blank, None, socket), "state": "unknown"}


def lines_of(item: EngineStatus, gauges: Gauges | None, now: float) -> list[str]:
    """For a person; the engine's words in it are not made harmless yet. now: a Unix time."""
    lines = [f"{item.profile}: {describe(item)}"]
    if item.up:
        hours = max(0.0, now - item.since) / 3600
        lines.append(
            f"  vLLM {item.vllm or '(own command)'}, process {item.engine_pid}, up for "
            f"{hours:.1f} h, started in {item.start_s:.1f} s"
        )
    if item.gpus:
        lines.append(f"  holds {item.gpu_share:g} of the memory of GPU {gpu_numbers(item.gpus)}")
    if gauges is not None and (said := gauges.words(item.pool)):
        lines.append(f"  {said}")
    lines += [f"  {line}" for line in queue_lines(item, now)]
    if item.listening:
        lines.append(f"  listening on {item.listening}")
    if item.door:
        lines.append(f"  {item.door}")
    lines += [f"  not passed: {text}" for text in item.dropped]
    lines += [f"  | {line}" for line in item.log]
    return lines
