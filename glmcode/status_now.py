"""`engine status` the quick way: the plain cases, without an event loop and without libraries.

It is asked while an engine loads and all processors are busy, and in prompts of shells. What is not
plain (a watch, odd words, a supervisor that is silent or of another version, a name that was never
started) is left to status_commands.py, which says why. Must print the same.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence

from glmcode.engine.absent import absent
from glmcode.engine.gauges import Gauges, read_gauges
from glmcode.engine.glance import glance
from glmcode.engine.paths import EnginePaths, known_engines
from glmcode.engine.state import PROTOCOL, EngineStatus, status_from_json
from glmcode.repl.clean import for_terminal
from glmcode.status_text import lines_of, status_value

STATUS_S = 2.0
GAUGES_S = 1.0


def told(words: Sequence[str]) -> str | None:
    """What `engine status WORDS` prints; None where it is to be found out the thorough way."""
    name, as_json = "", False
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word == "--json":
            as_json = True
        elif word == "--profile" and rest and not rest[0].startswith("-"):
            name = rest.pop(0)
        else:
            return None
    known = [paths for paths in known_engines() if name in ("", paths.name)]
    if not known:
        return None
    found = [_look(paths) for paths in known]
    seen = [(paths, *one) for paths, one in zip(known, found, strict=True) if one is not None]
    if len(seen) < len(known):
        return None
    if as_json:
        values = [status_value(status, gauges, paths.socket) for paths, status, gauges in seen]
        return json.dumps(values[0] if name else values) + "\n"
    lines = [line for _, status, gauges in seen for line in lines_of(status, gauges, time.time())]
    return "".join(f"{for_terminal(line)}\n" for line in lines)


def _look(paths: EnginePaths) -> tuple[EngineStatus, Gauges | None] | None:
    if not paths.socket.exists():
        return absent(paths), None
    text = glance(paths.socket, "/glmcode/status", STATUS_S)
    try:
        value = json.loads(text or b"")
        if value["protocol"] != PROTOCOL:
            return None
        status = status_from_json(value)
    except (ValueError, TypeError, LookupError, AttributeError):
        return None
    said = glance(paths.socket, "/metrics", GAUGES_S) if status.up else None
    return status, None if said is None else read_gauges(said.decode("utf-8", "replace"))
