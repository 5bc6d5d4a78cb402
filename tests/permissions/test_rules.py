from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from glmcode.base.settings import Mode
from glmcode.core.tool import Action, Effect, Preview, ToolResult
from glmcode.permissions import Policy, RuleError, decide, parse_rule, parse_rules, split_rules

HERE = Path("/w/project")


async def _commit() -> ToolResult:
    return ToolResult(for_model="")


def _action(effect: Effect, subject: str, *paths: str) -> Action:
    preview = Preview(kind="text", title=subject)
    return Action(effect=effect, subject=subject, preview=preview, commit=_commit, paths=paths)


def _bash(command: str) -> Action:
    return _action(Effect.EXECUTE, command, str(HERE))


def _edit(path: str) -> Action:
    return _action(Effect.WRITE, path, f"{HERE}/{path}")


def _decision(tool: str, action: Action, mode: Mode = "default", **rules: str) -> str:
    parsed = {name: parse_rules([value]) for name, value in rules.items()}
    policy = Policy(mode=mode, folders=(HERE,), readable=(Path("/spill"),), **parsed)
    return decide(policy, tool, action).decision


def test_reading_the_workspace_is_allowed_and_reading_elsewhere_is_asked() -> None:
    assert _decision("Read", _action(Effect.READ, "a", f"{HERE}/a")) == "allow"
    assert _decision("Read", _action(Effect.READ, "s", "/spill/s")) == "allow"
    assert _decision("Read", _action(Effect.READ, "x", "/etc/passwd")) == "ask"
    assert _decision("Read", _action(Effect.READ, "x", "/w/project2/x")) == "ask"


@pytest.mark.parametrize(
    ("mode", "edit", "bash"),
    [
        ("default", "ask", "ask"),
        ("acceptEdits", "allow", "ask"),
        ("dontAsk", "ask", "ask"),
        ("plan", "deny", "deny"),
        ("bypassPermissions", "allow", "allow"),
    ],
)
def test_each_mode_decides_what_no_rule_covers(mode: Mode, edit: str, bash: str) -> None:
    assert _decision("Edit", _edit("a.py"), mode) == edit
    assert _decision("Bash", _bash("make"), mode) == bash


def test_accepted_edits_stop_at_the_border_of_the_workspace() -> None:
    assert _decision("Write", _action(Effect.WRITE, "x", "/etc/x"), "acceptEdits") == "ask"


def test_deny_wins_over_allow_and_over_bypass() -> None:
    assert _decision("Bash", _bash("git push"), allow="Bash", deny="Bash(git push *)") == "deny"
    assert (
        _decision("Bash", _bash("git push"), "bypassPermissions", deny="Bash(git push:*)") == "deny"
    )
    assert (
        _decision("Bash", _bash("ls; git push -f"), "bypassPermissions", deny="Bash(git push *)")
        == "deny"
    )
    assert (
        _decision("Bash", _bash("echo $(git push)"), "bypassPermissions", deny="Bash(git push *)")
        == "deny"
    )


@pytest.mark.parametrize(
    ("rule", "command", "decision"),
    [
        ("Bash(git diff *)", "git diff", "allow"),
        ("Bash(git diff *)", "git diff --stat", "allow"),
        ("Bash(git diff *)", "git difftool", "ask"),
        ("Bash(npm run test:*)", "npm run test --watch", "allow"),
        ("Bash(npm run test:*)", "npm run tester", "ask"),
        ("Bash(make)", "make", "allow"),
        ("Bash(make)", "make all", "ask"),
        ("Bash(git diff *)", "git diff; rm -rf x", "ask"),
        ("Bash(git diff *)", "git diff && rm x", "ask"),
        ("Bash(git diff *)", "git diff > x", "ask"),
        ("Bash(git diff *)", "git diff $(rm x)", "ask"),
        ("Bash(git diff *)", "git diff `rm x`", "ask"),
        ("Bash(git diff *)", "git diff\nrm x", "ask"),
        ("Bash(git diff *)", "git diff & rm x", "ask"),
        ("Bash(echo a; echo b)", "echo a; echo b", "allow"),
        ("Bash", "anything | at all", "allow"),
        ("Bash(*)", "anything", "allow"),
    ],
)
def test_a_command_rule_covers_one_simple_command_and_nothing_glued_to_it(
    rule: str, command: str, decision: str
) -> None:
    assert _decision("Bash", _bash(command), allow=rule) == decision


@pytest.mark.parametrize(
    ("rule", "path", "decision"),
    [
        ("Edit(src/**)", "src/a/b.py", "allow"),
        ("Edit(src/**)", "srcs/a.py", "ask"),
        ("Edit(/src/**)", "src/a.py", "allow"),
        ("Edit(./src/*.py)", "src/a.py", "allow"),
        ("Edit(./src/*.py)", "src/a/b.py", "ask"),
        ("Edit(*.md)", "docs/deep/x.md", "allow"),
        ("Edit(docs)", "docs/x.md", "allow"),
        ("Edit(**)", "any/where.txt", "allow"),
    ],
)
def test_a_path_rule_is_read_from_the_workspace_and_covers_write_too(
    rule: str, path: str, decision: str
) -> None:
    assert _decision("Edit", _edit(path), allow=rule) == decision
    assert _decision("Write", _edit(path), allow=rule) == decision


