"""Permission: one pure function judges an action by mode and rules: deny, then ask, then allow.

rules (as people write them) -> policy; commands and syntax (a command line's parts), wrappers,
tables, programs, harm, searches, scripts and arithmetic (what parts do), outputs (what they
print), paths and trees (files), matching (patterns), denials, verdicts and decide (the judgement),
propose (the narrowest rule). docs/permissions.md tells what rules mean. This is a convenience;
the sandbox is the boundary. Must not ask anyone.
"""

from collections.abc import Callable
from importlib import import_module

from glmcode.permissions.decide import decide
from glmcode.permissions.paths import kept_in_home
from glmcode.permissions.policy import Decision, Judgement, Policy
from glmcode.permissions.rules import (
    COVERS,
    FOREIGN,
    TOOLS,
    Rule,
    RuleError,
    parse_rule,
    parse_rules,
    split_rules,
)

__all__ = [
    "COVERS",
    "FOREIGN",
    "TOOLS",
    "Decision",
    "Judgement",
    "Policy",
    "Rule",
    "RuleError",
    "decide",
    "kept_in_home",
    "parse_rule",
    "parse_rules",
    "pieces",
    "split_rules",
]


def pieces() -> list[Callable[[], object]]:
    """Imports that the first command needs, to be called in a thread beforehand."""
    return [
        lambda: import_module("glmcode.permissions.commands"),
        lambda: import_module("glmcode.permissions.verdicts"),
        lambda: import_module("glmcode.permissions.commands").warm(),
    ]
