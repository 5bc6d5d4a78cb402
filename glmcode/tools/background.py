"""BashOutput and KillShell: commands that run while the model does something else.

A command comes here when Bash was asked to run it in the background, or when it ended and
something it started ran on (a server behind `&`): nothing is lost, nothing is waited for, and
nothing stays at the end: `close_all` stops every one of them, and so does the warden when
glmcode dies without calling it. Their output is read on and bounded whether anybody looks or
not. This module must not start anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from glmcode.base.process import Running
from glmcode.core.tool import Action, Effect, Preview, ToolError, ToolResult
from glmcode.tools.context import Call, ToolContext
from glmcode.tools.stream import Stream

MOST_RUNNING = 32


@dataclass(slots=True, kw_only=True)
class Shell:
    """A background command. `ended_after` is None while anything of it runs, else seconds."""

    id: str
    command: str
    running: Running
    stream: Stream
    limit: float | None = None
    stopped: bool = False
    ended_after: float | None = None

    def finish(self) -> None:
        """Nothing of it is left."""
        self.ended_after = self.running.seconds
        self.stream.end()

    def state(self) -> str:
        """The last line of every answer about it."""
        end = self.running.exit
        if self.ended_after is None:
            if end is None:
                return f"[running for {self.running.seconds:.1f} s]"
            return f"[{end.text()} in {end.seconds:.1f} s; {still_runs(end.left, end.left_names)}]"
        if self.stopped:
            line = f"[stopped after {self.ended_after:.1f} s]"
        elif end is None:
            line = f"[ended after {self.ended_after:.1f} s]"
        elif end.timed_out:
            line = f"[timed out after {self.limit:g} s; killed]"
        elif end.left:
            line = f"[ended after {self.ended_after:.1f} s]"
        else:
            line = f"[{end.text()} in {end.seconds:.1f} s]"
        return survivors_note(self.running) + line

    def unread(self, room: int) -> str:
        """What was printed since the last look, in `room` characters; ends with a newline."""
        self.stream.settle()
        text = self.stream.kept.text(room)
        self.stream.kept = self.stream.kept.renew()
        return text if not text or text.endswith("\n") else text + "\n"


def still_runs(count: int, names: tuple[str, ...]) -> str:
    """`2 processes that it started still run (sleep 999, cat)`."""
    subject = (
        "1 process that it started still runs"
        if count == 1
        else (f"{count} processes that it started still run")
    )
    return f"{subject} ({', '.join(names)}{', …' if count > len(names) else ''})"


def survivors_note(running: Running) -> str:
    """A line about what could not be killed, or nothing."""
    if not running.survivors:
        return ""
    return f"[could not be killed: {', '.join(running.survivors)}]\n"


def adopt(
    ctx: ToolContext, command: str, running: Running, stream: Stream, limit: float | None = None
) -> Shell:
    """Give a running command a task id and let it run."""
    shell = Shell(id=next_id(ctx), command=command, running=running, stream=stream, limit=limit)
    ctx.shells[shell.id] = shell
    running.ended = shell.finish
    if running.gone:
        shell.finish()
    return shell


def next_id(ctx: ToolContext) -> str:
    """The id that the next background command gets."""
    return f"bash_{len(ctx.shells) + 1}"


def check_room(ctx: ToolContext) -> None:
    """Raise ToolError when too many commands run in the background."""
    alive = [s.id for s in ctx.shells.values() if s.ended_after is None]
    if len(alive) >= MOST_RUNNING:
        raise ToolError(
            f"{len(alive)} commands already run in the background ({', '.join(alive)}): "
            "stop some with KillShell first"
        )


async def prepare_output(ctx: ToolContext, call: Call, *, task_id: str) -> Action:
    """BashOutput: what a background command has printed since the last look, and its state."""
    shell = _find(ctx, task_id)

    async def commit() -> ToolResult:
        if shell.stopped and shell.ended_after is None:
            await shell.running.stop()  # a KillShell of the same message, not yet through
        state = shell.state()
        text = shell.unread(ctx.result_limit() - len(state) - 1)
        return _result(shell, text + state)

    return _action(shell, "output of", commit)


async def prepare_kill(ctx: ToolContext, call: Call, *, task_id: str) -> Action:
    """KillShell: stop a background command and everything it started."""
    shell = _find(ctx, task_id)

    async def commit() -> ToolResult:
        note = "[it had already ended]\n"
        if shell.ended_after is None:
            note = ""
            shell.stopped = True
            await shell.running.stop()
        end = note + shell.state()
        text = shell.unread(ctx.result_limit() - len(end) - 1)
        return _result(shell, text + end)

    return _action(shell, "stop", commit)


async def close_all(ctx: ToolContext) -> None:
    """Stop all background commands, together; returns when they are gone."""
    alive = [s for s in ctx.shells.values() if s.ended_after is None]
    for shell in alive:
        shell.stopped = True
    await asyncio.gather(*(shell.running.stop() for shell in alive))


def _find(ctx: ToolContext, task_id: str) -> Shell:
    shell = ctx.shells.get(task_id)
    if isinstance(shell, Shell):
        return shell
    known = ", ".join(
        f"{s.id} ({'ended' if s.ended_after is not None else 'running'})"
        for s in ctx.shells.values()
    )
    raise ToolError(
        f"there is no background command {task_id!r}; "
        + (f"there are: {known}" if known else "none was started (Bash with run_in_background)")
    )


def _action(shell: Shell, verb: str, commit: Callable[[], Awaitable[ToolResult]]) -> Action:
    return Action(
        effect=Effect.READ,
        subject=shell.id,
        preview=Preview(kind="text", title=f"{verb} {shell.id}", body=shell.command),
        commit=commit,
    )


def _result(shell: Shell, text: str) -> ToolResult:
    return ToolResult(for_model=text, for_user=Preview(kind="text", title=shell.state(), body=text))
