"""The Python API: one turn with `run`, a conversation with `Agent`, and events as they come.

A front end like `glmcode -p`, with the same options, events and ends, inside of the caller's
process: it takes no signals, changes no folder, prints nothing, and ends nothing but what it
began. Must not say anything that `glmcode -p` would not say of the same turn.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, Unpack

from glmcode.agent_options import Answer as Asking
from glmcode.agent_options import nobody
from glmcode.agent_structured import SchemaError, check_schema
from glmcode.api_approvals import answering
from glmcode.api_values import (
    Event,
    GlmcodeError,
    Options,
    Result,
    UsageError,
    as_arguments,
    checked_limit,
    core_tools,
    error_for,
)
from glmcode.cli_options import CannotResume, parse_arguments
from glmcode.cli_options import UsageError as WrongUse
from glmcode.core.calls import TurnStop
from glmcode.core.events import Event as CoreEvent
from glmcode.core.events import Notice
from glmcode.core.model import ModelError
from glmcode.exits import Exit
from glmcode.opening import OpenError, open_agent
from glmcode.outcome import (
    Before,
    End,
    before_turn,
    event_line,
    fault_end,
    formed_end,
    interrupted_end,
    judged_end,
    last_text,
    late_end,
    turn_result,
)
from glmcode.permissions import RuleError
from glmcode.run_options import agent_options, going_on
from glmcode.sessions import SessionError
from glmcode.stream_json import init_line, result_line
from glmcode.tools.specs import ORDER

if TYPE_CHECKING:
    from glmcode.agent import Agent as Conversation
    from glmcode.agent_options import AgentOptions

Stop = Literal["", "time", "interrupted"]


def run(prompt: str, **options: Unpack[Options]) -> Result:
    """One turn in a session of its own, from code without an event loop.

    Returns when it came to its answer (exit codes 0 and 3). Raises GlmcodeError, or the one of the
    exit code (`result` says how far it came), and KeyboardInterrupt.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(run_async(prompt, **options))
    raise UsageError(
        "an event loop runs here: use `await glmcode.run_async(…)`, or glmcode.Agent",
        exit_code=Exit.USAGE,
    )


async def run_async(prompt: str, **options: Unpack[Options]) -> Result:
    """As `run`, awaited. Cancelling it stops the turn."""
    limit = checked_limit(options.get("time_limit"))
    began = time.monotonic()
    agent = Agent(**options)
    try:
        async with asyncio.timeout(limit):
            await agent.open()
    except TimeoutError as error:
        raise error_for(Exit.BUDGET, late_end(limit).error) from error
    try:
        left = None if limit is None else max(0.001, began + limit - time.monotonic())
        async for _ in agent.submit(prompt, time_limit=left):
            pass
    finally:
        await agent.close()
    assert agent.result is not None, "a turn always has a result"
    return agent.result.check()


@dataclass(slots=True, kw_only=True)
class _Turn:
    """A turn that runs."""

    work: asyncio.Task[End]
    limit: float | None
    before: Before
    events: asyncio.Queue[Event | None] = field(default_factory=asyncio.Queue)
    stop: Stop = ""
    steps: int = 0

    def cancel(self, why: Stop) -> None:
        if not self.stop and not self.work.done():
            self.stop = why
            self.work.cancel()


