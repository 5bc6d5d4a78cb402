"""How a turn without a person ended: exit code, subtype and text, and the lines that tell of it.

What `glmcode -p` and the Python API have in common, so that both say the same of the same turn.
Must not print, and must not run anything.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from glmcode.context.ledger import Totals
from glmcode.core.calls import TurnStop
from glmcode.core.events import Appended, Compacted, Delta, Event, Queued, TurnFinished
from glmcode.core.messages import AssistantMessage, Message, Usage
from glmcode.core.model import ModelError
from glmcode.exits import Exit, fault_words
from glmcode.opening import OpenError
from glmcode.sessions import SessionError
from glmcode.stream_json import (
    Result,
    Subtype,
    compacted_line,
    delta_line,
    message_line,
    queued_line,
)

if TYPE_CHECKING:
    from glmcode.agent import Agent
    from glmcode.agent_structured import Structured


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """The end of a run. value: the one answer where a schema was given, else empty."""

    code: Exit
    subtype: Subtype
    error: str = ""
    log: str = ""
    text: str = ""
    steps: int = 0
    value: tuple[Any, ...] = ()

    @property
    def good(self) -> bool:
        """Whether the turn came to its answer, be it without something that was not allowed."""
        return self.code in (Exit.DONE, Exit.UNANSWERED)


def judged_end(end: TurnFinished, unanswered: int) -> End:
    """unanswered: how many questions of the turn nobody could answer."""
    base = End(
        code=Exit.ERROR,
        subtype="error_during_execution",
        error=end.detail,
        log=end.log,
        text=end.text,
        steps=end.steps,
    )
    match end.reason:
        case "done":
            code = Exit.UNANSWERED if unanswered else Exit.DONE
            return replace(base, code=code, subtype="success", error="")
        case "max_turns":
            return replace(base, code=Exit.BUDGET, subtype="error_max_turns")
        case "allowance":
            return replace(base, code=Exit.BUDGET, subtype="error_max_output_tokens")
        case _ if end.retryable:
            return replace(base, code=Exit.UNAVAILABLE)
        case _:
            return base


def formed_end(end: End, told: Structured) -> End:
    """The end of a turn whose answer was asked for once more, as a JSON value."""
    if told.faults:
        error = f"the answer is no instance of the schema: {'; '.join(told.faults)}"
        failed = replace(end, code=Exit.ERROR, subtype="error_during_execution")
        return replace(failed, error=error, text=told.text)
    text = json.dumps(told.value, ensure_ascii=False, separators=(",", ":"))
    return replace(end, text=text, value=(told.value,))


def fault_end(error: BaseException) -> End:
    """The end of a run in which something was raised, expected or not."""
    failed = End(code=Exit.ERROR, subtype="error_during_execution")
    match error:
        case ModelError(kind="allowance"):
            spent = replace(failed, code=Exit.BUDGET, subtype="error_max_output_tokens")
            return replace(spent, error=str(error))
        case ModelError():
            code = Exit.UNAVAILABLE if error.kind == "unavailable" else Exit.ERROR
            return replace(failed, code=code, error=str(error), log=error.detail)
        case OpenError():
            return replace(failed, code=Exit.USAGE if error.usage else Exit.ERROR, error=str(error))
        case TurnStop() | SessionError():
            return replace(failed, error=str(error))
        case _:
            return replace(failed, error=fault_words(error))


def late_end(limit_s: float | None) -> End:
    """The end of a run whose time was used up; limit_s: seconds, None: unknown."""
    limit = f"{limit_s:g}" if limit_s is not None else "?"
    error = f"stopped: the time limit of {limit} s was reached"
    return End(code=Exit.BUDGET, subtype="error_time_limit", error=error)


def interrupted_end() -> End:
    """The end of a run that was told to stop."""
    return End(code=Exit.INTERRUPTED, subtype="interrupted", error="interrupted")


def last_text(messages: Sequence[Message]) -> str:
    """What the model said last; "" if nothing."""
    said = (m.text for m in reversed(messages) if isinstance(m, AssistantMessage))
    return next((text for text in said if text), "")


def event_line(
    event: Event, session_id: str, *, partial: bool
) -> tuple[dict[str, Any], bool] | None:
    """The stream-json line of an event, and whether it may be dropped; None: it has none."""
    match event:
        case Appended():
            line = message_line(event.message, session_id)
            return None if line is None else (line, False)
        case Compacted():
            return compacted_line(event, session_id), False
        case Queued():
            return queued_line(event, session_id), True
        case Delta() if partial:
            return delta_line(event, session_id), True
        case _:
            return None


def result_of(
    end: End, agent: Agent | None, *, session_id: str, steps: int, duration_s: float
) -> Result:
    """The result of a run; agent None: none was reached. steps: known where the end tells none."""
    return Result(
        subtype=end.subtype,
        is_error=not end.good,
        text=end.text,
        error=end.error,
        log=end.log,
        steps=end.steps or steps,
        duration_s=duration_s,
        session_id=session_id,
        usage=agent.usage if agent else Usage(),
        denials=agent.approvals.denials if agent else [],
        exit_code=int(end.code),
        value=end.value,
        requests=(agent.requests.ledger.totals if agent else Totals()).to_json(),
    )


@dataclass(frozen=True, slots=True)
class Before:
    """What a conversation had come to when a turn of it began."""

    usage: Usage
    denials: int
    unanswered: int
    at: float


def before_turn(agent: Agent, now: float) -> Before:
    """now: seconds, time.monotonic()."""
    asked = agent.approvals
    return Before(agent.usage, len(asked.denials), asked.unanswered, now)


def turn_result(end: End, agent: Agent, before: Before, *, steps: int, now: float) -> Result:
    """The result of one turn of several: its own usage and denials."""
    whole = result_of(
        end, agent, session_id=agent.session_id, steps=steps, duration_s=now - before.at
    )
    names = [one.name for one in fields(Usage)]
    now_used, used = agent.usage, before.usage
    usage = Usage(**{name: getattr(now_used, name) - getattr(used, name) for name in names})
    return replace(whole, usage=usage, denials=agent.approvals.denials[before.denials :])