def test_a_rule_for_edits_never_reaches_outside_the_workspace() -> None:
    outside = _action(Effect.WRITE, "x", "/etc/src/x")
    assert _decision("Write", outside, allow="Edit(**)") == "ask"


def test_a_denied_file_is_denied_to_every_tool_that_reads() -> None:
    secret = _action(Effect.READ, ".env", f"{HERE}/.env")
    for tool in ("Read", "Grep", "Glob"):
        assert _decision(tool, secret, "bypassPermissions", deny="Read(./.env)") == "deny"


def test_rules_are_cut_at_commas_outside_parentheses() -> None:
    assert split_rules("Read, Bash(git log --format=a,b *),Edit(src/**)") == [
        "Read",
        "Bash(git log --format=a,b *)",
        "Edit(src/**)",
    ]


@pytest.mark.parametrize("text", ["Bash(", "Bash()", "Bahs", "(x)", "Read)x", "Bash(git"])
def test_a_rule_that_does_not_parse_is_quoted_in_the_error(text: str) -> None:
    with pytest.raises(RuleError) as error:
        parse_rule(text)
    assert repr(text) in str(error.value)


@pytest.mark.parametrize("name", [".ignore", ".rgignore", ".gitignore"])
def test_an_ignore_file_that_shows_hidden_files_makes_rg_denied_again(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / ".env").write_text("SECRET=1\n")
    (tmp_path / "a.py").write_text("x\n")
    policy = Policy(deny=parse_rules(["Read(./.env)"]), folders=(tmp_path.resolve(),))
    assert (
        decide(policy, "Bash", _action(Effect.EXECUTE, "rg x", str(tmp_path))).decision == "allow"
    )
    (tmp_path / name).write_text("*.log\n!.env\n")
    assert decide(policy, "Bash", _action(Effect.EXECUTE, "rg x", str(tmp_path))).decision == "deny"
    (tmp_path / name).unlink()
    os.mkfifo(tmp_path / name)  # nothing may wait for who never writes
    assert decide(policy, "Bash", _action(Effect.EXECUTE, "rg x", str(tmp_path))).decision == "deny"


def test_what_git_does_not_track_is_not_among_what_git_goes_through(tmp_path: Path) -> None:
    folder = tmp_path.resolve()
    (folder / ".env").write_text("SECRET=1\n")
    (folder / "a.py").write_text("x\n")
    policy = Policy(deny=parse_rules(["Read(./.env)"]), folders=(folder,))

    def judged(text: str) -> str:
        return decide(policy, "Bash", _action(Effect.EXECUTE, text, str(folder))).decision

    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    subprocess.run(["git", "add", "a.py"], cwd=folder, check=True)
    untracked = ["git grep x", "git ls-files | xargs wc -l", "cat $(git ls-files '*.py')"]
    assert [judged(one) for one in untracked] == ["allow"] * 3
    more = ["git grep --untracked x", "git grep --no-index x", "git ls-files -o | xargs cat"]
    more += ["git add -f . && git grep x", "GIT_INDEX_FILE=i git grep x", "git --git-dir=g grep x"]
    assert [judged(one) for one in more] == ["deny"] * 6
    subprocess.run(["git", "add", "-f", ".env"], cwd=folder, check=True)
    assert [judged(one) for one in untracked] == ["deny"] * 3


def test_a_search_that_is_denied_says_what_it_would_read_and_what_to_use(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("SECRET=1\n")
    policy = Policy(deny=parse_rules(["Read(./.env)"]), folders=(tmp_path.resolve(),))
    action = _action(Effect.EXECUTE, "grep -rn x .", str(tmp_path.resolve()))
    why = decide(policy, "Bash", action).why
    assert str(tmp_path.resolve() / ".env") in why and "Grep leaves such files out" in why


def test_characters_of_high_planes_are_letters_and_never_end_the_process() -> None:
    code = (
        "from pathlib import Path\n"
        "from glmcode.permissions.commands import analyse\n"
        "wide = [chr(n) for n in (0x10FFFF, 0xD485D, 0x1F600, 0xFFFD, 0x4E2D, 0x2003, 0x3BB)]\n"
        "for one in wide:\n"
        "    for text in ('{%s', 'echo {%s..3}', 'x=$%s', '<<%s', 'cat %s | rm %s', '${%s}'):\n"
        "        found = analyse(text.replace('%s', one), (Path('/w'),), '/h')\n"
        "        assert found.command\n"
        "    (part,) = analyse(f'cat a{one}b', (Path('/w'),), '/h').parts\n"
        "    assert [word.text for word in part.words] == ['cat', f'a{one}b'], ascii(one)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
