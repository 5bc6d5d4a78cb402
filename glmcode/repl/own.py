"""What a person does by the side: `!command`, `!!command` and `#line`, without the model.

A command is run by the Bash tool itself, in the sandbox and the shell's folder that the model's
commands have; it is the person's own, so nobody is asked. What it printed is shown, and follows the
next message unless two marks stood before it. A line is added to the instructions after it was
shown where. Must not start a turn.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Protocol

from glmcode.agent import Agent, Approval
from glmcode.agent_compaction import settled
from glmcode.base.files import FileFault, FileMissing, load
from glmcode.base.replace import replace_file
from glmcode.context.instructions import folder_file, repository_root
from glmcode.core.events import ApprovalAsked, CallStarted, ToolOutput
from glmcode.core.tool import Preview, ToolError, ToolResult
from glmcode.repl.clean import one_line, plain_output
from glmcode.repl.feed import Feed
from glmcode.repl.paint import Spans
from glmcode.repl.showing import Showing
from glmcode.repl.slash import find_command
from glmcode.tools import tool_function
from glmcode.tools.bash import MOST_S
from glmcode.tools.context import Call

SHOWN_LINES = 200
USAGE = "!COMMAND runs a command and shows the model what it printed; !!COMMAND does not show it"
_LINE = re.compile(r"\s*#(?![\d!#])([^\n]*\S[^\n]*)\s*")


class Host(Protocol):
    """The conversation, as far as this needs it."""

    def say(self, spans: Spans) -> None:
        """Print a line of ours."""

    async def confirm(self, asked: ApprovalAsked) -> Approval | None:
        """Show an action and ask a yes or no about it."""

    def work_on(self) -> None:
        """The status line says that something runs, and how it is stopped."""


def is_own(text: str) -> bool:
    """Whether a text is for here, not for the model: it may wait in line, but steers nothing."""
    return text.lstrip().startswith("!") or _LINE.fullmatch(text) is not None


def is_message(text: str) -> bool:
    """Whether a text is for the model."""
    return find_command(text) is None and not is_own(text)


class Own:
    """What the person did since the last message, and what of it runs now."""

    def __init__(self, host: Host, shown: Showing, feed: Feed) -> None:
        """shown, feed: where a command's output and its events go."""
        self._host = host
        self._shown = shown
        self._feed = feed
        self._told: list[str] = []
        self._task: asyncio.Task[str] | None = None
        self._stopped = False
        self._count = 0

    async def submit(self, agent: Agent, text: str) -> bool:
        """Run a turn; what was done since the last message is told with it. Whether it ended."""
        told, self._told = self._told, []
        before = len(agent.transcript)
        end = await agent.submit(text, "\n\n".join(told))
        if len(agent.transcript) == before:
            self._told[:0] = told
        return end.reason == "done"

    def cancel(self) -> bool:
        """Stop the command that runs; False when none does."""
        return self._task is not None and self._task.cancel()

    def do(self, agent: Agent, text: str) -> Coroutine[Any, Any, bool]:
        """Do what a text asks for that is_own; whether it went well."""
        return self._run(agent, text) if text.lstrip().startswith("!") else self._keep(agent, text)

    async def _run(self, agent: Agent, text: str) -> bool:
        hidden = text.lstrip().startswith("!!")
        command = text.strip()[2 if hidden else 1 :].strip()
        if not command:
            self._host.say([("warning", USAGE)])
            return False
        folder = agent.context.cwd
        self._host.work_on()
        self._task = asyncio.ensure_future(self._printed(agent, command))
        self._stopped = False
        try:
            await settled(self._task)
            printed = self._task.result()
        finally:
            self._task = None
        if hidden:
            agent.context.cwd = folder
        else:
            self._told.append(f"[The user ran a command: {command}]\n{printed}")
        return not self._stopped

    async def _printed(self, agent: Agent, command: str) -> str:
        """What the command printed and how it ended, which is shown; also when it is stopped."""
        self._count += 1
        call = f"own-{self._count}"
        preview = Preview(kind="command", title=command)
        self._feed.put(CallStarted(call_id=call, name="Bash", preview=preview))
        live = Call(call, lambda text: self._feed.put(ToolOutput(call_id=call, text=text)))
        try:
            action = await tool_function("Bash")(
                agent.context, live, command=command, timeout=MOST_S
            )
            result: ToolResult = await action.commit()
            printed = result.for_model
        except ToolError as error:
            printed = f"[{error}]"
        except asyncio.CancelledError:
            self._stopped = True
            kept = agent.context.interrupted.pop(call, "").rstrip("\n")
            printed = f"{kept}\n[stopped by the user]".lstrip("\n")
        agent.context.confined.pop(call, None)
        lines = plain_output(printed).rstrip("\n").split("\n")
        if len(lines) > SHOWN_LINES:
            self._host.say([("dim", f"{len(lines) - SHOWN_LINES:,} lines before")])
        self._feed.drain()
        self._shown.view.calls.stop()
        self._shown.commit(self._shown.painter.output("\n".join(lines[-SHOWN_LINES:]), style=""))
        return "\n".join(lines)

    async def _keep(self, agent: Agent, text: str) -> bool:
        line = text.strip()[1:].strip()
        path = await asyncio.to_thread(instructions_file, agent.context.workspace)
        asked = ApprovalAsked(
            call_id=f"remember-{line}",
            name="Remember",
            subject=str(path),
            preview=Preview(kind="text", title=str(path), body=f"- {line}"),
            question="Add this line?",
        )
        approval = await self._host.confirm(asked)
        if approval is None or not approval.allowed:
            self._host.say([("dim", "nothing was changed")])
            return False
        backups = agent.context.spill_folder / "backups"
        try:
            await asyncio.to_thread(add_line, path, line, backups)
        except FileFault as error:
            self._host.say([("error", f"{one_line(str(path))} {error}")])
            return False
        self._told.append(f"[The user added a line to {path.name}: {line}]")
        self._host.say([("good", f"added to {one_line(str(path))}")])
        return True


def instructions_file(workspace: Path) -> Path:
    """The repository's instructions: its AGENTS.md, or the CLAUDE.md that counts without one."""
    root = repository_root(workspace)
    return (folder_file(root) or root / "AGENTS.md").resolve()


def add_line(path: Path, line: str, backups: Path) -> None:
    """Append `- line`, with the line ends that the file has; every other byte stays.

    Raises FileFault.
    """
    try:
        now = load(path)
        data, digest = now.data, now.digest
    except FileMissing:
        data, digest = b"", None
    end = b"\r\n" if b"\r\n" in data else b"\n"
    apart = end if data and not data.endswith(b"\n") else b""
    replace_file(
        path,
        data + apart + f"- {line}".encode(errors="replace") + end,
        expected=digest,
        backups=backups,
    )
