"""From parsed arguments to the options of a conversation: rules, and the session gone on with.

For the command line and for callers from Python, so that one setting means one thing. Must not
reach an engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from glmcode.agent_options import AgentOptions, CommandOptions
from glmcode.cli_options import Arguments
from glmcode.core.tool import Tool
from glmcode.permissions import Rule, RuleError, parse_rules


def agent_options(arguments: Arguments, tools: Sequence[Tool] = ()) -> AgentOptions:
    """Rules are parsed here, before anything starts. tools: the caller's own. Raises RuleError."""
    own = tuple(tool.spec.name for tool in tools)
    return AgentOptions(
        workspace=arguments.workspace,
        trusted=arguments.trusted,
        engine=arguments.engine,
        lane=arguments.lane,
        mode=arguments.mode,
        allow=_rules(arguments.allow, "--allowed-tools or permissions.allow", own),
        ask=_rules(arguments.ask, "permissions.ask", own),
        deny=_rules(arguments.deny, "--disallowed-tools or permissions.deny", own),
        extra_folders=arguments.add_dirs,
        commands=CommandOptions(
            sandbox=arguments.sandbox,
            caches=arguments.caches,
            network=arguments.permissions.sandbox_network,
            auto_allow=False if arguments.print_mode else arguments.permissions.sandbox_auto_allow,
            environment=arguments.permissions.environment,
            engine=arguments.permissions.sandbox_engine,
        ),
        system_prompt=arguments.system_prompt,
        append_system_prompt=arguments.append_system_prompt,
        max_turns=arguments.max_turns,
        max_output_tokens=arguments.max_output_tokens,
        context=arguments.context,
        result_chars=arguments.result_chars,
        checkpoints=arguments.checkpoints,
        own_tools=tuple(tools),
    )


def going_on(options: AgentOptions, arguments: Arguments, *, terminal: bool) -> AgentOptions:
    """With the stored session that is asked for, if any. Raises UsageError, CannotResume."""
    if arguments.resume is None:
        return options
    from glmcode.resuming import stored_session

    stored = stored_session(arguments.resume, arguments.workspace, terminal=terminal)
    return replace(options, stored=stored)


def _rules(values: Sequence[str], where: str, own: Sequence[str]) -> tuple[Rule, ...]:
    try:
        return parse_rules(values, own)
    except RuleError as error:
        raise RuleError(f"{error}; it stands in {where}") from error
