"""Bash: run one command line, tell what it printed and how it ended.

The answer is the output (errors among it, in their order), notes in brackets, and last
`[exit 1 in 2.3 s]`. The shell's folder persists in ctx.cwd, nothing else does. A command that
is timed out or cancelled is killed with everything it started; what it had printed is kept.
When a command ends by itself and something it started runs on, that becomes a background
command: a server behind `&` is there for the next call, no descriptor that it holds is waited
for, and it ends with the session. A call that is among ctx.outside runs without the sandbox, one
that is among ctx.edited runs what a person made of it. This module must not judge commands:
permissions do.
"""

from __future__ import annotations

import asyncio
import math
import os
import secrets
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from glmcode.base.paths import private_folder
from glmcode.base.process import Exit, ProcessError, Running, start
from glmcode.core.tool import Action, Effect, Preview, ToolError, ToolResult
from glmcode.tools.background import adopt, check_room, next_id, still_runs, survivors_note
from glmcode.tools.context import Call, Confinement, ToolContext
from glmcode.tools.output import Kept, Spill
from glmcode.tools.shell import bash_argv, command_environment, find_bash
from glmcode.tools.stream import Stream

DEFAULT_S = 120.0
MOST_S = 600.0
OUTSIDE = (
    "run outside the sandbox, as the user allowed; before that it ran inside, failed, and may have "
    "done part of its work"
)
LEAST_KEPT = 2_000
"""Characters kept at either end, however small the result may be."""


async def prepare(
    ctx: ToolContext,
    call: Call,
    *,
    command: str,
    timeout: float | None = None,
    run_in_background: bool = False,
) -> Action:
    """Propose to run a command; `timeout` in seconds. Raises ToolError."""
    command = _as_edited(ctx, call, command)
    _check_command(command)
    outside = call.id in ctx.outside
    sandbox = None if outside else ctx.sandbox
    notes = [OUTSIDE] if outside else []
    limit = _time_limit(timeout, run_in_background, notes)

    async def commit() -> ToolResult:
        if run_in_background:
            return await _run_in_background(ctx, sandbox, command, limit, notes)
        return await _run(ctx, call, sandbox, command, limit or DEFAULT_S, notes)

    folder = ctx.cwd or ctx.workspace
    return Action(
        effect=Effect.EXECUTE,
        subject=command,
        preview=Preview(
            kind="command",
            title=command,
            body="" if folder == ctx.workspace else f"in {ctx.shown(folder)}",
        ),
        commit=commit,
        paths=(str(folder),),
        draft=command.encode("utf-8"),
    )


def _as_edited(ctx: ToolContext, call: Call, command: str) -> str:
    """The command as a person changed it, but for the newline that editors end a file with.

    Raises ToolError.
    """
    data = ctx.edited.get(call.id)
    if data is None:
        return command
    try:
        return data.decode("utf-8").removesuffix("\n")
    except UnicodeDecodeError as error:
        raise ToolError("the command is not text in UTF-8: nothing of it can be run") from error


async def _run(
    ctx: ToolContext,
    call: Call,
    sandbox: Confinement | None,
    command: str,
    limit: float,
    notes: list[str],
) -> ToolResult:
    size = max(ctx.result_limit(), LEAST_KEPT)
    stream = Stream(Kept(Spill(ctx.spill_folder, "bash"), size), size, call.output)
    folder = _folder(ctx, notes)
    report = _report_file(ctx, sandbox)
    watched = sandbox.watch if sandbox else lambda: list
    put_back = await asyncio.to_thread(watched)
    try:
        running = await _start(ctx, sandbox, command, folder, stream.hear, limit, report)
        ended = await _wait(ctx, call, running, stream)
        if ended.code is not None and ended.code >= 0 and not ended.timed_out:
            _take_folder(ctx, folder, report, notes)
    finally:
        if report is not None:
            with suppress(OSError):
                report.unlink()
        notes += put_back()
    if running.keyless:
        notes.append(
            f"{', '.join(running.keyless)} waited for keys that nobody can press and was stopped: "
            "change files with Edit or Write"
        )
    if ended.left_alone and not running.gone:
        stream.settle()
        kept, stream.kept = stream.kept, stream.kept.renew()
        stream.mute()
        shell = adopt(ctx, command, running, stream)
        notes.append(
            f"{still_runs(ended.left, ended.left_names)}, now as background command {shell.id}: "
            "BashOutput reads it, KillShell stops it; it ends with this session"
        )
    else:
        stream.end()
        kept = stream.kept
    if ended.timed_out:
        notes.append(
            f"a longer timeout (at most {MOST_S:g}) or run_in_background gives it more time"
        )
    if sandbox is not None and ended.code != 0 and not ended.timed_out:
        _explain(ctx, call, sandbox, command, kept, notes)
    return _result(ctx, kept, notes, running, ended, limit)


