"""One turn without a terminal: `glmcode -p`, in text, json or stream-json.

The last line of the JSON forms is always `result`, whatever happened: a signal, a budget, an
engine that died. stdout carries the answer alone; everything else goes to stderr. Nobody can
be asked here, so what needs an answer is denied, the model is told, and the exit code says so.
"""

from __future__ import annotations

import asyncio
import json
import signal
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from glmcode.agent import Agent, AgentOptions
from glmcode.core.calls import TurnStop
from glmcode.core.events import Appended, Delta, Event, TurnFinished
from glmcode.core.messages import Usage
from glmcode.core.model import ModelError
from glmcode.exits import Exit
from glmcode.notes import Notes
from glmcode.opening import OpenError, open_agent
from glmcode.output_stream import OutputStream
from glmcode.sessions import new_session_id
from glmcode.stream_json import Result, delta_line, init_line, message_line, result_line
from glmcode.tools.specs import ORDER

Format = Literal["text", "json", "stream-json"]
StopReason = Literal["", "time", "interrupted", "terminated", "output"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadlessOptions:
    """A run: what is asked, how it is answered, and its limits (seconds from process start)."""

    prompt: str
    output_format: Format = "text"
    partial: bool = False
    time_limit: float | None = None
    last_message_file: Path | None = None
    verbose: bool = False
    started: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _End:
    code: Exit
    subtype: str
    error: str = ""
    log: str = ""
    text: str = ""
    steps: int = 0


def run_headless(options: AgentOptions, run: HeadlessOptions) -> int:
    """Run one turn; returns the exit code. Never raises."""
    return asyncio.run(_Run(options, run).main())


class _Run:
    def __init__(self, options: AgentOptions, run: HeadlessOptions) -> None:
        self.options = replace(options, session_id=options.session_id or new_session_id())
        self.run = run
        self.agent: Agent | None = None
        self.stop_reason: StopReason = ""
        self.init_sent = False
        self.steps = 0
        self.notes = Notes(verbose=run.verbose)

    async def main(self) -> int:
        loop = asyncio.get_running_loop()
        self.out = OutputStream(1, lambda: self._soon(loop, "output"))
        self.task = asyncio.ensure_future(self._turn())
        signals: dict[signal.Signals, StopReason] = {
            signal.SIGINT: "interrupted",
            signal.SIGTERM: "terminated",
            signal.SIGHUP: "terminated",
        }
        for number, reason in signals.items():
            loop.add_signal_handler(number, self._stop, reason)
        if self.run.time_limit is not None:
            left = self.run.started + self.run.time_limit - time.monotonic()
            loop.call_later(max(0.0, left), self._stop, "time")
        await asyncio.wait({self.task})
        end = self._end_of(self.task)
        end = await self._close(end)
        return self._finish(end)

    def _soon(self, loop: asyncio.AbstractEventLoop, reason: StopReason) -> None:
        try:
            loop.call_soon_threadsafe(self._stop, reason)
        except RuntimeError:
            pass  # the loop has ended: there is nothing left to stop

    def _stop(self, reason: StopReason) -> None:
        if not self.stop_reason:
            self.stop_reason = reason
            self.task.cancel()
        elif reason in ("interrupted", "terminated") and not self.task.done():
            self.task.cancel()

    async def _turn(self) -> _End:
        self.agent = await open_agent(self.options, self._emit)
        self._init(self.agent.client.model, self.agent.client.protocol)
        if self.run.verbose:
            client = self.agent.client
            self.notes.say(f"protocol {client.protocol}: {client.protocol_reason}")
        return self._judge(await self.agent.submit(self.run.prompt))

    def _judge(self, end: TurnFinished) -> _End:
        base = _End(
            code=Exit.ERROR,
            subtype="error_during_execution",
            error=end.detail,
            log=end.log,
            text=end.text,
            steps=end.steps,
        )
        match end.reason:
            case "done":
                asked = self.agent is not None and self.agent.unanswered > 0
                code = Exit.UNANSWERED if asked else Exit.DONE
                return replace(base, code=code, subtype="success", error="")
            case "max_turns":
                return replace(base, code=Exit.BUDGET, subtype="error_max_turns")
            case _ if end.retryable:
                return replace(base, code=Exit.UNAVAILABLE)
            case _:
                return base

    def _end_of(self, task: asyncio.Task[_End]) -> _End:
        """How the turn ended; the front end's edge, where no fault may become a traceback."""
        failed = _End(code=Exit.ERROR, subtype="error_during_execution")
        if self.stop_reason or task.cancelled():
            return self._stopped(task)
        match task.exception():
            case None:
                return task.result()
            case ModelError() as error:
                code = Exit.UNAVAILABLE if error.kind == "unavailable" else Exit.ERROR
                return replace(failed, code=code, error=str(error), log=error.detail)
            case OpenError() as error:
                return replace(
                    failed, code=Exit.USAGE if error.usage else Exit.ERROR, error=str(error)
                )
            case TurnStop() as error:
                return replace(failed, error=str(error))
            case error:
                return replace(failed, error=f"a fault in glmcode: {type(error).__name__}: {error}")

    def _stopped(self, task: asyncio.Task[_End]) -> _End:
        if not task.cancelled() and task.exception() is None:
            done = task.result()
            if done.code in (Exit.DONE, Exit.UNANSWERED) and self.stop_reason != "output":
                return done
        end = _End(code=Exit.ERROR, subtype="error_during_execution", steps=self.steps)
        end = replace(end, text=self._last_text())
        match self.stop_reason:
            case "time":
                limit = f"{self.run.time_limit:g}" if self.run.time_limit is not None else "?"
                error = f"stopped: the time limit of {limit} s was reached"
                return replace(end, code=Exit.BUDGET, subtype="error_time_limit", error=error)
            case "terminated":
                return replace(
                    end, code=Exit.TERMINATED, subtype="interrupted", error="terminated by a signal"
                )
            case "output":
                return replace(end, error=f"standard output was closed: {self.out.broken}")
            case _:
                return replace(
                    end, code=Exit.INTERRUPTED, subtype="interrupted", error="interrupted"
                )

    def _last_text(self) -> str:
        if self.agent is None:
            return ""
        texts = (getattr(m, "text", "") for m in reversed(self.agent.transcript.messages))
        roles = (type(m).__name__ for m in reversed(self.agent.transcript.messages))
        return next(
            (t for t, role in zip(texts, roles, strict=True) if role == "AssistantMessage" and t),
            "",
        )

    async def _close(self, end: _End) -> _End:
        """Close the agent and write -o FILE; a failure there is said, not raised."""
        if self.agent is not None:
            try:
                await self.agent.close()
            except (OSError, TurnStop) as error:
                self.notes.say(f"closing: {error}")
        path = self.run.last_message_file
        if path is not None and end.code in (Exit.DONE, Exit.UNANSWERED):
            try:
                path.write_text(end.text + "\n", encoding="utf-8")
            except OSError as error:
                sentence = f"{path} cannot be written: {error.strerror}"
                return replace(
                    end, code=Exit.ERROR, subtype="error_during_execution", error=sentence
                )
        return end

    def _finish(self, end: _End) -> int:
        good = end.code in (Exit.DONE, Exit.UNANSWERED)
        if not self.init_sent:
            self._init(self.options.engine.model, self.options.engine.protocol)
        if self.run.output_format == "text":
            if end.text:
                self.out.put(end.text + "\n")
        else:
            self._json(result_line(self._result(end, good)))
        if end.error:
            self.notes.error(end.error, end.log)
        if end.code is Exit.UNANSWERED and self.agent is not None:
            self.notes.denials(self.agent.denials)
        self.out.close(timeout_s=2.0 if end.code is Exit.TERMINATED else None)
        if self.out.broken is not None and good:
            self.notes.error(f"the answer could not be written to stdout: {self.out.broken}", "")
            return Exit.ERROR
        return end.code

    def _result(self, end: _End, good: bool) -> Result:
        return Result(
            subtype=end.subtype,
            is_error=not good,
            text=end.text,
            error=end.error,
            log=end.log,
            steps=end.steps or self.steps,
            duration_s=time.monotonic() - self.run.started,
            session_id=self.options.session_id or "",
            usage=self.agent.usage if self.agent else Usage(),
            denials=self.agent.denials if self.agent else [],
            exit_code=end.code,
        )

    def _init(self, model: str, protocol: str) -> None:
        self.init_sent = True
        if self.run.output_format == "stream-json":
            line = init_line(
                session_id=self.options.session_id or "",
                cwd=str(self.options.workspace),
                model=model,
                mode=self.options.mode,
                tools=list(ORDER),
                protocol=protocol,
            )
            self._json(line)

    def _emit(self, event: Event) -> None:
        session_id = self.options.session_id or ""
        self.steps = getattr(event, "number", self.steps)
        if self.run.output_format == "stream-json":
            if isinstance(event, Appended):
                line = message_line(event.message, session_id)
                if line is not None:
                    self._json(line)
            elif isinstance(event, Delta) and self.run.partial:
                self._json(delta_line(event, session_id), droppable=True)
        self.notes.event(event)

    def _json(self, line: dict[str, object], *, droppable: bool = False) -> None:
        self.out.put(json.dumps(line, ensure_ascii=False) + "\n", droppable=droppable)
