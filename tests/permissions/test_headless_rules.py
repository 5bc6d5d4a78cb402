from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.fake_engine import FakeEngine, Reply

HOSTILE = [
    "git diff --output=made",
    "git diff > made",
    "git diff; touch made",
    "git diff $(touch made)",
    "git diff `touch made`",
    "git diff\ntouch made",
    "git -c diff.external='touch made' diff",
    "GIT_EXTERNAL_DIFF='touch made; true' git diff",
    "git diff && bash -c 'touch made'",
    "[[ -v 'a[$(touch made)]' ]]",
    "printf -v 'a[$(touch made)]' x",
    "cat <<EOF\n$(touch made)\nEOF",
    "cat <<EOF\n`touch made`\nEOF",
    "git() { touch made; }; git diff",
    "find . -name a.py -exec touch made \\;",
    "ls | xargs touch made",
    "env touch made",
    "time touch made",
    "eval 'touch made'",
    "echo 'touch made' | sh",
    "sed -n 'w made' a.py",
    "awk 'BEGIN{system(\"touch made\")}'",
    "sort -o made a.py",
    "echo ${x:=$(touch made)}",
    "x='a[$(touch made)]'; echo $((x))",
    "cp a.py made",
    "echo x >& made",
    "coproc touch made",
    "trap 'touch made' EXIT",
    "$'\\x74ouch' made",
    "git diff \\\n; touch made",
    "git submodule foreach 'touch ../made'; touch made",
]
HARMLESS = [
    ("git diff --stat && git status", "[exit 0"),
    ("git log | head -5", "first"),
    ("grep -rn 'foo|x' . | wc -l", "[exit 0"),
    ('for f in *.py; do wc -l "$f"; done', "a.py"),
    ("(cd sub && git rev-parse --show-prefix)", "sub/"),
    ("diff <(cat a.py) a.py && echo same", "same"),
    ("if [ -f a.py ]; then cat a.py; fi", "x = 1"),
    ("cat <<'EOF'\n$(touch made)\nEOF", "$(touch made)"),
    ("bash -c 'git status -s; pwd'", "[exit 0"),
]


class Work:
    """A repository, and one headless run in it that calls Bash once for each command."""

    def __init__(self, tmp_path: Path) -> None:
        self.folder = tmp_path / "work"
        (self.folder / "sub").mkdir(parents=True)
        (self.folder / "sub" / "f").write_text("f\n")
        (self.folder / "a.py").write_text("x = 1\n")
        self.git("init", "-q")
        self.git("add", ".")
        self.git("commit", "-qm", "first")
        (self.folder / "a.py").write_text("x = 1\ny = 2\n")
        self.environment = {**os.environ, "GLMCODE_HOME": str(tmp_path / "home")}

    def git(self, *words: str) -> str:
        who = ("-c", "user.name=a", "-c", "user.email=a@example.com")
        done = subprocess.run(
            ["git", *who, *words], cwd=self.folder, check=True, capture_output=True, text=True
        )
        return done.stdout

    def run(self, calls: list[dict[str, Any]], *arguments: str) -> tuple[int, list[str]]:
        """The exit code, and the result of each call."""
        script = [*(Reply(calls=[call]) for call in calls), Reply(text="done")]
        with FakeEngine(script) as engine:
            server = ["--base-url", engine.base_url, "--protocol", "chat", "-m", "glm"]
            done = subprocess.run(
                [sys.executable, "-m", "glmcode", "-p", *server, *arguments, "go"],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                encoding="utf-8",
                timeout=120,
            )
            messages = json.loads(engine.steps[-1].body)["messages"]
        results = [m["content"] for m in messages if m["role"] == "tool"]
        assert len(results) == len(calls), done.stderr
        return done.returncode, results

    def bash(self, commands: list[str], *arguments: str) -> tuple[int, list[str]]:
        return self.run(
            [{"name": "Bash", "arguments": {"command": one}} for one in commands], *arguments
        )


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return Work(tmp_path)


@pytest.mark.parametrize("mode", ["default", "dontAsk", "plan"])
def test_what_a_rule_does_not_cover_never_touches_the_disk(work: Work, mode: str) -> None:
    rules = ("--allowed-tools", "Bash(git diff *),Bash(ls *),Bash(cat *),Bash(find *)")
    code, results = work.bash(HOSTILE, *rules, "--permission-mode", mode)
    ran = [
        one for one, told in zip(HOSTILE, results, strict=True) if not told.startswith("not run")
    ]
    assert not ran
    assert not (work.folder / "made").exists() and code == (0 if mode == "plan" else 3)
    assert not list(work.folder.rglob("made"))


