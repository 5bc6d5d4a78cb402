"""The loop: run_turn -> run_step, and the judgement between steps.

A turn is one prompt and all steps until a message has no calls; core/calls.py answers the
calls of each. Whatever happens, every call of an assistant message is answered in the
transcript, in order; nothing is repaired afterwards. The loop must not know files, screens,
engines or rules: it is given functions (calls.Loop). This file stays below 200 lines.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from glmcode.core import words
from glmcode.core.calls import Loop, TurnStop, answer_calls, append, close_open_calls
from glmcode.core.events import StepFinished, StepStarted, TurnFinished, TurnReason, TurnStarted
from glmcode.core.messages import AssistantMessage, RejectedCall, UserMessage
from glmcode.core.model import ModelError
from glmcode.core.transcript import Transcript

MAX_REJECTED_STEPS = 3
MAX_GO_ON = 2
_REASONS: dict[str, TurnReason] = {"context_full": "context_full", "allowance": "allowance"}


@dataclass(slots=True)
class _Counts:
    steps: int = 0
    rejected: int = 0
    empty: int = 0
    repeated: int = 0
    cut: int = 0


async def run_turn(
    transcript: Transcript, prompt: str, loop: Loop, *, max_steps: int | None = None
) -> TurnFinished:
    """Append the prompt and run steps until the model is done; never raises ModelError.

    CancelledError passes through, after every open call was answered.
    """
    counts = _Counts()
    text = ""
    try:
        loop.emit(TurnStarted())
        append(transcript, UserMessage(text=prompt, thinking=transcript.thinking), loop)
        while True:
            if max_steps is not None and counts.steps >= max_steps:
                return _finish(loop, counts, "max_turns", text, f"stopped after {max_steps} steps")
            counts.steps += 1
            message = await run_step(transcript, loop, counts.steps)
            text = text + message.text if counts.cut else message.text or text
            verdict = _judge(message, counts, transcript, loop)
            if verdict is not None:
                return _finish(loop, counts, verdict[0], text, verdict[1])
    except TurnStop as stop:
        return _finish(loop, counts, stop.reason, text, str(stop))
    except ModelError as error:
        end = TurnFinished(
            reason=_REASONS.get(error.kind, "error"),
            steps=counts.steps,
            text=text,
            detail=str(error),
            retryable=error.kind == "unavailable",
            log=error.detail,
        )
        loop.emit(end)
        return end


async def run_step(transcript: Transcript, loop: Loop, number: int) -> AssistantMessage:
    """One reply of the model and the answers to its calls."""
    await loop.before_step(transcript)
    loop.emit(StepStarted(number=number))

    def keep(message: AssistantMessage) -> None:
        append(transcript, message, loop)
        close_open_calls(transcript, loop, words.CANCELLED)

    message = await loop.model(transcript, loop.emit, keep)
    if message.stop == "calls" and not message.call_ids() and message.token_ids is not None:
        missing = RejectedCall(
            id=f"call_{len(transcript)}_none", reason="missing", raw=message.text
        )
        message = replace(message, rejected=(missing,))
    append(transcript, message, loop)
    loop.emit(StepFinished(number=number, usage=message.usage))
    closing = words.CANCELLED
    try:
        await answer_calls(transcript, message, loop)
    except TurnStop as stop:
        closing = f"not run: {stop}"
        raise
    finally:
        close_open_calls(transcript, loop, closing)
    return message


def _judge(
    message: AssistantMessage, counts: _Counts, transcript: Transcript, loop: Loop
) -> tuple[TurnReason, str] | None:
    """The reason to end the turn after this step, or None to go on (perhaps with a nudge)."""
    no_call = message.stop == "calls" and not message.call_ids()
    counts.rejected = counts.rejected + 1 if message.rejected or no_call else 0
    if counts.rejected >= MAX_REJECTED_STEPS:
        return "rejected_calls", f"{counts.rejected} steps in a row held calls that cannot be read"
    nudge = ""
    if message.stop == "repetition":
        counts.repeated += 1
        nudge = words.REPEATED
        if counts.repeated > 1:
            return "repetition", "the model repeated itself twice in this turn"
    elif no_call:
        nudge = words.NO_CALL
    elif message.call_ids():
        nudge = ""
    elif message.stop == "length":
        counts.cut += 1
        nudge = words.GO_ON
        if message.token_ids is not None or counts.cut > MAX_GO_ON:
            return "length", "the answer reached its length limit and is not whole"
    elif not message.text.strip():
        counts.empty += 1
        nudge = words.EMPTY
        if counts.empty > 1:
            return "empty_answer", "the model gave neither text nor a call, twice"
    typed = loop.steering()
    if not typed and not nudge and not message.call_ids():
        return "done", ""
    if nudge:
        ours = UserMessage(text=nudge, origin="glmcode", thinking=transcript.thinking)
        append(transcript, ours, loop)
    for text in typed:
        append(transcript, UserMessage(text=text, thinking=transcript.thinking), loop)
    return None


def _finish(
    loop: Loop, counts: _Counts, reason: TurnReason, text: str, detail: str
) -> TurnFinished:
    end = TurnFinished(reason=reason, steps=counts.steps, text=text, detail=detail)
    loop.emit(end)
    return end
