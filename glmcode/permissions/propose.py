"""The rules that would let an action run: part by part, each as narrow as it can be.

A person who says "always" is offered these, and nothing wider: two words and a `*` where the
second word is a subcommand, else the command as it stands. Nothing is offered that was not tried:
with the rules added, the judgement must be to allow. Else there is a reason. Must not ask.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from glmcode.core.events import AskedPart
from glmcode.core.tool import Action, Effect
from glmcode.permissions.decide import FAULTS, decide
from glmcode.permissions.parts import Found
from glmcode.permissions.policy import Policy
from glmcode.permissions.rules import COVERS, TOOLS, Rule, RuleError, parse_rule, parse_rules
from glmcode.permissions.verdicts import Verdicts
from glmcode.permissions.words import Word

MOST = 12
"""More rules than this are no answer that a person could read."""
TOO_MANY = f"it would need more than {MOST} rules"
UNKNOWN = "a word of it is known only when it runs"
UNWRITABLE = "its text can't be written as a rule that covers nothing else"
_SUBCOMMANDS = frozenset(
    (
        *("git", "gh", "npm", "pnpm", "yarn", "cargo", "go", "docker", "kubectl", "helm", "pip"),
        *("pip3", "uv", "poetry", "make", "terraform", "brew", "apt", "dotnet", "mvn", "gradle"),
        *("bundle", "rails", "composer", "systemctl", "aws", "gcloud", "az", "nix", "just"),
    )
)
_PLAIN = re.compile(r"[\w./:=@%+,-]+")
_PATTERN = re.compile(r"([*?\[\]{}\\])")
_ESCAPED = r"\\\1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """rules: what would let the action run ((): nothing can, for the reason in `why`). parts: of
    a command."""

    rules: tuple[str, ...] = ()
    why: str = ""
    parts: tuple[AskedPart, ...] = ()


def offered(policy: Policy, tool: str, action: Action) -> Offer:
    """What "always" may stand for. Never raises."""
    try:
        if tool not in TOOLS:
            return Offer(rules=(tool,))
        if action.effect is Effect.EXECUTE:
            return _for_command(policy, tool, action)
        kind = next((rule for rule, tools in COVERS.items() if tool in tools), tool)
        paths = action.given or action.paths
        wanted = [_for_file(policy, kind, path) for path in paths] or [kind]
        return _tried(policy, tool, action, wanted, ())
    except FAULTS as fault:
        return Offer(why=f"it can't be judged ({type(fault).__name__})")


def fault_of(policy: Policy, tool: str, action: Action, text: str) -> str:
    """Why rules that a person wrote won't do for this action; "" when they allow it."""
    try:
        rules = rules_of(text, (tool,) if tool not in TOOLS else ())
    except RuleError as error:
        return str(error)
    if not rules:
        return "there is no rule: write Tool or Tool(pattern)"
    if not _is_seen(text):
        return "it holds characters that can't be seen"
    judgement = decide(replace(policy, allow=(*policy.allow, *rules)), tool, action)
    return "" if judgement.decision == "allow" else f"it would not allow this: {judgement.why}"


def rules_of(text: str, own: Sequence[str] = ()) -> tuple[Rule, ...]:
    """The rules of a person's answer. own: as in parse_rule. Raises RuleError."""
    try:
        return parse_rules([text], own)
    except RuleError as error:
        try:
            return (parse_rule(text, own),)
        except RuleError:
            raise error from None


def _for_command(policy: Policy, tool: str, action: Action) -> Offer:
    home = os.path.expanduser("~")  # noqa: PTH111 (never raises)
    folders = tuple(Path(path) for path in action.paths) or policy.folders[:1]
    judged = Verdicts(policy, action.subject, folders, home)
    if judged.found.doubts:
        whole = Found(action.subject.strip(), (), "", f"it holds {judged.found.doubts[0]}", None)
        rule = _exact(whole.text)
        return _tried(policy, tool, action, [rule], (_asked(whole, rule),))
    found = judged.each()
    wanted = ["" if one.why == "" else _rule_for(policy, one) for one in found]
    rules: list[Rule] = []
    for text in dict.fromkeys(filter(None, wanted)):
        rules += rules_of(text)
    tried = judged.under(replace(policy, allow=(*policy.allow, *rules)))
    still = {one.text: one.why for one in tried.each() if one.why}
    parts = [_asked(one, rule, still) for one, rule in zip(found, wanted, strict=True)]
    return _tried(
        policy,
        tool,
        action,
        [part.rule for part in parts if not part.allowed],
        tuple(dict.fromkeys(parts)),
    )


def _asked(one: Found, rule: str, still: dict[str, str] | None = None) -> AskedPart:
    """How a part is shown. still: why parts may not run even with all the rules."""
    if not one.why:
        return AskedPart(text=one.text, rule=one.rule.text if one.rule else "", allowed=True)
    if still and one.text in still:
        return AskedPart(text=one.text, why=_reason(one, still[one.text]))
    return AskedPart(text=one.text, rule=rule, why="" if rule else _reason(one, one.why))


def _reason(one: Found, why: str) -> str:
    if not why.startswith("no rule allows") and not why.endswith("which no rule allows"):
        return why
    return UNWRITABLE if all(word.known for word in one.words) else UNKNOWN


def _tried(
    policy: Policy,
    tool: str,
    action: Action,
    wanted: Sequence[str],
    parts: tuple[AskedPart, ...],
) -> Offer:
    """The offer of these rules, if with them the action would run."""
    if not all(wanted):
        why = next((part.why for part in parts if part.why), UNWRITABLE)
        return Offer(why=why, parts=parts)
    rules = tuple(dict.fromkeys(wanted))
    if len(rules) > MOST:
        return Offer(why=TOO_MANY, parts=parts)
    allow = tuple(rule for text in rules for rule in rules_of(text))
    judgement = decide(replace(policy, allow=(*policy.allow, *allow)), tool, action)
    if judgement.decision == "allow":
        return Offer(rules=rules, parts=parts)
    whole = judgement.why
    return Offer(
        why=whole,
        parts=tuple(p if p.allowed or p.why else replace(p, rule="", why=whole) for p in parts),
    )


def _is_seen(text: str) -> bool:
    return all(char.isprintable() or char in "\n\t" for char in text)


def _rule_for(policy: Policy, one: Found) -> str:
    if one.words:
        return _for_words(one.words)
    return _for_file(policy, "Edit" if one.way == "write" else "Read", one.path)


def _exact(command: str) -> str:
    """A rule for this very command line; none where it can't be written so."""
    return _written(f"Bash({command})") if "*" not in command else ""


def _written(rule: str) -> str:
    """The rule, if it can stand in a list of rules and be read; else ""."""
    try:
        return rule if _is_seen(rule) and len(parse_rules([f"{rule}, {rule}"])) == 2 else ""
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


def _for_file(policy: Policy, kind: str, path: str) -> str:
    """A rule for one file; what is a sign of patterns in its name is escaped."""
    if not path:
        return ""
    for folder in policy.folders:
        if path.startswith(f"{folder}/"):
            path = "." + path[len(str(folder)) :]
            break
    else:
        path = f"/{path}"
    return _written(f"{kind}({_PATTERN.sub(_ESCAPED, path)})")