def test_what_only_looks_runs_without_a_rule_and_in_plan_mode_too(work: Work) -> None:
    for mode in ("default", "plan"):
        code, results = work.bash([c for c, _ in HARMLESS], "--permission-mode", mode)
        assert code == 0, results
        for (command, shown), told in zip(HARMLESS, results, strict=True):
            assert shown in told, (command, told)


def test_rules_let_the_ordinary_work_through(work: Work) -> None:
    rules = ("Bash(git commit *)", "Bash(git add *)", "Bash(make test)", "Bash(touch *)")
    (work.folder / "sub" / "Makefile").write_text("test:\n\t@echo made it\n")
    work.git("config", "user.name", "a")
    work.git("config", "user.email", "a@example.com")
    commands = [
        'git add . && git commit -m "a; b && c > d"',
        "cd sub && make test",
        "touch new 'and another'",
        "git commit --allow-empty -m "
        "\"$(cat <<'EOF'\nfix: it's $(done); `x`\n\n- more > y\nEOF\n)\"",
    ]
    code, results = work.bash(commands, "--allowed-tools", ",".join(rules))
    assert code == 0, results
    assert "made it" in results[1] and (work.folder / "sub" / "and another").exists()
    log = work.git("log", "--format=%B")
    assert "a; b && c > d" in log and "fix: it's $(done); `x`" in log
    assert not (work.folder / "d").exists() and not (work.folder / "y").exists()


def test_a_denied_command_and_a_denied_file_are_denied_in_every_disguise(work: Work) -> None:
    (work.folder / ".env").write_text("SECRET=1\n")
    (work.folder / "toenv").symlink_to(".env")
    (work.folder / "keep").write_text("kept\n")
    commands = [
        "rm keep", "bash -c 'rm keep'", "find keep -exec rm {} +", "echo keep | xargs rm",
        "eval rm keep", "/bin/rm keep", "r\\m keep", "env X=1 rm keep", "x=rm; $x keep; rm keep",
        "cat .env", "cat toenv", "cat < .env", "grep -r SECRET .", "cd sub; cat ../.env",
    ]  # fmt: skip
    code, results = work.bash(commands, "-y", "--disallowed-tools", "Bash(rm *),Read(./.env)")
    assert code == 0 and (work.folder / "keep").exists()
    assert all(told.startswith("not run") for told in results), results
    assert not any("SECRET=1" in told for told in results)


def test_searches_leave_out_what_may_not_be_read(work: Work) -> None:
    (work.folder / ".env").write_text("SECRET=1\n")
    (work.folder / "toenv").symlink_to(".env")
    calls = [
        {"name": "Grep", "arguments": {"pattern": "SECRET|x = 1"}},
        {"name": "Grep", "arguments": {"pattern": "SECRET", "output_mode": "count"}},
        {"name": "Glob", "arguments": {"pattern": "*env"}},
        {"name": "Grep", "arguments": {"pattern": "SECRET", "path": ".env"}},
        {"name": "Read", "arguments": {"file_path": "toenv"}},
    ]
    _, results = work.run(calls, "--disallowed-tools", "Read(./.env)")
    assert "a.py:1:x = 1" in results[0]
    assert not any("SECRET=1" in told or ".env:" in told for told in results)
    assert "no files match" in results[2]
    assert results[3].startswith("not run") and results[4].startswith("not run")


def test_protected_files_are_asked_about_whatever_the_rules_allow(work: Work) -> None:
    hook = work.folder / ".git" / "hooks" / "pre-commit"
    write = {"name": "Write", "arguments": {"file_path": str(hook), "content": "#!/bin/sh\n"}}
    calls = [
        write,
        {"name": "Bash", "arguments": {"command": "echo x > .git/hooks/pre-commit"}},
        {"name": "Bash", "arguments": {"command": "cp a.py .git/hooks/pre-commit"}},
        {"name": "Bash", "arguments": {"command": "mkdir .glmcode; touch .glmcode/config.toml"}},
    ]
    for mode, code in (("acceptEdits", 3), ("dontAsk", 3)):
        rules = ("--permission-mode", mode, "--allowed-tools", "Edit(**),Bash(cp *),Write")
        assert work.run(calls, *rules)[0] == code
        assert not hook.exists() and not (work.folder / ".glmcode").exists()
    work.run([write], "-y")
    assert hook.exists()


