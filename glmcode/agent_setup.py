"""From options to the parts of an agent: what tools may know, the first rules, the head's text.

Pure joining, kept apart from the conversation itself. Must not open sessions or engines.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

from glmcode.agent_options import AgentOptions
from glmcode.base.data import prompt_text
from glmcode.base.paths import cache_folder
from glmcode.core.events import ApprovalAsked
from glmcode.permissions import Policy
from glmcode.tools import warm as warm_tools
from glmcode.tools.context import ToolContext

if TYPE_CHECKING:
    from glmcode.context.parsing import Parsing


def tool_context(options: AgentOptions, limit: Callable[[], int]) -> ToolContext:
    """What tools may know; limit: characters that a result may hold now."""
    environment = dict(os.environ)
    if options.engine.api_key_env:
        environment.pop(options.engine.api_key_env, None)
    return ToolContext(
        workspace=options.workspace,
        spill_folder=cache_folder() / "output",
        environment=environment,
        result_limit=limit,
        extra_folders=options.extra_folders,
        outline=lambda path, text, room: _parsing().outline(path, text, room),
        syntax=lambda path, before, after: _parsing().new_errors(path, before, after),
    )


@lru_cache(maxsize=1)
def _parsing() -> Parsing:
    """The parser of this process: one worker for all its sessions."""
    from glmcode.context.parsing import Parsing

    return Parsing()


def warm() -> None:
    """Have ready what the first calls need; run in a thread while the first answer is awaited."""
    warm_tools()
    _parsing().warm()


def first_policy(options: AgentOptions, context: ToolContext) -> Policy:
    """The rules that a conversation begins with."""
    return Policy(
        mode=options.mode,
        allow=options.allow,
        ask=options.ask,
        deny=options.deny,
        folders=(context.workspace, *options.extra_folders),
        readable=(context.spill_folder,),
    )


def system_text(options: AgentOptions) -> str:
    """The system message."""
    text = options.system_prompt if options.system_prompt is not None else prompt_text("system.md")
    return f"{text}\n\n{options.append_system_prompt}" if options.append_system_prompt else text


def proposed_rule(asked: ApprovalAsked) -> str:
    """The rule that "always" stands for: this kind of command, or edits in the workspace."""
    if asked.name in ("Edit", "Write"):
        outside = asked.subject.startswith(("/", ".."))
        return f"Edit(/{asked.subject})" if outside else "Edit(**)"
    if asked.name != "Bash":
        return asked.name
    words = asked.subject.split()
    plain = asked.subject.isascii() and not set(asked.subject) & set(";&|`<>()$\n\"'\\*")
    return (
        f"Bash({' '.join(words[:2])} *)" if plain and len(words) > 2 else f"Bash({asked.subject})"
    )
