"""Expanding mentions: what the person named with `@` is read and follows in the same message.

A file is read by the Read tool itself, under the same rules, so a mention looks like a Read
result, is bounded like one and counts as read. The person typed it, but what the rules deny or
would ask about (a path outside the workspace) is named and not read. Must not raise for anything
that a mention can be.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glmcode.agent_guide import Room
from glmcode.agent_head import reading
from glmcode.context.mentions import (
    Mention,
    find_mentions,
    folder_listing,
    framed,
    not_read,
    resolved,
)
from glmcode.core.tool import Tool, ToolError
from glmcode.permissions import Judgement, Policy, decide

SHARE = 2
"""All mentions of a message together may hold as much as this many tool results."""

_LEAST = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Expanded:
    """content: what follows the person's text, "" for nothing. notices: a line per mention."""

    content: str = ""
    notices: tuple[str, ...] = ()


async def expand(text: str, workspace: Path, read: Tool, policy: Policy, room: Room) -> Expanded:
    """Read what a text mentions. read: the Read tool."""
    mentions = await asyncio.to_thread(find_mentions, text, workspace)
    parts: list[str] = []
    notices: list[str] = []
    left = SHARE * room()
    for mention in mentions.found:
        try:
            if left < _LEAST:
                raise ToolError("the mentions before it fill the message; use Read")
            with room.aside(max(0, room() - left)):
                content, told = await _content(mention, workspace, read, policy)
            parts.append(framed(mention, content))
            notices.append(f"{mention.shown()}: {told}")
        except ToolError as error:
            line = not_read(mention, str(error))
            parts.append(f"[{line}]")
            notices.append(line)
        left -= len(parts[-1]) + 2
    if mentions.left_out:
        line = f"{mentions.left_out} more mentions were not read: too many in one message"
        parts.append(f"[{line}]")
        notices.append(line)
    return Expanded(content="\n\n".join(parts), notices=tuple(notices))


async def _content(
    mention: Mention, workspace: Path, read: Tool, policy: Policy
) -> tuple[str, str]:
    """What the model reads and what the person is told. Raises ToolError."""
    if mention.is_folder:
        return await _listed(mention, workspace, policy)
    arguments: dict[str, Any] = {"file_path": mention.name}
    if mention.first is not None and mention.last is not None:
        arguments |= {"offset": mention.first, "limit": mention.last - mention.first + 1}
    action = await read.prepare("mention", arguments, lambda text: None)
    _permit(decide(policy, "Read", action))
    result = await action.commit()
    return result.for_model, f"read, {result.for_user.body}" if result.for_user else "read"


async def _listed(mention: Mention, workspace: Path, policy: Policy) -> tuple[str, str]:
    folder = await asyncio.to_thread(_real, mention.name, workspace)
    _permit(decide(policy, "Glob", reading(folder)))
    try:
        listing = await asyncio.to_thread(folder_listing, folder, workspace)
    except OSError as error:
        raise ToolError(f"it cannot be listed: {error.strerror}") from error
    return listing, f"listed, {listing.rpartition('[')[2].rstrip(']')}"


def _real(name: str, workspace: Path) -> Path:
    return (resolved(name, workspace) or workspace).resolve()


def _permit(judgement: Judgement) -> None:
    match judgement.decision:
        case "allow":
            return
        case "deny":
            raise ToolError(judgement.why)
        case "ask":
            raise ToolError(
                f"{judgement.why}; allow it with --add-dir or a Read rule, or let the model ask"
            )