async def _wait(ctx: ToolContext, call: Call, running: Running, stream: Stream) -> Exit:
    """The exit; when cancelled, everything is stopped and what was printed is kept first."""
    try:
        return await running.exited()
    except asyncio.CancelledError:
        try:
            await running.stop()
        finally:
            stream.end()
            if text := stream.kept.text(ctx.result_limit()):
                ctx.interrupted[call.id] = text
        raise


async def _run_in_background(
    ctx: ToolContext,
    sandbox: Confinement | None,
    command: str,
    limit: float | None,
    notes: list[str],
) -> ToolResult:
    check_room(ctx)
    size = max(ctx.result_limit(), LEAST_KEPT)
    spill = Spill(ctx.spill_folder, next_id(ctx))
    spill.open()
    stream = Stream(Kept(spill, size), size)
    folder = _folder(ctx, notes)
    running = await _start(ctx, sandbox, command, folder, stream.hear, limit, None)
    shell = adopt(ctx, command, running, stream, limit)
    saved = f"; its output is saved in {spill.path}" if spill.path is not None else ""
    if limit is not None:
        notes.append(f"it is stopped after {limit:g} s at the latest")
    text = (
        f"started in the background as task_id {shell.id}: BashOutput reads what it prints, "
        f"KillShell stops it{saved}"
    )
    text = "".join(f"[{note}]\n" for note in notes) + text
    return ToolResult(
        for_model=text, for_user=Preview(kind="text", title=f"started {shell.id}", body=text)
    )


async def _start(
    ctx: ToolContext,
    sandbox: Confinement | None,
    command: str,
    folder: Path,
    hear: Callable[[bytes], None],
    limit: float | None,
    report: Path | None,
) -> Running:
    environment = command_environment(ctx.environment)
    bash = find_bash(ctx.environment)
    if bash is None:
        raise ToolError("bash is not installed here: no command can be run; use the other tools")
    argv, script = bash_argv(bash, command, report)
    helper = ""
    if sandbox is not None:
        try:
            wrapped = await asyncio.to_thread(sandbox.wrap, argv, environment, folder)
        except OSError as error:
            raise ToolError(
                f"the sandbox cannot be made ({error}): nothing was run; see that the folder for "
                "temporary files can be written"
            ) from error
        argv, environment, helper = wrapped.argv, wrapped.environment, wrapped.helper
    try:
        return await start(
            argv,
            cwd=folder,
            environment=environment,
            output=hear,
            limit=limit,
            script=script,
            helper=helper,
        )
    except ProcessError as error:
        raise ToolError(f"the command was not started: {_why(error, folder)}") from error


def _why(error: ProcessError, folder: Path) -> str:
    match error.stage:
        case "folder":
            return f"its folder {folder} cannot be entered ({error})"
        case "fork" | "warden" | "start":
            return (
                f"the system gives no new process ({error}); "
                "stop background commands with KillShell, or try again later"
            )
        case "exec":
            return f"bash cannot be run ({error}); the environment may be too large"


def _result(
    ctx: ToolContext,
    kept: Kept,
    notes: list[str],
    running: Running,
    ended: Exit,
    limit: float,
) -> ToolResult:
    if ended.timed_out:
        end = f"[timed out after {limit:g} s; killed]"
    else:
        end = f"[{ended.text()} in {ended.seconds:.1f} s]"
    failed = ended.code != 0 and not ended.timed_out
    trailer = "".join(f"[{note}]\n" for note in notes) + survivors_note(running) + end
    text = kept.text(ctx.result_limit() - len(trailer) - 1)
    if text and not text.endswith("\n"):
        text += "\n"
    return ToolResult(
        for_model=text + trailer,
        for_user=Preview(kind="text", title=end[1:-1], body=text + trailer),
        is_error=failed or ended.timed_out,
    )


