from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from glmcode.permissions import Policy, decide
from glmcode.permissions.propose import proposed, proposed_parts, rules_of
from tests.permissions.test_corpus import bash


@pytest.mark.parametrize(
    ("command", "rules"),
    [
        ("git commit -m 'a; b'", ["Bash(git commit *)"]),
        ("git push", ["Bash(git push)"]),
        ("npm run build && npm test", ["Bash(npm run *)", "Bash(npm test)"]),
        ("make && ls | head", ["Bash(make)"]),
        ("python x.py --all", ["Bash(python x.py --all)"]),
        ("python -c 'print(1)'", ['Bash(python -c "print(1)")']),
        ("git add . && echo hi > src/x", ["Bash(git add *)", "Edit(./src/x)"]),
        ("git diff --output=z", ["Edit(./z)"]),
        ("timeout 5 make", ["Bash(make)"]),
        ("FOO=1 make all", ["Bash(FOO=1 make all)"]),
        ("cd src && touch x", ["Bash(touch x)"]),
        ("f() { ls; }; f", ["Bash(f() { ls; }; f)"]),
        ("cat /etc/passwd", ["Bash(cat /etc/passwd)"]),
        ("bash -c 'make; rm x'", ["Bash(make)", "Bash(rm x)"]),
    ],
)
def test_the_rules_that_are_proposed_let_the_command_run_and_are_as_narrow(
    command: str, rules: list[str], tmp_path: Path
) -> None:
    (tmp_path / "src").mkdir()
    policy = Policy(folders=(tmp_path.resolve(),))
    action = bash(command, tmp_path.resolve())
    assert decide(policy, "Bash", action).decision == "ask"
    parts = proposed_parts(policy, action)
    assert [rule for _, rule in parts] == rules
    allow = tuple(rule for text in rules for rule in rules_of(text))
    judgement = decide(replace(policy, allow=allow), "Bash", action)
    assert judgement.decision == "allow", judgement.why
    other = decide(replace(policy, allow=allow), "Bash", bash("rm other", tmp_path.resolve()))
    assert other.decision == "ask"


@pytest.mark.parametrize("command", ['rm "$x"', "echo x > .git/config", "$x", "cat *.nothing > z"])
def test_what_cannot_be_named_narrowly_gets_no_wide_rule(command: str, tmp_path: Path) -> None:
    policy = Policy(folders=(tmp_path.resolve(),))
    for _, rule in proposed_parts(policy, bash(command, tmp_path.resolve())):
        assert "*" not in rule and rule not in ("Bash", "Edit")


def test_edits_and_other_tools_get_a_rule_for_that_file_or_tool() -> None:
    assert proposed("Edit", "a.py") == "Edit(./a.py)"
    assert proposed("Write", "/etc/hosts") == "Edit(//etc/hosts)"
    assert proposed("Read", "/etc/hosts") == "Read(//etc/hosts)"
