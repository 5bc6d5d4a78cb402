"""Rules as people write them: Tool or Tool(pattern), cut from flags and settings. Pure.

Bash(git diff *), Bash(npm run test:*), Edit(src/**), Read(./.env). What a pattern means is
decided in matching.py (commands) and paths.py (files). Must not judge anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

TOOLS = ("Read", "Write", "Edit", "Bash", "BashOutput", "KillShell", "Grep", "Glob", "TodoWrite")
FOREIGN = ("WebFetch", "WebSearch", "NotebookEdit", "MultiEdit", "Task", "Agent", "Skill", "LS")
COVERS = {"Edit": ("Edit", "Write"), "Read": ("Read", "Grep", "Glob")}


class RuleError(Exception):
    """A rule that does not parse; the text quotes it."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: the tool it names and the pattern for its subject ("" matches every subject)."""

    tool: str
    pattern: str
    text: str


def split_rules(value: str) -> list[str]:
    """Cut a flag's value at commas and white space outside parentheses."""
    parts, depth, start = [], 0, 0
    for index, char in enumerate(value):
        if char == "(":
            depth += 1
        elif char == ")":
            depth = max(0, depth - 1)
        elif depth == 0 and (char == "," or char.isspace()):
            parts.append(value[start:index])
            start = index + 1
    parts.append(value[start:])
    return [part.strip() for part in parts if part.strip()]


def parse_rule(text: str, own: Sequence[str] = ()) -> Rule:
    """Read `Tool` or `Tool(pattern)`. own: tools of the caller, whose rules have no pattern.

    Raises RuleError.
    """
    match = re.fullmatch(r"([A-Za-z_][\w-]*)(?:\((.*)\))?", text.strip(), re.DOTALL)
    if match is None:
        opened = text.count("(") > text.count(")")
        why = "its ( is not closed" if opened else "write Tool or Tool(pattern)"
        raise RuleError(f"the rule {text!r} does not parse: {why}")
    tool, pattern = match.group(1), match.group(2)
    if pattern is not None and not pattern.strip():
        raise RuleError(f"the rule {text!r} has an empty pattern: write {tool} alone for all")
    if tool in own:
        if pattern not in (None, "*"):
            raise RuleError(f"the rule {text!r} has a pattern: a rule for {tool} is for all of it")
    elif tool not in TOOLS and tool not in FOREIGN and not tool.startswith("mcp__"):
        import difflib

        near = difflib.get_close_matches(tool, (*TOOLS, *own), n=1, cutoff=0.4)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise RuleError(
            f"the rule {text!r} names no tool{hint} (tools: {', '.join((*TOOLS, *own))})"
        )
    return Rule(tool, "" if pattern in (None, "*") else (pattern or "").strip(), text)


def parse_rules(values: Iterable[str], own: Sequence[str] = ()) -> tuple[Rule, ...]:
    """All rules of several flag or file values. Raises RuleError."""
    return tuple(parse_rule(part, own) for value in values for part in split_rules(value))