def _explain(
    ctx: ToolContext,
    call: Call,
    sandbox: Confinement,
    command: str,
    kept: Kept,
    notes: list[str],
) -> None:
    """Note what the sandbox has to do with a failure, if anything."""
    text = kept.text(max(ctx.result_limit(), LEAST_KEPT))
    if why := sandbox.explain(text, command):
        notes.append(why)
    if lifted := sandbox.lifted(text, command):
        ctx.confined[call.id] = lifted


def with_note(result: ToolResult, note: str) -> ToolResult:
    """A finished result with one more note, before the line that says how the command ended."""
    before, newline, end = result.for_model.rpartition("\n")
    return replace(result, for_model=f"{before}{newline}[{note}]\n{end}")


def _check_command(command: str) -> None:
    if not command.strip():
        raise ToolError("the command is empty: give a command line")
    if "\0" in command:
        raise ToolError(
            "the command holds a NUL character, which bash cannot take: write it as '\\0' "
            "for printf, or put the text into a file with Write"
        )
    if any("\ud800" <= character <= "\udfff" for character in command):
        raise ToolError(
            "the command holds half of a surrogate pair, which is no text: "
            "write the character itself, or as an escape for printf"
        )


HUGE_S = 10**30
"""Beyond this a whole number says no more, and one of 400 digits fits no float."""


def _time_limit(timeout: float | None, in_background: bool, notes: list[str]) -> float | None:
    """Seconds; None for a background command without a limit. Raises ToolError."""
    if timeout is None:
        return None if in_background else DEFAULT_S
    timeout = max(-HUGE_S, min(timeout, HUGE_S)) if isinstance(timeout, int) else timeout
    if math.isnan(timeout) or timeout <= 0:
        raise ToolError(
            f"timeout {timeout:g} is no time: give seconds above 0 (at most {MOST_S:g}), "
            f"or leave it out for {DEFAULT_S:g}"
        )
    if timeout > MOST_S and not in_background:
        notes.append(
            f"timeout {timeout:g} s is more than the {MOST_S:g} s allowed: {MOST_S:g} used"
        )
    return timeout if in_background and math.isfinite(timeout) else min(timeout, MOST_S)


def _folder(ctx: ToolContext, notes: list[str]) -> Path:
    """The folder to start in; back to the workspace, with a note, when the last one is gone."""
    folder = ctx.cwd or ctx.workspace
    if _usable(folder):
        return folder
    if not _usable(ctx.workspace):
        raise ToolError(f"the folder {ctx.workspace} is gone or cannot be entered: nothing can run")
    ctx.cwd = None
    notes.append(f"{shown(folder)} is gone or cannot be entered: started in {ctx.workspace}")
    return ctx.workspace


def _usable(folder: Path) -> bool:
    return folder.is_dir() and os.access(folder, os.X_OK)


def shown(folder: Path) -> str:
    """A path as text, whatever bytes its name holds."""
    return str(folder).encode("utf-8", "replace").decode()


def _report_file(ctx: ToolContext, sandbox: Confinement | None) -> Path | None:
    """Where the shell writes its last folder; None when nothing can be written there."""
    try:
        confined = sandbox.temporary() if sandbox is not None else None
        return (confined or private_folder(ctx.spill_folder)) / f".folder-{secrets.token_hex(4)}"
    except OSError:
        return None


LONGEST_PATH = 1 << 14


def _read_report(report: Path) -> bytes:
    """What the shell wrote; the command may have put anything there, a pipe without end as well."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with os.fdopen(os.open(report, flags), "rb") as file:
        return file.read(LONGEST_PATH) if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else b""


def _take_folder(ctx: ToolContext, before: Path, report: Path | None, notes: list[str]) -> None:
    """Remember the shell's folder for the next call, if it is one to be in."""
    written = b""
    if report is not None:
        with suppress(OSError):
            written = _read_report(report)
    named = len(written) > 1 and written.endswith(b"\n")
    folder = Path(os.fsdecode(written[:-1])) if named else before
    roots = [root.resolve() for root in (ctx.workspace, *ctx.extra_folders)]
    if written == b"\n" and _usable(before):
        ctx.cwd = None
        notes.append(f"the shell's folder was removed: back in {ctx.workspace}")
        return
    if not _usable(folder):
        reason = "is gone or cannot be entered"
    elif not any(folder.is_relative_to(root) for root in roots):
        reason = "is outside the workspace"
    else:
        ctx.cwd = folder
        return
    ctx.cwd = None
    notes.append(f"the shell's folder {shown(folder)} {reason}: back in {ctx.workspace}")
