"""A command that failed because of the sandbox: a person may let it run again outside, once.

Bash is wrapped, so that the question comes after the failure and before the model's answer to it.
Nothing is run a second time without a yes; what denies is asked first, and modes that ask nobody
leave the failure as it is. A no holds for the same command as long as the session. The second run
is an action of its own: judged, journaled and recorded like the first, begun in the same folder.
Must not decide what the sandbox forbids.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from glmcode.agent_approval import Approvals
from glmcode.agent_options import Answer, nobody
from glmcode.agent_rules import judged
from glmcode.core.events import ApprovalAnswered, ApprovalAsked, CallStarted
from glmcode.core.model import Emit
from glmcode.core.tool import Action, Preview, Tool, ToolError, ToolResult
from glmcode.tools.context import ToolContext

QUESTION = "Run it again outside the sandbox?"
PARTLY = (
    "It may have done part of its work. A yes runs it once more, from its beginning, with all "
    "your rights"
)
UNREAD = "; what rules forbid to read is then kept from it only where its words name it"
NOT_AGAIN = "the user did not let this command run outside the sandbox before"
LINES = 8
"""Lines of the output that are shown with the question."""
WIDTH = 200
"""Characters of each of them; all begin with a mark, so that none can pass for a word of ours."""

SHORT = 100
"""Characters of a command that a header surely shows."""


class Outside:
    """The wrapping of one conversation's Bash."""

    def __init__(
        self, context: ToolContext, approvals: Approvals, emit: Emit, answer: Answer
    ) -> None:
        self._context = context
        self._approvals = approvals
        self._emit = emit
        self._answer = answer
        self._declined: set[tuple[str, tuple[str, ...]]] = set()

    def offered(self, tools: Mapping[str, Tool]) -> dict[str, Tool]:
        """The same tools; where nobody can answer, exactly those."""
        if self._answer is nobody:
            return dict(tools)
        return {**tools, "Bash": self._wrapped(tools["Bash"])}

    def _wrapped(self, tool: Tool) -> Tool:
        async def prepare(
            call_id: str, arguments: Mapping[str, Any], output: Callable[[str], None]
        ) -> Action:
            def again() -> Awaitable[Action]:
                return tool.prepare(call_id, arguments, output)

            action = await again()
            return replace(action, commit=lambda: self._commit(call_id, action, again))

        return replace(tool, prepare=prepare)

    async def _commit(
        self, call_id: str, action: Action, again: Callable[[], Awaitable[Action]]
    ) -> ToolResult:
        folder = self._context.cwd
        result = await action.commit()
        forbidden = self._context.confined.pop(call_id, "")
        if not forbidden or not self._may_ask(action):
            return result
        if (action.subject, action.paths) in self._declined:
            return _noted(result, NOT_AGAIN)
        kept = _noted(result, "the user stopped when asked whether to run it outside the sandbox")
        try:
            said = await self._ask(call_id, action, result, forbidden)
            if said is not None:
                return _noted(result, said) if said else result
            kept = result
            return await self._once_more(call_id, result, folder, again)
        except asyncio.CancelledError:
            printed = self._context.interrupted.pop(call_id, "")
            again_printed = f"\n[once more, outside the sandbox]\n{printed}" if printed else ""
            self._context.interrupted[call_id] = kept.for_model + again_printed
            raise

    def _may_ask(self, action: Action) -> bool:
        """Whether modes and rules leave it to a person. What they say may change at any time."""
        policy = self._approvals.policy
        if policy.mode not in ("default", "acceptEdits"):
            return False
        return judged(policy, "Bash", action).decision != "deny"

    async def _ask(
        self, call_id: str, action: Action, result: ToolResult, forbidden: str
    ) -> str | None:
        """None for a yes, else what the model is told; "" for nothing."""
        asked = ApprovalAsked(
            call_id=call_id,
            name="Bash",
            subject=action.subject,
            preview=Preview(
                kind="text",
                title=action.subject,
                body=whole(action.subject) + self._body(result, forbidden),
            ),
            question=QUESTION,
        )
        self._emit(asked)
        approval = await self._answer(asked)
        if approval is None:
            return ""
        why = "a person, outside the sandbox"
        self._emit(
            ApprovalAnswered(call_id=call_id, name="Bash", allowed=approval.allowed, why=why)
        )
        if approval.allowed:
            return None
        self._declined.add((action.subject, action.paths))
        advice = f": {approval.advice}" if approval.advice else ""
        return f"the user was asked and did not let it run outside the sandbox{advice}"

    def _body(self, result: ToolResult, forbidden: str) -> str:
        """The end of what it printed, what was forbidden, and what a yes means."""
        unread = any(rule.tool == "Read" for rule in self._approvals.policy.deny)
        lines = result.for_model.rstrip("\n").split("\n")
        kept = [line for line in lines if not line.startswith("[the sandbox forbids ")][-LINES:]
        shown = [f"| {line[:WIDTH]}{'…' if len(line) > WIDTH else ''}" for line in kept]
        partly = f"{PARTLY}{UNREAD if unread else ''}."
        return "\n".join([*shown, f"The sandbox forbids {forbidden}.", partly])

    async def _once_more(
        self,
        call_id: str,
        result: ToolResult,
        folder: Path | None,
        again: Callable[[], Awaitable[Action]],
    ) -> ToolResult:
        """Run it without the sandbox. Raises TurnStop when that can't be journaled or recorded."""
        self._context.cwd = folder
        self._context.outside.add(call_id)
        try:
            action = await again()
            if not self._may_ask(action):
                return _noted(
                    result, "a rule or the mode keeps it from running outside the sandbox"
                )
            self._approvals.journal.intent(call_id, "Bash", action.subject, action.changes)
            self._emit(CallStarted(call_id=call_id, name="Bash", preview=action.preview))
            return await action.commit()
        except ToolError as error:
            return _noted(result, f"the user let it run outside the sandbox, which failed: {error}")
        finally:
            self._context.outside.discard(call_id)


def whole(command: str) -> str:
    """A command that a header can't show, each line with a mark; "" for one that it can."""
    if "\n" not in command.strip() and len(command) <= SHORT:
        return ""
    return "".join(f"$ {line}\n" for line in command.strip().split("\n"))


def _noted(result: ToolResult, note: str) -> ToolResult:
    from glmcode.tools.bash import with_note

    return with_note(result, note)
