"""Answering the calls of one message: prepare, authorize, commit, in the order they stand.

Reads that stand side by side run side by side; everything else runs strictly in order (the
second Edit of a file is prepared after the first was committed). Every call gets exactly one
answer, also when the turn is cancelled in the middle. Must not decide permission or know a tool.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from glmcode.core import words
from glmcode.core.events import Appended, CallStarted, ToolOutput, TurnReason
from glmcode.core.messages import AssistantMessage, Message, ToolCall, ToolMessage
from glmcode.core.model import Emit, Model
from glmcode.core.tool import Action, Effect, Preview, Tool, ToolError, ToolRefused, ToolSpec
from glmcode.core.transcript import Transcript


class TurnStop(Exception):
    """The turn must end now (the journal cannot be written, the window is full)."""

    def __init__(self, text: str, reason: TurnReason = "error") -> None:
        super().__init__(text)
        self.reason: TurnReason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether an action may be committed; `why` is told to the model when it may not.

    instead: what a person made of it, which is committed in its place.
    """

    allowed: bool
    why: str = ""
    instead: Action | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop:
    """What the world lends to a turn.

    before_step may raise TurnStop or ModelError. authorize decides, asks and journals the
    intent; may raise TurnStop. foresee is told the calls of a message that will be proposed, in
    their order, before the first of them. fit cuts a result to what is left of the window. steering
    returns what the person typed since it was last asked. partial returns what an interrupted
    call had printed. emit, foresee, fit and partial must neither block nor raise.
    """

    model: Model
    tools: Mapping[str, Tool]
    authorize: Callable[[ToolCall, ToolSpec, Action], Awaitable[Verdict]]
    emit: Emit
    before_step: Callable[[Transcript], Awaitable[None]]
    foresee: Callable[[Sequence[ToolCall]], None] = lambda calls: None
    steering: Callable[[], list[str]] = lambda: []
    partial: Callable[[str], str] = lambda call_id: ""
    fit: Callable[[ToolMessage], ToolMessage] = lambda message: message
    steer_in_results: bool = False


async def answer_calls(transcript: Transcript, message: AssistantMessage, loop: Loop) -> None:
    """Run or refuse every call of `message`, appending one tool message for each."""
    by_id = {call.id: call for call in message.calls}
    rejected = {call.id: call for call in message.rejected}
    after_rejected = False
    group: list[ToolCall] = []
    loop.foresee(_proposed(message, loop))
    for call_id in message.call_ids():
        call = by_id.get(call_id)
        reads = call is not None and _is_read(call, loop)
        if group and not reads:
            await _run_group(transcript, group, loop)
            group = []
        if call is None:
            after_rejected = True
            answer = words.rejected_answer(rejected[call_id], chat=message.token_ids is None)
            _answer(transcript, loop, call_id, rejected[call_id].name, answer)
        elif reads:
            group.append(call)
        elif after_rejected:
            _answer(transcript, loop, call_id, call.name, words.AFTER_REJECTED)
        else:
            await _run_group(transcript, [call], loop)
    if group:
        await _run_group(transcript, group, loop)


def _proposed(message: AssistantMessage, loop: Loop) -> list[ToolCall]:
    """The calls that will be prepared: those before the first rejected one, and all reads."""
    by_id = {call.id: call for call in message.calls}
    calls: list[ToolCall] = []
    after_rejected = False
    for call_id in message.call_ids():
        call = by_id.get(call_id)
        after_rejected = after_rejected or call is None
        if call is not None and (not after_rejected or _is_read(call, loop)):
            calls.append(call)
    return calls


def _is_read(call: ToolCall, loop: Loop) -> bool:
    tool = loop.tools.get(call.name)
    return tool is None or tool.spec.effect is Effect.READ


