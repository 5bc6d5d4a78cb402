"""The rules that would let an action run: part by part, each as narrow as it can be.

A person who says "always" gets these, and nothing wider: two words and a `*` where the second word
is a subcommand, else the command as it stands. What no rule can allow gets none. Must not judge.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from glmcode.core.tool import Action, Effect
from glmcode.permissions.policy import Policy
from glmcode.permissions.rules import Rule, RuleError, parse_rule, parse_rules
from glmcode.permissions.verdicts import Verdicts
from glmcode.permissions.words import Word

MOST = 12
_SUBCOMMANDS = frozenset(
    (
        *("git", "gh", "npm", "pnpm", "yarn", "cargo", "go", "docker", "kubectl", "helm", "pip"),
        *("pip3", "uv", "poetry", "make", "terraform", "brew", "apt", "dotnet", "mvn", "gradle"),
        *("bundle", "rails", "composer", "systemctl", "aws", "gcloud", "az", "nix", "just"),
    )
)
_PLAIN = re.compile(r"[\w./:=@%+,-]+")


def proposed(name: str, subject: str) -> str:
    """The rule for an action of which only tool and subject are known."""
    kind = {"Edit": "Edit", "Write": "Edit", "Read": "Read", "Grep": "Read", "Glob": "Read"}.get(
        name
    )
    if kind is not None:
        if subject.startswith(".."):
            return ""
        return f"{kind}(/{subject})" if subject.startswith("/") else f"{kind}(./{subject})"
    if name != "Bash":
        return name
    words = subject.split()
    simple = all(_PLAIN.fullmatch(word) for word in words)
    if simple and len(words) > 1 and words[0] in _SUBCOMMANDS and not words[1].startswith("-"):
        return f"Bash({words[0]} {words[1]} *)"
    return _exact(subject)


def proposed_parts(policy: Policy, action: Action) -> tuple[tuple[str, str], ...]:
    """Each part of a command that nothing allows yet, with the rule that would ("": none can)."""
    if action.effect is not Effect.EXECUTE:
        return ()
    folders = tuple(Path(path) for path in action.paths) or policy.folders[:1]
    judged = Verdicts(policy, action.subject, folders, os.path.expanduser("~"))  # noqa: PTH111
    if judged.found.doubts:
        return ((action.subject.strip(), _exact(action.subject.strip())),)
    found = [
        (text, _for_words(words) if words else _for_file(policy, path))
        for text, words, path in judged.missing()
    ]
    return tuple(dict.fromkeys(found))[:MOST]


def rules_of(text: str) -> tuple[Rule, ...]:
    """The rules of a person's answer. Raises RuleError."""
    try:
        return parse_rules([text])
    except RuleError:
        return (parse_rule(text),)


def _exact(command: str) -> str:
    """A rule for this very command line; none where parentheses would not come out even."""
    even = command.count("(") == command.count(")")
    rule = f"Bash({command})"
    try:
        return rule if even and len(parse_rules([rule])) == 1 and "*" not in command else ""
    except RuleError:
        return ""


def _for_words(words: Sequence[Word]) -> str:
    if not all(word.known for word in words):
        head = [word.text for word in words[:2] if word.known]
        narrow = len(head) == 2 and head[0] in _SUBCOMMANDS and _PLAIN.fullmatch(head[1])
        return f"Bash({head[0]} {head[1]} *)" if narrow and not head[1].startswith("-") else ""
    texts = [word.text for word in words]
    plain = all(_PLAIN.fullmatch(text) for text in texts[:2])
    if len(texts) > 1 and texts[0] in _SUBCOMMANDS and plain and not texts[1].startswith("-"):
        return f"Bash({texts[0]} {texts[1]} *)" if len(texts) > 2 else f"Bash({' '.join(texts)})"
    quoted = " ".join(_quoted(text) for text in texts)
    return _exact(quoted)


def _quoted(text: str) -> str:
    if _PLAIN.fullmatch(text):
        return text
    return '"' + re.sub(r'(["\\])', r"\\\1", text) + '"'


def _for_file(policy: Policy, path: str) -> str:
    for folder in policy.folders:
        if path.startswith(f"{folder}/"):
            return f"Edit(./{path[len(str(folder)) + 1 :]})"
    return f"Edit(/{path})" if path else ""
