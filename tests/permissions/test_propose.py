from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from glmcode.core.tool import Action, Effect, Preview, ToolResult
from glmcode.permissions import Policy, decide, parse_rules
from glmcode.permissions.propose import MOST, fault_of, offered, rules_of
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
    assert list(offered(policy, "Bash", action).rules) == rules
    allow = tuple(rule for text in rules for rule in rules_of(text))
    judgement = decide(replace(policy, allow=allow), "Bash", action)
    assert judgement.decision == "allow", judgement.why
    other = decide(replace(policy, allow=allow), "Bash", bash("rm other", tmp_path.resolve()))
    assert other.decision == "ask"


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ('rm "$x"', "known only when it runs"),
        ("$x", "it isn't known which program runs"),
        ("echo x > .git/config", ".git is protected"),
        ("make && echo x >> ~/.bashrc", "it changes what runs later"),
        ("echo a > $x", "isn't known before it runs"),
        ("rm 'a*'", "can't be written as a rule"),
        ("touch 'a\u202eb'", "can't be written as a rule"),
        ("git push", "the rule Bash(git push *) asks"),
        ("python x.py (", "syntax"),
        (" && ".join(f"touch f{n}" for n in range(MOST + 1)), "more than 12 rules"),
    ],
)
def test_what_no_rule_can_allow_gets_none_and_the_reason(
    command: str, why: str, tmp_path: Path
) -> None:
    policy = Policy(folders=(tmp_path.resolve(),), ask=parse_rules(["Bash(git push *)"]))
    action = bash(command, tmp_path.resolve())
    assert decide(policy, "Bash", action).decision == "ask"
    offer = offered(policy, "Bash", action)
    assert offer.rules == () and why in offer.why
    assert all(part.rule or part.why or part.allowed for part in offer.parts)


def test_each_part_says_what_allows_it_what_would_and_why_nothing_can(tmp_path: Path) -> None:
    policy = Policy(folders=(tmp_path.resolve(),), allow=parse_rules(["Bash(npm run *)"]))
    command = "ls && npm run build && make && echo x > .git/config 2>/dev/null"
    offer = offered(policy, "Bash", bash(command, tmp_path.resolve()))
    told = [(part.text, part.rule, part.allowed, bool(part.why)) for part in offer.parts]
    assert told == [
        ("ls", "", True, False),
        ("npm run build", "Bash(npm run *)", True, False),
        ("make", "Bash(make)", False, False),
        ("echo x", "", True, False),
        ("> .git/config", "", False, True),
    ]


def on_file(effect: Effect, path: Path) -> Action:
    async def commit() -> ToolResult:
        raise AssertionError

    preview = Preview(kind="diff", title="")
    return Action(
        effect=effect, subject=path.name, preview=preview, commit=commit, paths=(str(path),)
    )


@pytest.mark.parametrize(
    ("tool", "path", "rules"),
    [
        ("Edit", "a.py", ("Edit(./a.py)",)),
        ("Write", "src/a b.py", ("Edit(./src/a b.py)",)),
        ("Write", "/nowhere/hosts", ("Edit(//nowhere/hosts)",)),
        ("Grep", "/nowhere", ("Read(//nowhere)",)),
        ("Edit", "a[1]{b,c}*.py", (r"Edit(./a\[1\]\{b,c\}\*.py)",)),
        ("Edit", "a(.py", ()),
        ("Edit", ".git/config", ()),
        ("Edit", ".bashrc", ()),
    ],
)
def test_a_file_gets_a_rule_for_that_file_alone_unless_it_is_protected(
    tool: str, path: str, rules: tuple[str, ...], tmp_path: Path
) -> None:
    root = tmp_path.resolve()
    policy = Policy(folders=(root,))
    effect = Effect.READ if tool == "Grep" else Effect.WRITE
    offer = offered(policy, tool, on_file(effect, root / path))
    assert offer.rules == rules and bool(offer.why) == (not rules)
    allow = tuple(rule for text in rules for rule in rules_of(text))
    for name in ("a1b.py", "b.py", "a1cx.py"):
        other = on_file(Effect.WRITE, root / name)
        assert decide(replace(policy, allow=allow), "Edit", other).decision == "ask"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("Bash(make *)", ""),
        ("Bash(make)  Edit(./x)", ""),
        ("Bash", ""),
        ("", "there is no rule"),
        ("Bash(", "does not parse"),
        ("Bash()", "empty pattern"),
        ("Bash(make *), Edit(./a)x", "the rule 'Edit(./a)x' does not parse"),
        ("bash(make)", "did you mean Bash"),
        ("Bash(make)", "writes"),
        ("Bash(ls *)", "no rule allows `make all`"),
        ("Bash(make *\u202e)", "can't be seen"),
    ],
)
def test_an_edited_rule_is_refused_with_its_fault(text: str, fault: str, tmp_path: Path) -> None:
    policy = Policy(folders=(tmp_path.resolve(),), allow=parse_rules(["Edit(./y)"]))
    command = "make all > y" if text == "Bash(make *)" else "make all"
    command = "make > x" if text.startswith("Bash(make)") else command
    said = fault_of(policy, "Bash", bash(command, tmp_path.resolve()), text)
    assert (fault in said) if fault else said == ""
