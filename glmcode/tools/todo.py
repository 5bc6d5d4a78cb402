"""TodoWrite: the list of what is to do, kept in the session and shown to the person.

The whole list comes each time and takes the place of the one before. Must not touch the disk.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from glmcode.core.tool import Action, Effect, Preview, ToolError, ToolResult
from glmcode.tools.context import Call, ToolContext

STATES = ("pending", "in_progress", "completed")
_MARKS = {"pending": "[ ]", "in_progress": "[>]", "completed": "[x]"}


async def prepare(ctx: ToolContext, call: Call, *, todos: Sequence[Mapping[str, str]]) -> Action:
    """Check the list. Raises ToolError for one that cannot be kept."""
    items = [_item(number, todo) for number, todo in enumerate(todos, 1)]
    counts = Counter(item["status"] for item in items)
    if counts["in_progress"] > 1:
        raise ToolError(
            f"{counts['in_progress']} items are in_progress; at most one may be: set the others "
            "to pending and send the whole list again"
        )
    body = "\n".join(f"{_MARKS[item['status']]} {item['content']}" for item in items)
    preview = Preview(kind="text", title="Todo list", body=body or "(empty)")

    async def commit() -> ToolResult:
        ctx.todos[:] = items
        return ToolResult(for_model=_said(items, counts), for_user=preview)

    return Action(effect=Effect.READ, subject="todos", preview=preview, commit=commit)


def _item(number: int, todo: Mapping[str, str]) -> dict[str, str]:
    content = str(todo["content"]).strip()
    status = todo["status"]
    if not content:
        raise ToolError(f"item {number} is empty; say what is to do")
    if status not in STATES:
        raise ToolError(f"item {number} has the status {status!r}; use one of {', '.join(STATES)}")
    return {"content": content, "status": status}


def _said(items: Sequence[Mapping[str, str]], counts: Counter[str]) -> str:
    if not items:
        return "todo list cleared"
    parts = [f"{counts[state]} {state}" for state in reversed(STATES) if counts[state]]
    return f"todo list of {len(items)}: {', '.join(parts)}"