def test_a_rule_with_a_fault_says_where_it_stands_and_nothing_starts(work: Work) -> None:
    for flag, rule, told in (
        ("--allowed-tools", "Bsh(x)", "did you mean Bash?"),
        ("--disallowed-tools", "Bash(git diff *", "its ( is not closed"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "glmcode", "-p", "-m", "glm", flag, rule, "go"],
            cwd=work.folder, env=work.environment, capture_output=True, encoding="utf-8",
        )  # fmt: skip
        assert done.returncode == 2 and told in done.stderr and flag in done.stderr, done.stderr
        assert rule in done.stderr and "Traceback" not in done.stderr


def test_what_people_type_every_day_runs(work: Work) -> None:
    (work.folder / "sub" / "Makefile").write_text("test:\n\t@echo made it\n")
    (work.folder / "src").mkdir()
    commands = [
        ('cd "$(git rev-parse --show-toplevel)" && cat a.py', "y = 2"),
        ("while IFS= read -r line; do echo \"> $line\"; done < a.py", "> y = 2"),
        ('for f in *.py; do [ -s "$f" ] && wc -l "$f"; done', "2 a.py"),
        ("i=0; while [ $i -lt 2 ]; do i=$((i+1)); done; echo $i", "2\n"),
        ("for ((i=0; i<3; i++)); do echo \"n$i\"; done", "n2"),
        ("pushd sub > /dev/null && make test && popd > /dev/null", "made it"),
        ("cd sub || exit 1; head -1 ../a.py; make test", "made it"),
        ("mkdir -p build && cd build && wc -l < ../a.py", "2\n"),
    ]  # fmt: skip
    rules = "Bash(make test),Bash(mkdir *),Edit(src/**)"
    for command, shown in commands:
        code, results = work.bash([command], "--allowed-tools", rules)
        assert code == 0 and shown in results[0], (command, results)
    code, results = work.bash(["cd src && echo made > f && cp ../*.py ."], "--allowed-tools", rules)
    assert code == 0, results
    assert (work.folder / "src" / "f").read_text() == "made\n"
    assert (work.folder / "src" / "a.py").exists()
    code, results = work.bash(["cd sub && echo made > src/f; cd sub && echo x > f"], *rules[:0])
    assert code == 3 and (work.folder / "sub" / "f").read_text() == "f\n"


def test_links_that_lead_out_are_seen_before_something_goes_through_them(work: Work) -> None:
    away = work.folder.parent / "away"
    away.mkdir()
    (away / "s").write_text("OUTSIDE\n")
    (work.folder / "sub" / "out").symlink_to(away)
    (work.folder / "file").symlink_to(away / "s")
    work.git("add", ".")
    commands = [
        "grep -R OUTSIDE .", "git ls-files | xargs cat", "find . -exec cat {} +", "diff -r sub .",
        "cp -r sub new; touch new/out/made", "mv sub new; echo x > new/out/made",
        "x='a.py ../away/s'; cat $x", "(x=sub); cat ${x}../away/s", "f='fil*'; cat $f",
        "cat fil[^x]", "touch a.py '../away/made'", "sed -i'../away/*' s/x/y/ a.py",
    ]  # fmt: skip
    code, results = work.bash(commands, "--permission-mode", "acceptEdits")
    assert code == 3 and all(told.startswith("not run") for told in results), results
    calls = [{"name": "Glob", "arguments": {"pattern": "sub/out/*"}}]
    calls += [{"name": "Write", "arguments": {"file_path": "../away/made", "content": "x"}}]
    _, results = work.run(
        calls, "--allowed-tools", "Edit,Write,Read", "--permission-mode", "dontAsk"
    )
    assert all(told.startswith("not run") for told in results), results
    assert [one.name for one in away.iterdir()] == ["s"]


@pytest.mark.parametrize("mode", ["default", "acceptEdits", "plan"])
def test_a_program_of_the_workspace_under_a_harmless_name_does_not_run(
    work: Work, mode: str
) -> None:
    own = work.folder / "venv" / "bin"
    own.mkdir(parents=True)
    (own / "wc").write_text("#!/bin/sh\ntouch made\n")
    (own / "wc").chmod(0o755)
    work.environment["PATH"] = f"{own}{os.pathsep}{work.environment['PATH']}"
    commands = ["wc a.py", "cat a.py | wc -l", "ls | xargs wc", "env wc a.py", "cat a.py"]
    code, results = work.bash(commands, "--permission-mode", mode)
    assert [told.startswith("not run") for told in results] == [True, True, True, True, False]
    assert "a program of this workspace" in results[0]
    assert not (work.folder / "made").exists() and code == (0 if mode == "plan" else 3)
    _, results = work.bash(["wc a.py"], "--allowed-tools", "Bash(wc *)")
    assert not results[0].startswith("not run"), "a rule names it"
