"""Where rules meet a conversation: its first policy, the one judgement, questions and grants.

Kept apart from the agent, which only asks. Must not ask a person or run anything.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from glmcode.agent_head import denial
from glmcode.agent_options import AgentOptions
from glmcode.base.paths import config_folder, state_folder
from glmcode.core.events import ApprovalAsked
from glmcode.core.messages import ToolCall
from glmcode.core.tool import Action, Effect
from glmcode.engine.paths import short_root
from glmcode.permissions import Judgement, Policy, Rule, decide
from glmcode.sessions import Journal
from glmcode.tools.context import ToolContext


def first_policy(options: AgentOptions, context: ToolContext) -> Policy:
    """The rules that a conversation begins with; searches leave out what they keep hidden."""
    temporary = (context.sandbox.planned,) if context.sandbox is not None else ()
    policy = Policy(
        mode=options.mode,
        allow=options.allow,
        ask=options.ask,
        deny=options.deny,
        folders=(context.workspace, *options.extra_folders),
        readable=(context.spill_folder, *temporary),
        protected=(state_folder(), config_folder(), short_root()),
        searched=_searched(context),
    )
    if any(rule.tool == "Read" for rule in options.deny):
        context.hidden = lambda path: bool(denial(policy, path))
    return policy


def _searched(context: ToolContext) -> tuple[Path, ...]:
    """The folders of a command's PATH that lie where the agent may write."""
    inside = (context.workspace, *context.extra_folders)
    found = []
    for entry in context.environment.get("PATH", os.defpath).split(os.pathsep):
        folder = Path(os.path.realpath(context.workspace / entry))
        if any(folder.is_relative_to(one) for one in inside):
            found.append(folder)
    return tuple(dict.fromkeys(found))


def judged(policy: Policy, name: str, action: Action) -> Judgement:
    """What the rules say; in plan mode only what looks passes, whatever a rule or a fault says."""
    judgement = decide(policy, name, action)
    if policy.mode == "plan" and not (judgement.looks or action.effect is Effect.READ):
        return replace(judgement, decision="deny")
    return judgement


def only_looks(policy: Policy, action: Action) -> bool:
    """Whether every part of a command is known to read only: then it needs no checkpoint."""
    return decide(replace(policy, mode="plan"), "Bash", action).looks


def granted(policy: Policy, rules: Iterable[Rule], journal: Journal | None) -> Policy:
    """The policy with what a person allowed from now on, which the journal remembers, if given."""
    for rule in rules:
        policy = replace(policy, allow=(*policy.allow, rule))
        if journal is not None:
            journal.write("grant", {"rule": rule.text})
    return policy


def question(policy: Policy, call: ToolCall, action: Action) -> ApprovalAsked:
    """What a person is asked: beside a command its parts, and the rules that would allow it."""
    from glmcode.permissions.propose import offered

    offer = offered(policy, call.name, action)
    return ApprovalAsked(
        call_id=call.id,
        name=call.name,
        subject=action.subject,
        preview=action.preview,
        parts=offer.parts,
        rules=offer.rules,
        why=offer.why,
        editable=action.draft is not None,
    )