class Agent:
    """A conversation: `async with Agent(…) as agent`, then `agent.submit(…)` turn by turn.

    One turn at a time; another submit waits for it. Not for several threads.
    """

    def __init__(self, **options: Unpack[Options]) -> None:
        """Raises UsageError for an option that there is not. Nothing is opened yet."""
        self._words = as_arguments(options)
        self._given = options
        self._conversation: Conversation | None = None
        self._turn: _Turn | None = None
        self._greeted = False
        self.result: Result | None = None
        """How the last turn ended; None before there was one."""

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    @property
    def session_id(self) -> str:
        """The id under which the conversation is kept: `resume` takes it."""
        return self._open().session_id

    async def open(self) -> None:
        """Reach the engine and begin, or go on with, the session. Raises GlmcodeError."""
        if self._conversation is not None:
            raise UsageError("the agent is open already", exit_code=Exit.USAGE)
        try:
            options = await asyncio.to_thread(self._options)
            self._conversation = await open_agent(options, self._emit, self._answer())
        except (WrongUse, RuleError, SchemaError) as error:
            raise UsageError(str(error), exit_code=Exit.USAGE) from error
        except CannotResume as error:
            raise GlmcodeError(str(error)) from error
        except (OpenError, ModelError, SessionError, TurnStop) as error:
            end = fault_end(error)
            raise error_for(end.code, end.error, log=end.log) from error
        told = {spec.name for spec in self._conversation.transcript.preamble.specs}
        if missing := [
            tool.name for tool in self._given.get("tools") or () if tool.name not in told
        ]:
            session = self.session_id
            await self.close()
            raise GlmcodeError(
                f"the session {session} began without the tool {missing[0]}, so its model was "
                "never told of it: begin a new session, or go on without the tool"
            )

    async def close(self) -> None:
        """Stop what runs, and end the connection; again does nothing."""
        conversation = self._conversation
        if conversation is None:
            return
        await self._stopped(self._turn)
        self._conversation = None
        try:
            await conversation.close()
        except (OSError, TurnStop) as error:
            self._notify(f"closing: {error}")

    async def submit(
        self,
        prompt: str,
        *,
        schema: Mapping[str, Any] | None = None,
        time_limit: float | None = None,
    ) -> AsyncIterator[Event]:
        """Run one turn, and give its events as they come; the last is always its `result`.

        schema, time_limit: for this turn, in place of the agent's. Leaving the loop early stops the
        turn. How a turn ends is never raised: see `result` and `result.check()`.

        Raises UsageError.
        """
        self._open()
        if not isinstance(prompt, str) or not prompt.strip():
            said = "is empty" if isinstance(prompt, str) else f"is a {type(prompt).__name__}"
            raise UsageError(f"the prompt {said}: say what is to be done", exit_code=Exit.USAGE)
        time_limit = checked_limit(time_limit)
        prompt = prompt.encode("utf-8", "replace").decode("utf-8")
        schema = schema if schema is not None else self._given.get("schema")
        if schema is not None:
            _checked(schema)
        while self._turn is not None:
            await asyncio.wait({self._turn.work})
            await asyncio.sleep(0)  # its end is told after it
        turn = self._begin(prompt, schema, time_limit or self._given.get("time_limit"))
        try:
            while (event := await turn.events.get()) is not None:
                yield event
        finally:
            await self._stopped(turn)

    def interrupt(self) -> bool:
        """Stop the running turn; what was said is kept. False when none runs."""
        if self._turn is None:
            return False
        self._turn.cancel("interrupted")
        return True

    def steer(self, text: str) -> None:
        """Hand text to the running turn: the model reads it after the pending tool results."""
        self._open().steer(text)

    def _open(self) -> Conversation:
        if self._conversation is None:
            raise UsageError(
                "the agent is not open: use `async with glmcode.Agent(…) as agent`",
                exit_code=Exit.USAGE,
            )
        return self._conversation

    def _answer(self) -> Asking:
        approve = self._given.get("approve")
        if approve is None:
            return nobody
        if not callable(approve):
            raise UsageError("approve cannot be called", exit_code=Exit.USAGE)
        return answering(approve, lambda: self._conversation, self.interrupt)

    def _options(self) -> AgentOptions:
        """Blocks. Raises what parsing and opening a session raise."""
        schema = self._given.get("schema")
        if schema is not None:
            _checked(schema)
        tools = core_tools(self._given.get("tools") or ())
        arguments = parse_arguments(self._words, enter=False)
        for notice in arguments.notices:
            self._notify(notice)
        return going_on(agent_options(arguments, tools), arguments, terminal=False)

    def _begin(self, prompt: str, schema: Mapping[str, Any] | None, limit: float | None) -> _Turn:
        conversation = self._open()
        work = asyncio.ensure_future(self._work(conversation, prompt, schema))
        before = before_turn(conversation, time.monotonic())
        turn = self._turn = _Turn(work=work, limit=limit, before=before)
        self.result = None
        if not self._greeted:
            self._greeted = True
            turn.events.put_nowait(self._init(conversation))
        if limit is not None:
            timer = asyncio.get_running_loop().call_later(limit, turn.cancel, "time")
            work.add_done_callback(lambda _: timer.cancel())
        work.add_done_callback(lambda _: self._over(conversation, turn))
        return turn

    async def _work(
        self, conversation: Conversation, prompt: str, schema: Mapping[str, Any] | None
    ) -> End:
        before = conversation.approvals.unanswered
        told = await conversation.submit(prompt)
        end = judged_end(told, conversation.approvals.unanswered - before)
        if schema is None or not end.good:
            return end
        return formed_end(end, await conversation.structured(schema))

    def _over(self, conversation: Conversation, turn: _Turn) -> None:
        end = self._end(conversation, turn)
        now = time.monotonic()
        told = turn_result(end, conversation, turn.before, steps=turn.steps, now=now)
        line = result_line(told)
        self.result = Result(
            text=end.text,
            structured_output=end.value[0] if end.value else None,
            exit_code=int(end.code),
            subtype=end.subtype,
            error=end.error,
            log=end.log,
            session_id=conversation.session_id,
            num_turns=told.steps,
            duration_s=told.duration_s,
            usage=told.usage,
            permission_denials=tuple(told.denials),
            event=line,
        )
        self._turn = None
        turn.events.put_nowait(line)
        turn.events.put_nowait(None)

    def _end(self, conversation: Conversation, turn: _Turn) -> End:
        work = turn.work
        error = None if work.cancelled() else work.exception()
        if not work.cancelled() and error is None and (work.result().good or not turn.stop):
            return work.result()
        if error is not None and not turn.stop:
            return fault_end(error)
        limit = round(turn.limit or 0.0, 1) or float(f"{turn.limit or 0.0:.1g}")
        end = late_end(limit) if turn.stop == "time" else interrupted_end()
        return replace(end, steps=turn.steps, text=last_text(conversation.transcript.messages))

    def _init(self, conversation: Conversation) -> Event:
        return init_line(
            session_id=conversation.session_id,
            cwd=str(conversation.options.workspace),
            model=conversation.client.model,
            mode=conversation.policy.mode,
            tools=[*ORDER, *(tool.spec.name for tool in conversation.options.own_tools)],
            protocol=conversation.client.protocol,
        )

    def _emit(self, event: CoreEvent) -> None:
        if isinstance(event, Notice):
            self._notify(event.text)
        turn, conversation = self._turn, self._conversation
        if turn is None or conversation is None:
            return
        turn.steps = getattr(event, "number", turn.steps)
        partial = bool(self._given.get("partial_messages"))
        told = event_line(event, conversation.session_id, partial=partial)
        if told is not None:
            turn.events.put_nowait(told[0])

    def _notify(self, text: str) -> None:
        if (notify := self._given.get("notify")) is not None:
            notify(text)

    async def _stopped(self, turn: _Turn | None) -> None:
        if turn is not None and not turn.work.done():
            turn.cancel("interrupted")
            await asyncio.wait({turn.work})
            await asyncio.sleep(0)


def _checked(schema: Mapping[str, Any]) -> None:
    try:
        check_schema(schema, "schema")
    except SchemaError as error:
        raise UsageError(str(error), exit_code=Exit.USAGE) from error
