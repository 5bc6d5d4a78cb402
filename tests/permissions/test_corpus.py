from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from glmcode.core.tool import Action, Effect, Preview, ToolResult
from glmcode.permissions import Judgement, Policy, decide, parse_rules

CORPUS = tomllib.loads((Path(__file__).parent / "corpus.toml").read_text(encoding="utf-8"))
OUTCOMES = {"run": "allow", "asked": "ask", "denied": "deny"}
CASES = [
    (group, command, OUTCOMES[outcome])
    for group in CORPUS["group"]
    for outcome in OUTCOMES
    for command in group.get(outcome, ())
]


async def _commit() -> ToolResult:
    return ToolResult(for_model="")


def bash(command: str, folder: Path) -> Action:
    preview = Preview(kind="command", title=command)
    return Action(
        effect=Effect.EXECUTE,
        subject=command,
        preview=preview,
        commit=_commit,
        paths=(str(folder),),
    )


def judged(group: dict[str, Any], command: str, folder: Path) -> Judgement:
    policy = Policy(
        mode=group.get("mode", "default"),
        allow=parse_rules(group.get("allow", ())),
        deny=parse_rules(group.get("deny", ())),
        folders=(folder,),
    )
    return decide(policy, "Bash", bash(command, folder))


LINES = (Path(__file__).parent / "cases.jsonl").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("line", LINES, ids=lambda line: json.loads(line)["command"][:60])
def test_a_case_with_rules_of_its_own_is_judged_as_it_says(line: str, workspace: Path) -> None:
    case = json.loads(line.replace("WORK", str(workspace)))
    group = {"mode": case["mode"], "allow": [case["allow"]], "deny": [case["deny"]]}
    judgement = judged(group, case["command"], workspace)
    assert judgement.decision == case["want"], judgement.why


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("rules")
    work = (root / "work").resolve()
    for folder in ("src", "secret", ".git/hooks", "build", "keys", ".glmcode", "sub"):
        (work / folder).mkdir(parents=True)
    for name in (
        "a.py",
        "src/b.py",
        "a.txt",
        "b.txt",
        ".env",
        "secret/a",
        "keys/a.pem",
        "build/x",
        "-x.txt",
    ):
        (work / name).write_text("x\n")
    for name in ("bare/objects", "bare/refs", "bare/in"):
        (work / name).mkdir(parents=True)
    (work / "bare" / "HEAD").write_text("ref: refs/heads/main\n")
    (work / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
    (root / "x").write_text("x\n")
    (work / "link").symlink_to("/etc")
    (work / "outside").symlink_to(root / "x")
    (work / "toenv").symlink_to(".env")
    (work / "tosecret").symlink_to("secret")
    (work / "src" / "tolink").symlink_to(work / "build")
    return work


def _label(case: Any) -> str:
    return repr(case)[:60] if isinstance(case, str) else str(case.get("name", ""))[:20]


@pytest.mark.parametrize(("group", "command", "decision"), CASES, ids=_label)
def test_a_command_of_the_corpus_is_judged_as_it_says(
    group: dict[str, Any], command: str, decision: str, workspace: Path
) -> None:
    judgement = judged(group, command, workspace)
    assert judgement.decision == decision, judgement.why
    assert judgement.why


@pytest.mark.parametrize("rule", [{}, {"allow": ["Bash"]}, {"mode": "acceptEdits"}])
def test_what_is_protected_is_told_apart_so_that_no_sandbox_makes_it_unasked(
    rule: dict[str, Any], workspace: Path
) -> None:
    for command in ("cat ~/.ssh/id_rsa", "echo x > .git/config", "cp a.py .glmcode/x"):
        judgement = judged({**rule, "name": ""}, command, workspace)
        assert judgement.decision == "ask" and judgement.firm
    assert not judged({"name": ""}, "make", workspace).firm


def test_the_corpus_holds_both_kinds_in_number() -> None:
    assert len({(c, d) for _, c, d in CASES if d == "allow"}) >= 100
    assert len({(c, d) for _, c, d in CASES if d != "allow"}) >= 150
