"""/permissions: what the model may do in this session, and whether the sandbox asks for it.

Shows the mode, the sandbox and the rules as they stand; changes the one answer that was given once
for all. Rules are given by flags, settings and answers. Must not judge.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from glmcode.agent import Agent
from glmcode.agent_unasked import decide
from glmcode.base.answers import AUTO_ALLOW
from glmcode.permissions import Rule
from glmcode.repl.modes import MEANS
from glmcode.repl.paint import Spans
from glmcode.repl.slash import argument
from glmcode.sandbox import Sandbox, find_backend

WORDS = {"on": True, "yes": True, "true": True, "off": False, "no": False, "false": False}
USAGE = f"/permissions {AUTO_ALLOW} on (or off) changes that answer"

SETTING = f"the setting permissions.{AUTO_ALLOW} goes before this in the next session"


class Host(Protocol):
    """The conversation, as far as this needs it."""

    def say(self, spans: Spans) -> None:
        """Print a line of ours."""

    def rows(self, rows: Sequence[tuple[str, str]]) -> None:
        """Print labels and values."""


def permissions(host: Host, agent: Agent, text: str) -> None:
    """Do what `/permissions` or `/permissions sandbox_auto_allow on` asks."""
    match argument(text).split():
        case []:
            host.rows(permission_rows(agent))
        case [name, word] if name == AUTO_ALLOW and word.lower() in WORDS:
            told = decide(agent.context, WORDS[word.lower()])
            host.say([("good", f"{AUTO_ALLOW}: {_unasked(agent)}")])
            if told:
                host.say([("warning", told)])
            elif agent.options.commands.auto_allow is not None:
                host.say([("dim", SETTING)])
        case _:
            host.say([("warning", USAGE)])


def permission_rows(agent: Agent) -> list[tuple[str, str]]:
    """What /permissions says, as (label, value) rows."""
    policy = agent.policy
    return [
        ("mode", f"{policy.mode}: {MEANS[policy.mode]}"),
        ("sandbox", _confined(agent)),
        (AUTO_ALLOW, _unasked(agent)),
        ("allow", _rules(policy.allow)),
        ("ask", _rules(policy.ask)),
        ("deny", _rules(policy.deny)),
        ("to change", USAGE),
    ]


def _confined(agent: Agent) -> str:
    sandbox = agent.context.sandbox
    assert isinstance(sandbox, Sandbox)
    if sandbox.mode == "danger-full-access":
        return "danger-full-access: commands run with all your rights"
    backend = find_backend()
    if backend.mechanism == "none":
        return f"none works here ({backend.why}): commands run with all your rights"
    network = "with" if sandbox.network else "no"
    return f"{sandbox.mode} through {backend.mechanism}, {network} network"


def _unasked(agent: Agent) -> str:
    sandbox = agent.context.sandbox
    assert isinstance(sandbox, Sandbox)
    if sandbox.unasked is False:
        return "off: commands are asked about as rules and mode say"
    if not sandbox.complete:
        stands = "on" if sandbox.unasked else "not decided"
        return f"{stands}, but no sandbox keeps everything inside now: commands are asked about"
    if sandbox.unasked is None:
        return "not decided: you are asked when it matters first"
    return "on: commands that stay inside the sandbox run unasked, unless a rule speaks"


def _rules(rules: Sequence[Rule]) -> str:
    return ", ".join(dict.fromkeys(rule.text for rule in rules)) or "-"
