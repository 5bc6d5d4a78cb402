"""The one judgement: deny, then ask, then allow, then what the mode says about the rest.

Deny wins over everything, also over bypassPermissions. Commands are judged part by part
(verdicts.py), files by name and by target (paths.py). Doubt means asking. Never raises, asks
nobody, changes nothing; looks at the disk to follow links.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from glmcode.core.tool import Action, Effect
from glmcode.permissions.parts import Way
from glmcode.permissions.paths import Files, Spot
from glmcode.permissions.policy import Judgement, Policy
from glmcode.permissions.rules import COVERS, TOOLS, Rule

PLAN = "plan mode: nothing may be changed or run; describe what you would do instead"


FAULTS = (ValueError, LookupError, OSError, RecursionError, TypeError, AttributeError, ImportError)
"""What a command nobody thought of may lead to: it is asked about."""


def decide(policy: Policy, tool: str, action: Action) -> Judgement:
    """Judge one action."""
    if tool not in TOOLS:
        return _own(policy, tool, action)
    home = os.path.expanduser("~")  # noqa: PTH111 (never raises)
    if action.effect is Effect.EXECUTE:
        return _command(policy, tool, action, home)
    files = Files(policy, home)
    spots = [
        Spot(os.path.normpath(given), real)
        for given, real in zip(action.given or action.paths, action.paths, strict=False)
    ]
    way: Way = "read" if action.effect is Effect.READ else "write"
    if rule := _named(policy.deny, way, tool, spots, files):
        return Judgement(decision="deny", why=f"the rule {rule.text} denies it", rule=rule)
    looks = way == "read"
    if policy.mode == "bypassPermissions":
        return Judgement(decision="allow", why="everything is allowed", looks=looks)
    if policy.mode == "plan" and not looks:
        return Judgement(decision="deny", why=PLAN)
    if rule := _named(policy.ask, way, tool, spots, files):
        return asked(policy, f"the rule {rule.text} asks", rule)
    for one in spots:
        if why := files.protected(way, one):
            return asked(policy, f"{one.named}: {why}")
    allowed = [_allowing(policy, way, tool, one, files) for one in spots]
    whole = _whole(policy.allow, tool)
    if whole is not None and not all(files.within(way, one) for one in spots):
        whole = None
    if whole is not None or (allowed and all(allowed)):
        by = whole or allowed[0]
        why = f"the rule {by.text} allows it" if by else ""
        return Judgement(decision="allow", why=why, rule=by, looks=looks)
    return _by_mode(policy, way, [s for s, by in zip(spots, allowed, strict=True) if not by], files)


def _own(policy: Policy, tool: str, action: Action) -> Judgement:
    """Judge a tool of the caller: its subject is no command and no path, so rules are for all of
    it. It runs outside of any sandbox, so none takes the place of a question."""
    if rule := _whole(policy.deny, tool):
        return Judgement(decision="deny", why=f"the rule {rule.text} denies it", rule=rule)
    looks = action.effect is Effect.READ
    if policy.mode == "bypassPermissions":
        return Judgement(decision="allow", why="everything is allowed", looks=looks)
    if policy.mode == "plan" and not looks:
        return Judgement(decision="deny", why=PLAN)
    if rule := _whole(policy.ask, tool):
        return replace(asked(policy, f"the rule {rule.text} asks", rule), firm=True)
    if rule := _whole(policy.allow, tool):
        return Judgement(decision="allow", why=f"the rule {rule.text} allows it", rule=rule)
    if looks:
        return Judgement(decision="allow", why="it changes nothing", looks=True)
    return replace(asked(policy, f"{tool} is a tool of the caller"), firm=True)


def _named(
    rules: Iterable[Rule], way: Way, tool: str, spots: Iterable[Spot], files: Files
) -> Rule | None:
    rules = tuple(rules)
    if whole := _whole(rules, tool):
        return whole
    for one in spots:
        if rule := files.hit(rules, way, tool, one):
            return rule
    return None


def _whole(rules: Iterable[Rule], tool: str) -> Rule | None:
    """A rule for all uses of a tool."""
    for rule in rules:
        if not rule.pattern and tool in COVERS.get(rule.tool, (rule.tool,)):
            return rule
    return None


def _allowing(policy: Policy, way: Way, tool: str, one: Spot, files: Files) -> Rule | None:
    return files.allowed(way, tool, one)


def _by_mode(policy: Policy, way: Way, spots: list[Spot], files: Files) -> Judgement:
    within = all(files.within(way, one) for one in spots)
    if way == "read":
        if within:
            return Judgement(decision="allow", why="reading in the workspace", looks=True)
        return asked(policy, "the path lies outside the workspace")
    if policy.mode == "acceptEdits" and within:
        return Judgement(decision="allow", why="edits are accepted")
    return asked(policy, "it changes a file" if within else "it writes outside the workspace")


def asked(policy: Policy, why: str, rule: Rule | None = None) -> Judgement:
    """The judgement that a person must answer, with what dontAsk says about that."""
    if policy.mode == "dontAsk":
        why = f"{why}, and nobody is to be asked"
    return Judgement(decision="ask", why=why, rule=rule)


def _command(policy: Policy, tool: str, action: Action, home: str) -> Judgement:
    if whole := _whole(policy.deny, tool):
        return Judgement(decision="deny", why=f"the rule {whole.text} denies it", rule=whole)
    needless = not any(rule.tool in ("Bash", "Edit", "Read") for rule in policy.deny)
    if policy.mode == "bypassPermissions" and needless:
        return Judgement(decision="allow", why="everything is allowed")
    try:
        return _parts(policy, tool, action, home)
    except FAULTS as fault:
        return asked(policy, f"it can't be judged ({type(fault).__name__})")


def _parts(policy: Policy, tool: str, action: Action, home: str) -> Judgement:
    """Judge what a command consists of."""
    from glmcode.permissions.verdicts import Verdicts

    folders = tuple(Path(path) for path in action.paths) or policy.folders[:1]
    judged = Verdicts(policy, action.subject, folders, home)
    if denied := judged.named(policy.deny):
        rule, part = denied
        where = f" (`{part}`)" if part != action.subject.strip() else ""
        why = f"the rule {rule.text} denies it{where}"
        if judged.through and rule.tool == "Read":
            why += f": {judged.through} is among what it goes through; Grep leaves such files out"
        return Judgement(decision="deny", why=why, rule=rule)
    if policy.mode == "bypassPermissions":
        return Judgement(decision="allow", why="everything is allowed")
    if policy.mode == "plan":
        return _looking_only(policy, judged)
    if whole := _whole(policy.ask, tool):
        return asked(policy, f"the rule {whole.text} asks", whole)
    if found := judged.named(policy.ask):
        return asked(policy, f"the rule {found[0].text} asks", found[0])
    return judged.judge()


def _looking_only(policy: Policy, judged: object) -> Judgement:
    """Plan mode: no rule can allow anything; only what looks by the table may run."""
    from glmcode.permissions.verdicts import Verdicts

    assert isinstance(judged, Verdicts)
    bare = judged.under(replace(policy, allow=()))
    verdict = bare.judge()
    if verdict.decision == "allow":
        return replace(verdict, looks=True)
    return Judgement(decision="deny", why=f"{PLAN} ({verdict.why})")
