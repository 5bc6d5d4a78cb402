"""What a supervisor says in place of an answer: one form, and why an engine gives none. Pure."""

from __future__ import annotations

from glmcode.engine.state import EngineStatus, describe


def refused(kind: str, message: str, log: list[str] | None = None) -> dict[str, object]:
    """The JSON object of an answer that refuses; log: the engine's last lines."""
    return {"error": {"type": kind, "message": message, "log": log or []}}


def why_not(status: EngineStatus) -> dict[str, object]:
    """Why an engine does not answer."""
    match status.state:
        case "starting":
            return refused("engine_starting", f"the engine is starting: {status.phase}")
        case "failed":
            return refused("engine_failed", status.reason, list(status.log))
        case "sleeping":
            return refused("engine_sleeping", describe(status))
        case "ready" | "busy":
            return refused("engine_silent", "the engine gave no answer")
        case _:
            return refused(f"engine_{status.state}", f"the engine is {status.state}")
