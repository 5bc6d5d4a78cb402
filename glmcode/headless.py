"""One turn without a terminal: `glmcode -p`, in text, json or stream-json.

The last line of the JSON forms is always `result`, whatever happened: a signal, a budget, an
engine that died. stdout carries the answer alone; everything else goes to stderr. Nobody can
be asked here, so what needs an answer is denied, the model is told, and the exit code says so.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from glmcode.agent import Agent, AgentOptions
from glmcode.core.calls import TurnStop
from glmcode.core.events import Appended, Event, TurnFinished
from glmcode.core.messages import AssistantMessage
from glmcode.exits import Exit
from glmcode.notes import Notes
from glmcode.opening import open_agent
from glmcode.outcome import (
    End,
    event_line,
    fault_end,
    formed_end,
    interrupted_end,
    judged_end,
    late_end,
    result_of,
)
from glmcode.output_stream import OutputStream
from glmcode.repl.clean import for_terminal
from glmcode.sessions import new_session_id
from glmcode.stream_json import Result, as_line, dropped_line, init_line, result_line
from glmcode.tools.specs import ORDER

Format = Literal["text", "json", "stream-json"]
HURRY_S = 10.0
"""How long a stopped turn may take to end before another signal hurries it."""
UNREAD_S = 1.0
"""How long a reader of stdout that takes nothing is waited for after the run was stopped."""

StopReason = Literal["", "time", "interrupted", "terminated", "output"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadlessOptions:
    """A run: what is asked, how it is answered, and its limits (seconds from process start).

    piped: what came on stdin beside a prompt; it is appended, and its `@` means nothing.
    schema: a JSON Schema that the answer is to be an instance of.
    """

    prompt: str
    piped: str = ""
    output_format: Format = "text"
    partial: bool = False
    time_limit: float | None = None
    last_message_file: Path | None = None
    schema: Mapping[str, Any] | None = None
    verbose: bool = False
    started: float = 0.0


def run_headless(options: AgentOptions, run: HeadlessOptions) -> int:
    """Run one turn; returns the exit code. Never raises."""
    return asyncio.run(Run(options, run).main())


class Run:
    """A run from its start to its last line; headless_talk.py makes a conversation of it."""

    def __init__(self, options: AgentOptions, run: HeadlessOptions) -> None:
        stored = options.stored.session_id if options.stored else None
        self.options = replace(options, session_id=stored or options.session_id or new_session_id())
        self.run = run
        self.agent: Agent | None = None
        self.stop_reason: StopReason = ""
        self.stopped_at = 0.0
        self.init_sent = False
        self.steps = 0
        self.said = ""
        self.notes = Notes(verbose=run.verbose)

    async def main(self) -> int:
        loop = asyncio.get_running_loop()
        self.out = OutputStream(1, lambda: self._soon(loop, "output"), self._dropped)
        self.task = asyncio.ensure_future(self._turn())
        signals: dict[signal.Signals, StopReason] = {
            signal.SIGINT: "interrupted",
            signal.SIGTERM: "terminated",
            signal.SIGHUP: "terminated",
        }
        for number, reason in signals.items():
            if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                loop.add_signal_handler(number, self._stop, reason)
        if self.run.time_limit is not None:
            left = self.run.started + self.run.time_limit - time.monotonic()
            loop.call_later(max(0.0, left), self._stop, "time")
        await asyncio.wait({self.task})
        end = self._end_of(self.task)
        end = await self._close(end)
        code = await self._finish(end)
        for number in signals:  # the result is told: nothing changes the exit code now
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)
        if self.stop_reason:
            atexit._run_exitfuncs()
            os._exit(code)  # a thread may still look up a host or import: nobody needs it now
        return code

    def _soon(self, loop: asyncio.AbstractEventLoop, reason: StopReason) -> None:
        try:
            loop.call_soon_threadsafe(self._stop, reason)
        except RuntimeError:
            pass  # the loop has ended: there is nothing left to stop

    def _stop(self, reason: StopReason) -> None:
        """Stop once; a second signal counts only where ending takes too long.

        Sooner it would break off the answers to open calls and the end of commands.
        """
        now = time.monotonic()
        if not self.stop_reason:
            self.stop_reason, self.stopped_at = reason, now
            self.task.cancel()
        elif now - self.stopped_at > HURRY_S and not self.task.done():
            self.task.cancel()

    async def _turn(self) -> End:
        self.agent = await open_agent(self.options, self._emit)
        self._init(self.agent.client.model, self.agent.client.protocol)
        if self.run.verbose:
            client = self.agent.client
            self.notes.say(f"protocol {client.protocol}: {client.protocol_reason}")
        told = await self.agent.submit(self.run.prompt, self.run.piped)
        end = self._judged(told, self.agent.approvals.unanswered)
        if self.run.schema is None or not end.good:
            return end  # else the work stays done whatever comes of the form
        return formed_end(end, await self.agent.structured(self.run.schema))

    def _judged(self, told: TurnFinished, unanswered: int) -> End:
        """The end of a turn; where it came to no answer, with the last that was said."""
        end = judged_end(told, unanswered)
        return replace(end, text=end.text or self.said)

    def _end_of(self, task: asyncio.Task[End]) -> End:
        """How the turn ended; the front end's edge, where no fault may become a traceback."""
        if self.stop_reason or task.cancelled():
            return self._stopped(task)
        error = task.exception()
        return task.result() if error is None else fault_end(error)

    def _stopped(self, task: asyncio.Task[End]) -> End:
        if not task.cancelled() and task.exception() is None:
            done = task.result()
            if done.good and self.stop_reason != "output":
                return done
        return self._stopped_end()

    def _stopped_end(self) -> End:
        match self.stop_reason:
            case "time":
                end = late_end(self.run.time_limit)
            case "terminated":
                end = replace(
                    interrupted_end(), code=Exit.TERMINATED, error="terminated by a signal"
                )
            case "output":
                error = f"standard output was closed: {self.out.broken}"
                end = End(code=Exit.ERROR, subtype="error_during_execution", error=error)
            case _:
                end = interrupted_end()
        return replace(end, steps=self.steps, text=self.said)

    async def _close(self, end: End) -> End:
        """Close the agent and write -o FILE; a failure there is said, not raised."""
        if self.agent is not None:
            try:
                await self.agent.close()
            except (OSError, TurnStop) as error:
                self.notes.say(f"closing: {error}")
        path = self.run.last_message_file
        if path is not None and end.good:
            try:
                _write(path, (end.text + "\n").encode("utf-8", "replace"))
            except OSError as error:
                sentence = f"{path} cannot be written: {error.strerror}"
                return replace(
                    end, code=Exit.ERROR, subtype="error_during_execution", error=sentence
                )
        return end

    async def _finish(self, end: End) -> int:
        if not self.init_sent:
            self._init(self.options.engine.model, self.options.engine.protocol)
        if self.run.output_format == "text":
            if end.text:
                self.out.put(for_terminal(end.text) + "\n")
        else:
            self._last(end)
        self._note(end)
        if end.code is Exit.UNANSWERED and self.agent is not None:
            self.notes.denials(self.agent.approvals.denials)
        await self._flush()
        if not self.out.done:
            stopped = self._stopped_end()
            self.notes.error(f"{stopped.error}, and nobody read the answer", "")
            return stopped.code
        if self.out.broken is not None and end.good:
            self.notes.error(f"the answer could not be written to stdout: {self.out.broken}", "")
            return Exit.ERROR
        return end.code

    def _note(self, end: End) -> None:
        """Say on stderr why a turn failed."""
        if end.error:
            self.notes.error(end.error, end.log)

    def _last(self, end: End) -> None:
        """Tell the last line of the JSON forms."""
        self._json(result_line(self._result(end)))

    async def _flush(self) -> None:
        """Wait for whoever reads stdout: without end, but after a stop only UNREAD_S."""
        self.out.close(timeout_s=0.1)
        waited = 0.0
        while not self.out.done and not (self.stop_reason and waited > UNREAD_S):
            await asyncio.sleep(0.05)
            waited += 0.05 if self.stop_reason else 0.0

    def _result(self, end: End) -> Result:
        return result_of(
            end,
            self.agent,
            session_id=self.options.session_id or "",
            steps=self.steps,
            duration_s=time.monotonic() - self.run.started,
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
        self.steps = getattr(event, "number", self.steps)
        if isinstance(event, Appended) and isinstance(event.message, AssistantMessage):
            self.said = event.message.text or self.said
        if self.run.output_format == "stream-json":
            told = event_line(event, self.options.session_id or "", partial=self.run.partial)
            if told is not None:
                self._json(told[0], droppable=told[1])
        self.notes.event(event)

    def _dropped(self, count: int) -> str:
        return as_line(dropped_line(count, self.options.session_id or ""))

    def _json(self, line: dict[str, object], *, droppable: bool = False) -> None:
        self.out.put(as_line(line), droppable=droppable)


def _write(path: Path, data: bytes) -> None:
    """Write a file; a pipe that nobody reads is an OSError, not a wait without end."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o666)
    os.set_blocking(descriptor, True)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
