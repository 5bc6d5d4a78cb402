"""A proposal that a person changed before saying yes: proposed anew, judged anew, and told.

What the person saved takes the place of the command, or of the file's new content, and the same
call is prepared with it through the same wrapped tools; nothing the model wrote is rewritten. Its
result says what the person changed, in full where there is room, else the file counts as one that
the model has not seen. Must not decide permission, and must not know an editor.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from glmcode.base.textfile import BinaryFile, decode
from glmcode.core.messages import ToolCall
from glmcode.core.tool import Action, Effect, Tool, ToolError, ToolResult
from glmcode.tools.context import ToolContext
from glmcode.tools.diff import diff_texts

MOST_TOLD = 6_000
"""Characters of a change that the model is told, where a result may hold that much."""
RAN = "[The user changed your command before it ran. This ran instead:\n{command}\n]\n"
WRITTEN = (
    "\n[The user edited what you proposed before it was written: what stands in the file is the "
    "user's version. From your proposal to it:\n{diff}\n]"
)
NEWLINE = "\n"
READ_IT = "[more was changed: Read the file before you go on with it]"


class EditFault(Exception):
    """Why what a person saved can't take the proposal's place; one clear sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What a person may edit. name: for the editor's file; data: its bytes."""

    name: str
    data: bytes


def draft_of(action: Action) -> Draft | None:
    """The proposal as a file to edit; None: it has none."""
    if action.draft is None:
        return None
    if action.effect is Effect.EXECUTE:
        return Draft(name="command.sh", data=action.draft)
    return Draft(name=Path(action.subject).name or "file", data=action.draft)


async def edited(
    context: ToolContext,
    tool: Tool,
    call: ToolCall,
    data: bytes,
    output: Callable[[str], None],
    denial: Callable[[Action], str],
) -> Action:
    """The action that comes of what a person made of one. Raises EditFault: it stays as it was.

    data: as the editor left it; denial: why rules forbid an action, "" when they don't.
    """
    before = context.edited.get(call.id)
    context.edited[call.id] = data
    try:
        fresh = await tool.prepare(call.id, call.arguments, output)
        if fresh.draft is None:
            raise EditFault("as you edited it, nothing would be changed")
        if why := denial(fresh):
            raise EditFault(f"as you edited it, it is not allowed: {why}")
        return fresh
    except (EditFault, ToolError) as error:
        del context.edited[call.id]
        if before is not None:
            context.edited[call.id] = before
        raise EditFault(str(error)) from error


async def broken(context: ToolContext, proposed: Action, fresh: Action) -> str:
    """The syntax error that a person put into a file, in words; "" when there is none."""
    if proposed.draft is None or fresh.draft is None or fresh.effect is not Effect.WRITE:
        return ""
    find = context.syntax(Path(fresh.paths[0]), proposed.draft, fresh.draft)
    found = await asyncio.to_thread(find)
    if not found:
        return ""
    line, column, missing = found[0]
    what = f' (missing "{missing}")' if missing else ""
    return f"as you edited it, there is a syntax error at line {line}, column {column}{what}"


def told(context: ToolContext, proposed: Action, fresh: Action) -> Action:
    """The edited action, whose result tells the model what is not as it had proposed."""
    return replace(fresh, commit=lambda: _commit(context, proposed, fresh))


async def _commit(context: ToolContext, proposed: Action, fresh: Action) -> ToolResult:
    """Raises ToolError, with the same words."""
    before, after, whole = await asyncio.to_thread(_note, context, proposed, fresh)
    try:
        result = await fresh.commit()
    except ToolError as error:
        raise type(error)(f"{error}{after or f'. {before.strip()}'}") from error
    if not whole:
        for path in fresh.paths:
            context.seen.pop(path, None)
    return replace(result, for_model=f"{before}{result.for_model}{after}")


def _note(context: ToolContext, proposed: Action, fresh: Action) -> tuple[str, str, bool]:
    """What stands before the result and after it, and whether it says all."""
    if fresh.effect is Effect.EXECUTE:
        return RAN.format(command=fresh.subject), "", True
    told = diff_texts(_text(proposed), _text(fresh))
    diff = told.body
    room = min(MOST_TOLD, context.result_limit() // 2)
    whole = told.whole and len(diff) <= room
    if not whole:
        diff = f"{diff[:room].rpartition(NEWLINE)[0]}{NEWLINE}{READ_IT}"
    return "", WRITTEN.format(diff=diff), whole


def _text(action: Action) -> str:
    try:
        return decode(action.draft or b"").text
    except BinaryFile:
        return ""
