"""Permission: one pure function judges an action by mode and rules: deny, then ask, then allow.

Rules have the form Tool or Tool(pattern), as people know them: Bash(git diff *),
Bash(npm run test:*), Edit(src/**), Read(./.env). Deny wins over everything, also over
bypassPermissions. A command is matched as a whole and only when it is one simple command;
anything with shell operators is never covered by an allow rule with a pattern, while a deny
rule is tried on every part. (Parsing commands properly comes with part 3; until then doubt
means asking.) Must not ask anyone, nor touch the disk beyond resolving paths.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal, TypeAlias

from glmcode.base.config import Mode
from glmcode.core.tool import Action, Effect

Decision: TypeAlias = Literal["allow", "ask", "deny"]

TOOLS = ("Read", "Write", "Edit", "Bash", "BashOutput", "KillShell", "Grep", "Glob", "TodoWrite")
FOREIGN = ("WebFetch", "WebSearch", "NotebookEdit", "MultiEdit", "Task", "Agent", "Skill", "LS")
COVERS = {"Edit": ("Edit", "Write"), "Read": ("Read", "Grep", "Glob")}
_OPERATORS = re.compile(r"[;&|`<>\n\r()]|\$[({]")
_PARTS = re.compile(r"&&|\|\||[;&|\n\r()`{}]|\$\(")


class RuleError(Exception):
    """A rule that does not parse; the text quotes it."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: the tool it names and the pattern for its subject ("" matches every subject)."""

    tool: str
    pattern: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Everything that decides: the mode, the rules, and the folders an agent may work in."""

    mode: Mode = "default"
    allow: tuple[Rule, ...] = ()
    ask: tuple[Rule, ...] = ()
    deny: tuple[Rule, ...] = ()
    folders: tuple[Path, ...] = ()
    readable: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """The decision, why, and the rule that made it (None: the mode did)."""

    decision: Decision
    why: str
    rule: Rule | None = None


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


def parse_rule(text: str) -> Rule:
    """Read `Tool` or `Tool(pattern)`. Raises RuleError."""
    match = re.fullmatch(r"([A-Za-z_][\w-]*)(?:\((.*)\))?", text.strip(), re.DOTALL)
    if match is None:
        raise RuleError(f"the rule {text!r} does not parse: write Tool or Tool(pattern)")
    tool, pattern = match.group(1), match.group(2)
    if pattern is not None and not pattern.strip():
        raise RuleError(f"the rule {text!r} has an empty pattern: write {tool} alone for all")
    if tool not in TOOLS and tool not in FOREIGN and not tool.startswith("mcp__"):
        import difflib

        near = difflib.get_close_matches(tool, TOOLS, n=1, cutoff=0.4)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise RuleError(f"the rule {text!r} names no tool{hint} (tools: {', '.join(TOOLS)})")
    return Rule(tool, "" if pattern in (None, "*") else (pattern or "").strip(), text)


def parse_rules(values: Iterable[str]) -> tuple[Rule, ...]:
    """All rules of several flag or file values. Raises RuleError."""
    return tuple(parse_rule(part) for value in values for part in split_rules(value))


def decide(policy: Policy, tool: str, action: Action) -> Judgement:
    """Judge one action: deny, ask, allow, then what the mode says about the rest."""
    for rule in policy.deny:
        if _matches(rule, tool, action, policy, loose=True):
            return Judgement(decision="deny", why=f"the rule {rule.text} denies it", rule=rule)
    if policy.mode == "bypassPermissions":
        return Judgement(decision="allow", why="everything is allowed")
    if policy.mode == "plan" and action.effect is not Effect.READ:
        why = "plan mode: nothing may be changed or run; describe what you would do instead"
        return Judgement(decision="deny", why=why)
    for rule in policy.ask:
        if _matches(rule, tool, action, policy, loose=True):
            return _asked(policy, f"the rule {rule.text} asks", rule)
    for rule in policy.allow:
        if _matches(rule, tool, action, policy, loose=False):
            return Judgement(decision="allow", why=f"the rule {rule.text} allows it", rule=rule)
    return _by_mode(policy, action)


def _by_mode(policy: Policy, action: Action) -> Judgement:
    inside = all(_inside(Path(path), policy.folders) for path in action.paths)
    if action.effect is Effect.READ:
        if inside or all(
            _inside(Path(path), (*policy.folders, *policy.readable)) for path in action.paths
        ):
            return Judgement(decision="allow", why="reading in the workspace")
        return _asked(policy, "the path lies outside the workspace")
    if action.effect is Effect.WRITE:
        if policy.mode == "acceptEdits" and inside:
            return Judgement(decision="allow", why="edits are accepted")
        return _asked(policy, "it changes a file" if inside else "it writes outside the workspace")
    return _asked(policy, "it runs a command")


def _asked(policy: Policy, why: str, rule: Rule | None = None) -> Judgement:
    if policy.mode == "dontAsk":
        why = f"{why}, and nobody is to be asked"
    return Judgement(decision="ask", why=why, rule=rule)


def _matches(rule: Rule, tool: str, action: Action, policy: Policy, *, loose: bool) -> bool:
    if tool not in COVERS.get(rule.tool, (rule.tool,)):
        return False
    if not rule.pattern:
        return True
    if action.effect is Effect.EXECUTE:
        return _matches_command(rule.pattern, action.subject, loose=loose)
    return any(_matches_path(rule.pattern, path, policy) for path in action.paths)


def _matches_command(pattern: str, command: str, *, loose: bool) -> bool:
    command = command.strip()
    if loose:
        parts = [command, *(part.strip() for part in _PARTS.split(command))]
        return any(_command_pattern(pattern).fullmatch(part) for part in parts if part)
    if command == pattern:
        return True
    if _OPERATORS.search(command):
        return False
    return _command_pattern(pattern).fullmatch(command) is not None


@lru_cache(maxsize=256)
def _command_pattern(pattern: str) -> re.Pattern[str]:
    if pattern.endswith(":*"):
        return re.compile(re.escape(pattern[:-2]) + r"(?:\s.*)?", re.DOTALL)
    if pattern.endswith(" *"):
        return re.compile(_starred(pattern[:-2]) + r"(?:\s.*)?", re.DOTALL)
    return re.compile(_starred(pattern), re.DOTALL)


def _starred(pattern: str) -> str:
    return ".*".join(re.escape(part) for part in pattern.split("*"))


def _matches_path(pattern: str, path: str, policy: Policy) -> bool:
    if pattern.startswith("//"):
        return _path_pattern(pattern[1:]).fullmatch(path) is not None
    if pattern.startswith("~"):
        return _path_pattern(str(Path(pattern).expanduser())).fullmatch(path) is not None
    if pattern.startswith("/") and _path_pattern(pattern).fullmatch(path):
        return True
    relative = pattern.removeprefix("./").lstrip("/")
    for folder in policy.folders:
        if _inside(Path(path), (folder,)):
            inside = Path(path).relative_to(folder).as_posix()
            anywhere = "/" not in pattern and _path_pattern(f"**/{relative}").fullmatch(inside)
            if anywhere or _path_pattern(relative).fullmatch(inside):
                return True
    return False


@lru_cache(maxsize=256)
def _path_pattern(pattern: str) -> re.Pattern[str]:
    """`**` crosses folders, `*` and `?` do not; a folder's pattern covers what is below it."""
    out = ""
    for part in re.split(r"(\*\*/|\*\*|\*|\?)", pattern):
        out += {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}.get(part, re.escape(part))
    return re.compile(out.rstrip("/") + r"(?:/.*)?", re.DOTALL)


def _inside(path: Path, folders: Iterable[Path]) -> bool:
    return any(path == folder or folder in path.parents for folder in folders)
