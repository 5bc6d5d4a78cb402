"""A conversation over standard input and output: `--input-format stream-json`.

Messages wait in a line and run one after another, each with a `result`; requests of the caller
are answered at once, whatever runs. The caller may answer questions (asking_callers.py) if it says
so first. The end of the input ends the run after the last message; a line that cannot be used is
answered and ends nothing. The last line of all is a `result`, and its exit code the process's.
Must not know how a line is spelled.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from glmcode import __version__
from glmcode.agent import AgentOptions
from glmcode.agent_compaction import settled
from glmcode.asking_callers import Questions, input_of
from glmcode.core.messages import Message, Usage
from glmcode.exits import Exit
from glmcode.headless import HeadlessOptions, Run
from glmcode.opening import open_agent
from glmcode.outcome import (
    Before,
    End,
    before_turn,
    fault_end,
    formed_end,
    interrupted_end,
    turn_result,
)
from glmcode.stdin_lines import LONGEST, Come, Ended, StdinLines
from glmcode.stream_input import (
    Answered,
    Code,
    Initialize,
    Interrupt,
    Line,
    Said,
    SetMode,
    Wrong,
    read_line,
)
from glmcode.stream_json import Result, input_error_line, response_line, result_line

MOST_WAITING = 64 << 20
"""Characters of messages that may wait for their turn."""
EACH = 256
"""Characters that a message counts for besides its own."""
NOTHING_SAID = "no message came on standard input: send a line of type user"


def run_talk(options: AgentOptions, run: HeadlessOptions) -> int:
    """Run a conversation over standard input; returns the exit code. Never raises.

    run.prompt: the first message, if not empty.
    """
    return asyncio.run(Talk(options, run).main())


@dataclass(slots=True)
class _Now:
    """The turn that runs. why: the caller stopped it."""

    work: asyncio.Task[End]
    before: Before
    number: int
    uuid: str
    stopped: bool = False

    def more(self) -> dict[str, Any]:
        """What its result tells of its place in the conversation."""
        return {"turn": self.number} | ({"uuid": self.uuid} if self.uuid else {})


class Talk(Run):
    """A run of many turns."""

    def __init__(self, options: AgentOptions, run: HeadlessOptions) -> None:
        super().__init__(options, run)
        self.waiting: deque[Said] = deque([Said(text=run.prompt)] if run.prompt else ())
        self.held = 0
        self.ended = False
        self.news = asyncio.Event()
        self.now: _Now | None = None
        self.turns = 0
        self.told: int | None = None
        self.noted: End | None = None
        self.questions = Questions(
            tell=self._json,
            refuse=lambda error, line: self._wrong("wrong_shape", error, line),
            revise=self._revise,
            input_of=lambda call_id: input_of(self._messages(), call_id),
            fault=lambda rules: self.agent.approvals.fault(rules) if self.agent else "",
            session_id=self.options.session_id or "",
        )

    async def _turn(self) -> End:
        """The whole conversation; the end of its last turn."""
        self.agent = await open_agent(self.options, self._emit, self.questions.ask)
        self._init(self.agent.client.model, self.agent.client.protocol)
        StdinLines(self._take).start()  # not sooner: the first line of all is init
        end = End(code=Exit.USAGE, subtype="error_during_execution", error=NOTHING_SAID)
        while (said := await self._next()) is not None:
            end = await self._one(said)
            if end.subtype == "error_max_output_tokens":
                break  # of the run: the next turn would have none
        return end

    async def _next(self) -> Said | None:
        """The message that is next, when it is there; None: there will be none."""
        while not self.waiting:
            if self.ended:
                return None
            self.news.clear()
            await self.news.wait()
        said = self.waiting.popleft()
        self.held -= len(said.text) + EACH
        return said

    async def _one(self, said: Said) -> End:
        """One turn, and its result."""
        assert self.agent is not None, "the engine was reached"
        self.turns, self.steps, self.said = self.turns + 1, 0, ""
        before = before_turn(self.agent, time.monotonic())
        work = asyncio.ensure_future(self._work(said.text))
        now = self.now = _Now(work, before, self.turns, said.uuid)
        await settled(work)
        end = self._ended(now)
        self.now = None
        back = self.agent.take_back()
        if not self.steps and said.text in back:
            back.remove(said.text)  # it was refused, and would be again
        for text in reversed(back):
            self._wait(Said(text=text), first=True)
        self._json(result_line(self._of_turn(end, now)))
        self._note(end)
        return end

    async def _work(self, text: str) -> End:
        assert self.agent is not None, "the engine was reached"
        before = self.agent.approvals.unanswered
        told = await self.agent.submit(text)
        end = self._judged(told, self.agent.approvals.unanswered - before)
        if self.run.schema is None or not end.good:
            return end
        return formed_end(end, await self.agent.structured(self.run.schema))

    def _ended(self, now: _Now) -> End:
        work = now.work
        if work.cancelled() or (now.stopped and work.exception() is not None):
            return replace(interrupted_end(), steps=self.steps, text=self.said)
        error = work.exception()
        return work.result() if error is None else fault_end(error)

    def _of_turn(self, end: End, now: _Now) -> Result:
        assert self.agent is not None, "the engine was reached"
        told = turn_result(end, self.agent, now.before, steps=self.steps, now=time.monotonic())
        return replace(told, more=now.more())

    def _last(self, end: End) -> None:
        """The result of a turn that the run's end broke off, or of none where one must close."""
        if self.now is not None and self.agent is not None:
            self._json(result_line(self._of_turn(end, self.now)))
        elif self.told != int(end.code):
            told = replace(self._result(end), text="", steps=0, usage=Usage(), denials=[])
            self._json(result_line(replace(told, more={"closing": True})))

    def _note(self, end: End) -> None:
        if end is not self.noted:
            super()._note(end)
        self.noted = end

    # What the caller says

    def _take(self, batch: list[Come]) -> None:
        for come in batch:
            match come:
                case Ended():
                    self.ended = True
                    self.questions.close()
                    if come.error:
                        self._wrong("unreadable", come.error, 0)
                case _ if come.data is None:
                    self._wrong("too_long", f"longer than {LONGEST >> 20} MiB", come.number)
                case _:
                    self._heard(read_line(come.data), come.number)
        self.news.set()

    def _heard(self, line: Line | Wrong, number: int) -> None:
        match line:
            case Said():
                self._said(line, number)
            case Answered():
                self._answered(line, number)
            case Initialize():
                self._initialize(line)
            case Interrupt():
                self._respond(line.request_id, self._interrupt(line))
            case SetMode():
                self._set_mode(line)
            case Wrong() if line.request_id:
                self._respond(line.request_id, {}, line.error)
            case Wrong():
                self._wrong(line.code, line.error, number)

    def _said(self, said: Said, number: int) -> None:
        if said.steer and self.now is not None and self.agent is not None:
            self.agent.steer(said.text)
        elif self.held + len(said.text) + EACH > MOST_WAITING:
            self._wrong("queue_full", "too many messages wait: send it again later", number)
        else:
            self._wait(said)

    def _wait(self, said: Said, *, first: bool = False) -> None:
        self.held += len(said.text) + EACH
        if first:
            self.waiting.appendleft(said)
        else:
            self.waiting.append(said)

    def _answered(self, given: Answered, number: int) -> None:
        if wrong := self.questions.take(given, number):
            unknown = wrong.startswith("no question")
            self._wrong("unknown_id" if unknown else "wrong_shape", wrong, number)
        elif given.interrupt:
            self._cancel()

    def _initialize(self, line: Initialize) -> None:
        self.questions.wanted = line.approvals
        if line.timeout_s is not None:
            self.questions.wait_s = line.timeout_s
        response = {
            "version": __version__,
            "approvals": line.approvals,
            "approval_timeout_s": self.questions.wait_s,
        }
        self._respond(line.request_id, response)

    def _interrupt(self, line: Interrupt) -> dict[str, Any]:
        dropped = 0
        if line.drop_queued:
            dropped, self.held = len(self.waiting) + len(self._taken_back()), 0
            self.waiting.clear()
        return {"interrupted": self._cancel(), "dropped": dropped}

    def _taken_back(self) -> list[str]:
        return self.agent.take_back() if self.agent is not None else []

    def _cancel(self) -> bool:
        """Stop the running turn; whether there was one."""
        if self.now is None or self.now.work.done():
            return False
        if not self.now.stopped:
            self.now.stopped = True
            self.now.work.cancel()
        return True

    def _set_mode(self, line: SetMode) -> None:
        assert self.agent is not None, "the engine was reached"
        sandbox = self.agent.set_mode(line.mode)
        self._respond(line.request_id, {"mode": line.mode, "notice": sandbox})

    # What it is told

    def _respond(self, request_id: str, response: Mapping[str, Any], error: str = "") -> None:
        session = self.options.session_id or ""
        self._json(response_line(request_id, response, session, error=error))

    def _wrong(self, code: Code, error: str, number: int) -> None:
        session = self.options.session_id or ""
        line = input_error_line(code=code, error=error, line=number, session_id=session)
        self._json(line, droppable=True)  # who sends nonsense without end need not be told without

    def _json(self, line: dict[str, object], *, droppable: bool = False) -> None:
        code = line.get("exit_code")
        self.told = code if isinstance(code, int) else None
        super()._json(line, droppable=droppable)

    async def _revise(self, data: bytes) -> None:
        assert self.agent is not None, "who asks is open"
        _, warning = await self.agent.approvals.revise(data)
        if warning:
            self.notes.say(warning)

    def _messages(self) -> Sequence[Message]:
        return self.agent.transcript.messages if self.agent is not None else ()
