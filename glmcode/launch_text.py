"""A launch plan in words: the command line, its deviations from the model card, what is dropped.

Pure: makes text and values from a plan, prints and starts nothing.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

from glmcode.engine.launch import LaunchPlan
from glmcode.engine.profile import Profile


def launch_text(plan: LaunchPlan) -> str:
    """The command line by line, and its notes."""
    lines = [f"the command, for vLLM {plan.vllm}"]
    lines += [f"{name}={shlex.quote(value)} \\" for name, value in plan.env.items()]
    lines += [f"{shlex.quote(plan.python)} -m {plan.module} \\\n  {_one_a_line(plan)}", ""]
    return "\n".join([*lines, *launch_notes(plan)])


def _one_a_line(plan: LaunchPlan) -> str:
    words = [shlex.quote(word) for word in plan.arguments]
    return " ".join(f"\\\n  {w}" if w.startswith("--") and i else w for i, w in enumerate(words))


def launch_notes(plan: LaunchPlan) -> list[str]:
    """Every deviation with its reason, and what this vLLM does not have."""
    lines = ["deviations from the model card:"] if plan.deviations else []
    for item in plan.deviations:
        change = f"{item.card or '(nothing)'}  ->  {item.ours or '(nothing)'}"
        lines += [f"  {change}", f"      {item.why}"]
    if plan.dropped:
        lines += ["not passed:", *(f"  {text}" for text in plan.dropped)]
    return [*lines, *others_lines(plan.others)]


def others_lines(others: Sequence[str]) -> list[str]:
    """What has to run on other machines, and when."""
    if not others:
        return []
    if others[0].startswith("ray "):
        return [
            "on this machine first: ray start --head; on every other one:",
            *(f"  {command}" for command in others),
        ]
    return [
        "on the other machines, one each; this one is not ready before they run:",
        *(f"  {command}" for command in others),
        "  the model must lie at the same place there. They do not end with this engine: end them",
        "  after each stop or crash of it, and run them again for its next start.",
    ]


def launch_json(profile: Profile, plan: LaunchPlan) -> dict[str, Any]:
    """All of it, for a script."""
    return {
        "profile": profile.name,
        "vllm": plan.vllm,
        "assumed": plan.assumed,
        "command": plan.command(),
        "python": plan.python,
        "module": plan.module,
        "arguments": list(plan.arguments),
        "env": dict(plan.env),
        "deviations": [{"card": d.card, "ours": d.ours, "why": d.why} for d in plan.deviations],
        "dropped": list(plan.dropped),
        "other_machines": list(plan.others),
    }
