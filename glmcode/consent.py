"""Asks before an engine is taken from those who use it: who they are, and what it costs.

Where nobody can be asked it must be said beforehand (--yes); where nobody uses the engine, or its
supervisor can't tell, there is nothing to ask. Must not stop anything.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from glmcode.engine.control import ControlError, ask
from glmcode.engine.paths import engine_paths
from glmcode.engine.state import EngineStatus, status_from_json
from glmcode.exits import Exit
from glmcode.repl.clean import visible

if TYPE_CHECKING:
    import argparse

LOOK_S = 3.0
Doing: TypeAlias = Literal["restart", "stop", "sleep", "reload"]


def add_yes(command: argparse.ArgumentParser) -> None:
    """The option."""
    command.add_argument(
        "-y", "--yes", action="store_true", help="do not ask, even if others use the engine"
    )


async def look(name: str) -> EngineStatus | None:
    """What the supervisor says, None where there is none or it can't be understood."""
    try:
        code, value = await ask(engine_paths(name).socket, "GET", "/glmcode/status", None, LOOK_S)
        return status_from_json(value) if code == 200 else None
    except (ControlError, KeyError, TypeError, AttributeError):
        return None


def refused(found: Mapping[str, EngineStatus | None], doing: Doing, *, yes: bool) -> int | None:
    """The exit code where those who use these engines keep them; None: go on."""
    used = {name: status for name, status in found.items() if status and users(status)}
    if yes or not used:
        return None
    for status in used.values():
        for line in cost_lines(status, doing):
            print(visible(line), file=sys.stderr)
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        print(f"glmcode: nothing was done: say --yes to {doing} it all the same", file=sys.stderr)
        return Exit.USAGE
    print(f"{doing.capitalize()} it? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() in ("y", "yes"):
        return None
    print("glmcode: nothing was done", file=sys.stderr)
    return Exit.ERROR


def users(status: EngineStatus) -> Sequence[Mapping[str, Any]]:
    """Who uses an engine: attached, at the engine, or in the queue; each once."""
    found = {str(one.get("run")): one for one in (*status.running, *status.waiting)}
    return list((found | {str(one.get("run")): one for one in status.attached}).values())


def cost_lines(status: EngineStatus, doing: Doing) -> list[str]:
    """Who uses an engine, and what doing this to it costs."""
    people = users(status)
    now = time.time()
    served = {one.get("run") for one in status.running}
    queued = {one.get("run") for one in status.waiting}
    lines = [f"{status.profile}: {len(people)} use this engine:"] if people else []
    for one in people:
        does = "waits for it"
        if one.get("run") in served:
            does = "is being served"
        elif one.get("run") not in queued:
            does = f"asked last {_ago(now - float(one.get('asked', now)))} ago"
        since = _ago(now - float(one.get("since", now)))
        lines.append(f"  {one.get('label')} ({one.get('class')}), for {since}, {does}")
    return [*lines, _cost(status, doing)]


def _cost(status: EngineStatus, doing: Doing) -> str:
    if doing == "sleep":
        return "  it serves nobody until it is woken, and what its cache holds is lost"
    took = start_seconds(status)
    start = f"the last start took {_ago(took)}" if took else "how long a start takes is not known"
    what = {
        "stop": "it ends what is running; the next one who asks waits for a start",
        "restart": "it ends what is running, and all wait for the new start",
        "reload": "it runs with other settings: to apply them ends what is running, and all wait",
    }
    return f"  {what[doing]}: {start}; what its cache holds is lost"


def start_seconds(status: EngineStatus) -> float:
    """What the last start took; 0 where no start was ever seen through."""
    if status.start_s:
        return status.start_s
    try:
        value = json.loads(engine_paths(status.profile).last_start.read_text(encoding="utf-8"))
        return sum(map(float, value.values()))
    except (OSError, ValueError, TypeError, AttributeError):
        return 0.0


def _ago(seconds: float) -> str:
    if seconds < 120:
        return f"{max(0.0, seconds):.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h"
