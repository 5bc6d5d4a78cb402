"""The state of an engine that has no supervisor: nothing runs; and whether somebody may miss it.

A machine that others use by its door must not lose that in silence. Cheap, because `engine status`
passes here. Must not start or open anything.
"""

from __future__ import annotations

import json

from glmcode.engine.paths import EnginePaths
from glmcode.engine.state import EngineStatus


def absent(paths: EnginePaths) -> EngineStatus:
    """With a sentence about the door that was open when the supervisor was killed."""
    return EngineStatus(state="absent", profile=paths.name, door=_missed(paths))


def _missed(paths: EnginePaths) -> str:
    try:
        address = json.loads(paths.door.read_text(encoding="utf-8"))["address"]
    except (OSError, ValueError, LookupError, TypeError):
        return ""
    return (
        f"NOT listening on {address} any more: nothing ended that on purpose, and it listens there "
        f"again when the engine is started (glmcode engine start --profile {paths.name})"
    )
