from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glmcode.permissions import Policy, decide, parse_rules
from glmcode.permissions.commands import warm
from glmcode.permissions.matching import covers, denies
from glmcode.permissions.words import literal
from tests.permissions.test_corpus import bash

PIECES = st.sampled_from(
    [
        *(
            "ls",
            "git",
            "diff",
            "-C",
            "--output=x",
            "touch",
            "x",
            "$x",
            "${x}",
            "$(",
            ")",
            "`",
            "(",
            "{",
        ),
        *(
            "}",
            "[",
            "]",
            "[[",
            "]]",
            '"',
            "'",
            "$'",
            "\\",
            "\n",
            ";",
            "&&",
            "||",
            "|",
            "&",
            ">",
            ">>",
        ),
        *(
            "<",
            "<<EOF\n",
            "EOF\n",
            "<<<",
            "2>&1",
            "if",
            "then",
            "fi",
            "for",
            "in",
            "do",
            "done",
            "case",
        ),
        *(
            "esac",
            ";;",
            "a=b",
            "PATH=.",
            "!",
            "#",
            "~",
            "*",
            "{a,b}",
            "$((1+",
            "))",
            "\r",
            "\0",
            "\ud800",
        ),
        *(
            "env",
            "xargs",
            "find",
            "-exec",
            "bash",
            "-c",
            "eval",
            "sudo",
            "sed",
            "-n",
            "s/a/b/",
            "awk",
            "é",
        ),
    ]
)
COMMANDS = st.one_of(
    st.lists(PIECES, max_size=25).map(" ".join),
    st.lists(PIECES, max_size=25).map("".join),
    st.text(),
)
RULES = parse_rules(["Bash(git diff *)", "Bash(rm:*)", "Read(./.env)", "Edit(**)", "Bash(echo '')"])


@settings(max_examples=300, deadline=None)
@given(command=COMMANDS)
def test_no_command_makes_the_judgement_raise_and_none_runs_that_bash_could_read_otherwise(
    command: str,
) -> None:
    for mode in ("default", "plan", "bypassPermissions"):
        policy = Policy(mode=mode, allow=RULES, deny=RULES[1:3], folders=(Path("/nowhere/w"),))
        judgement = decide(policy, "Bash", bash(command, Path("/nowhere/w")))
        assert judgement.decision in ("allow", "ask", "deny") and judgement.why
        if mode == "plan" and judgement.decision == "allow":
            assert judgement.looks


@given(pattern=st.text(min_size=1), words=st.lists(st.text(), max_size=5))
def test_any_pattern_can_be_tried_on_any_words(pattern: str, words: list[str]) -> None:
    given_words = [literal(word) for word in words]
    loose = covers(pattern, given_words)
    assert loose is None or loose <= set(range(len(words)))
    assert isinstance(denies(pattern, given_words), bool)


def test_a_nest_of_parentheses_is_asked_about_and_not_followed_for_ever() -> None:
    policy = Policy(folders=(Path("/nowhere/w"),))
    for command in ("(" * 3_000 + "ls" + ")" * 3_000, "$(" * 2_000 + "ls" + ")" * 2_000):
        assert decide(policy, "Bash", bash(command, Path("/nowhere/w"))).decision == "ask"


@pytest.mark.parametrize(
    ("command", "limit_s"),
    [
        ("cat <<'EOF' > x\n" + "text; with $(stuff) `x` > y\n" * 360 + "EOF", 0.02),
        ("git commit -m '" + "a; b && c\n" * 1_000 + "'", 0.02),
        ("git diff --stat && git status; " * 320 + "ls", 0.5),
        ("cat " + "some/file.py " * 780, 0.5),
    ],
)
def test_ten_thousand_characters_are_judged_at_once(command: str, limit_s: float) -> None:
    warm()
    policy = Policy(allow=RULES, deny=RULES[1:3], folders=(Path("/nowhere/w"),))
    taken = []
    for _ in range(5):
        start = time.perf_counter()
        decide(policy, "Bash", bash(command, Path("/nowhere/w")))
        taken.append(time.perf_counter() - start)
    assert min(taken) < limit_s
