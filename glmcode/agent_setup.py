"""From options to the parts of an agent: what tools may know, the first rules, the head's text.

Pure joining, kept apart from the conversation itself. Must not open sessions or engines.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from glmcode.agent_options import AgentOptions
from glmcode.base.answers import AUTO_ALLOW, CHOICES, answers
from glmcode.base.config import sandbox_for
from glmcode.base.data import prompt_text
from glmcode.base.nested import CLOSED, way_out
from glmcode.base.paths import cache_folder, config_folder, state_folder
from glmcode.base.settings import Mode
from glmcode.core.events import Notice
from glmcode.core.model import Emit
from glmcode.core.tool import Action, Effect
from glmcode.engine.lane import PARENT
from glmcode.engine.paths import short_root
from glmcode.permissions import kept_in_home
from glmcode.permissions import pieces as rule_pieces
from glmcode.sandbox import Sandbox, find_backend, withheld
from glmcode.tools import pieces as tool_pieces
from glmcode.tools.context import ToolContext
from glmcode.tools.spills import prune

if TYPE_CHECKING:
    from glmcode.context.parsing import Parsing


def tool_context(options: AgentOptions, limit: Callable[[], int], emit: Emit) -> ToolContext:
    """What tools may know; limit: characters that a result may hold now."""
    own = (options.engine.api_key_env,) if options.engine.api_key_env else ()
    secret = withheld(os.environ, options.commands.environment, own)
    environment = {name: value for name, value in os.environ.items() if name not in secret}
    if options.lane.run:
        environment[PARENT] = options.lane.chain()
    return ToolContext(
        workspace=options.workspace,
        spill_folder=cache_folder() / "output",
        environment=environment,
        result_limit=limit,
        extra_folders=options.extra_folders,
        sandbox=Sandbox(
            sandbox_for(options.commands.sandbox, options.mode),
            options.workspace,
            folders=options.extra_folders,
            caches=options.commands.caches,
            hidden=(state_folder(), config_folder(), cache_folder(), short_root()),
            unread=tuple(rule.pattern for rule in options.deny if rule.tool == "Read"),
            kept=kept_in_home(Path(os.path.expanduser("~"))),  # noqa: PTH111 (it never raises)
            aside=state_folder() / "aside",
            network=options.commands.network,
            way=_way(options),
            around=bool(way_out(os.environ)),
            unasked=_unasked(options),
            withheld=secret,
            say=lambda text: emit(Notice(text=text)),
        ),
        outline=lambda path, text, room: _parsing().outline(path, text, room),
        syntax=lambda path, before, after: _parsing().new_errors(path, before, after),
    )


def _way(options: AgentOptions) -> Callable[[], Path | None]:
    """Where sandboxed commands may ask this run's engine: through the outer one's way inside of a
    sandbox, and nowhere where it was not wanted."""
    outer = way_out(os.environ)
    if not options.commands.engine or outer == CLOSED:
        return lambda: None
    if outer:
        return lambda: Path(outer)
    return options.lease.path if options.lease is not None else lambda: None


@lru_cache(maxsize=1)
def _parsing() -> Parsing:
    """The parser of this process: one worker for all its sessions."""
    from glmcode.context.parsing import Parsing

    return Parsing()


def _unasked(options: AgentOptions) -> bool | None:
    """What a setting says about confined commands, else what a person once answered."""
    given = options.commands.auto_allow
    return given if given is not None else answers(CHOICES).get(AUTO_ALLOW)


def runs_unasked(context: ToolContext, action: Action) -> bool:
    """Whether the sandbox takes the place of a question: wanted, complete, and a command."""
    sandbox = context.sandbox
    return (
        action.effect is Effect.EXECUTE
        and isinstance(sandbox, Sandbox)
        and bool(sandbox.unasked)
        and sandbox.complete
    )


def follow_mode(options: AgentOptions, context: ToolContext, mode: Mode) -> str:
    """Confine commands as a permission mode has it, unless a flag or a setting said how; one line
    about what that changed, or ""."""
    sandbox = context.sandbox
    assert isinstance(sandbox, Sandbox), "tool_context made it"
    before, sandbox.mode = sandbox.mode, sandbox_for(options.commands.sandbox, mode)
    if sandbox.mode == before:
        return ""
    if sandbox.mode == "danger-full-access":
        return "commands run outside the sandbox from now on, with all your rights"
    if sandbox.active:
        return f"commands run in the sandbox from now on ({sandbox.mode})"
    return ""  # that none works here is said when the first command comes


def pieces() -> list[Callable[[], object]]:
    """What the first calls need, to be got ready beforehand, in the order in which it is needed."""
    tidy = partial(prune, cache_folder() / "output")
    return [*tool_pieces(), find_backend, *rule_pieces(), lambda: _parsing().warm(), tidy]


def system_text(options: AgentOptions) -> str:
    """The system message."""
    text = options.system_prompt if options.system_prompt is not None else prompt_text("system.md")
    return f"{text}\n\n{options.append_system_prompt}" if options.append_system_prompt else text