async def _run_group(transcript: Transcript, group: Sequence[ToolCall], loop: Loop) -> None:
    """Run calls side by side (one, or several reads) and append results in call order."""
    tasks = [asyncio.ensure_future(run_call(call, loop)) for call in group]
    try:
        await asyncio.wait(tasks)
    except asyncio.CancelledError:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        raise
    finally:
        for call, task in zip(group, tasks, strict=True):
            if task.done() and not task.cancelled() and task.exception() is None:
                answer, for_user = task.result()
                answer = _with_steering(transcript, loop.fit(answer), loop)
                append(transcript, answer, loop, for_user)
            elif not task.done() or task.cancelled():
                _answer(transcript, loop, call.id, call.name, _cancelled(call.id, loop))
            else:
                _answer(transcript, loop, call.id, call.name, f"not run: {task.exception()}")
    for task in tasks:
        task.result()


async def run_call(call: ToolCall, loop: Loop) -> tuple[ToolMessage, Preview | None]:
    """Prepare, authorize, commit. Raises only TurnStop and CancelledError."""
    tool = loop.tools.get(call.name)
    if tool is None:
        return _message(call, words.unknown_tool(call.name, loop.tools)), None
    problem = tool.check(call.arguments)
    if problem is not None:
        return _message(call, f"error: {problem}"), None
    try:
        action = await tool.prepare(call.id, call.arguments, _output(call, loop))
        verdict = await loop.authorize(call, tool.spec, action)
        if not verdict.allowed:
            return _message(call, f"not run: {verdict.why}"), None
        action = verdict.instead or action
        loop.emit(CallStarted(call_id=call.id, name=call.name, preview=action.preview))
        result = await action.commit()
    except TurnStop:
        raise
    except ToolRefused as error:
        return _message(call, f"not run: {error}"), None
    except ToolError as error:
        return _message(call, f"error: {error}"), None
    except Exception as error:  # a fault in a tool must not end the turn
        fault = f"error: {call.name} failed inside glmcode: {type(error).__name__}: {error}"
        return _message(call, fault), None
    answer = ToolMessage(
        call_id=call.id, name=call.name, text=result.for_model, is_error=result.is_error
    )
    return answer, result.for_user


def append(
    transcript: Transcript, message: Message, loop: Loop, for_user: Preview | None = None
) -> None:
    """Record, append, then tell: an event never precedes its journal line."""
    transcript.append(message)
    loop.emit(Appended(message=message, for_user=for_user))


def close_open_calls(transcript: Transcript, loop: Loop, text: str) -> None:
    """Answer whatever is still open. Never raises: a turn that dies must leave pairs behind."""
    for call_id in transcript.open_calls:
        answer = ToolMessage(call_id=call_id, name="", text=text, is_error=True)
        try:
            append(transcript, answer, loop)
        except TurnStop:
            transcript.append_unrecorded(answer)


def _with_steering(transcript: Transcript, answer: ToolMessage, loop: Loop) -> ToolMessage:
    """In `chat`, what the person typed rides at the end of the last result of a step."""
    if not loop.steer_in_results or len(transcript.open_calls) != 1:
        return answer
    typed = "".join(words.framed(text) for text in loop.steering())
    return replace(answer, text=answer.text + typed)


def _answer(transcript: Transcript, loop: Loop, call_id: str, name: str, text: str) -> None:
    answer = ToolMessage(call_id=call_id, name=name, text=text, is_error=True)
    append(transcript, _with_steering(transcript, loop.fit(answer), loop), loop)


def _message(call: ToolCall, text: str) -> ToolMessage:
    return ToolMessage(call_id=call.id, name=call.name, text=text, is_error=True)


def _cancelled(call_id: str, loop: Loop) -> str:
    printed = loop.partial(call_id)
    return f"{printed}\n[{words.CANCELLED}]" if printed else words.CANCELLED


def _output(call: ToolCall, loop: Loop) -> Callable[[str], None]:
    return lambda text: loop.emit(ToolOutput(call_id=call.id, text=text))
