"""`glmcode review` as a process, in real repositories, against a scripted engine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.fake_engine import FakeEngine, Reply
from tests.review.test_diff import commit, git

BLOCK = {
    "findings": [
        {
            "file": "a.py", "line": 2, "code": "x = 1 / 0", "severity": "error",
            "reason": "divides by zero",
        }
    ],
    "verdict": "block",
}  # fmt: skip
PASS = {"findings": [], "verdict": "pass"}


class Place:
    def __init__(self, folder: Path) -> None:
        self.repo = folder / "repo"
        self.repo.mkdir()
        git(self.repo, "init", "-q")
        (self.repo / "a.py").write_text("import os\nx = 1\n")
        commit(self.repo)
        (self.repo / "a.py").write_text("import os\nx = 1 / 0\n")
        git(self.repo, "add", "-A")
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
        self.environment |= {"GLMCODE_HOME": str(folder / "home")}

    def run(self, engine: FakeEngine | None, *words: str) -> subprocess.CompletedProcess[str]:
        server = (
            ["--base-url", engine.base_url, "--protocol", "chat", "-m", "glm"] if engine else []
        )
        return subprocess.run(
            [sys.executable, "-m", "glmcode", "review", *server, *words],
            cwd=self.repo, env=self.environment, stdin=subprocess.DEVNULL, capture_output=True,
            encoding="utf-8", timeout=90,
        )  # fmt: skip


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def answer(value: Any) -> Reply:
    return Reply(text=json.dumps(value))


def test_what_is_staged_is_judged_and_block_is_exit_4(place: Place) -> None:
    before = (place.repo / ".git" / "index").read_bytes()
    (place.repo / "a.py").write_text("not what is staged\n")
    with FakeEngine([answer(BLOCK)]) as engine:
        ran = place.run(engine, "--staged")
        asked = json.dumps(engine.steps[0].json)
    assert (ran.returncode, ran.stderr) == (4, "")
    assert ran.stdout.splitlines() == [
        "block: 1 finding in 1 file (what is staged)",
        "a.py:2: error: divides by zero",
    ]
    assert "2 +x = 1 / 0" in asked and "not what is staged" not in asked
    assert (place.repo / ".git" / "index").read_bytes() == before


def test_the_same_diff_is_asked_about_once(place: Place) -> None:
    with FakeEngine([answer(BLOCK)]) as engine:
        first = place.run(engine)
        second = place.run(engine)
        assert len(engine.requests) == 1
    assert first.returncode == second.returncode == 4
    assert second.stdout.splitlines()[0].endswith(", as before")
    assert second.stdout.splitlines()[1:] == first.stdout.splitlines()[1:]


def test_fresh_asks_again_and_another_diff_is_another(place: Place) -> None:
    with FakeEngine([answer(BLOCK), answer(PASS), answer(PASS)]) as engine:
        assert place.run(engine).returncode == 4
        assert place.run(engine, "--fresh").returncode == 0
        (place.repo / "a.py").write_text("import sys\n")
        git(place.repo, "add", "-A")
        assert place.run(engine).returncode == 0
        assert len(engine.steps) == 3


def test_json_has_it_all_in_one_object(place: Place) -> None:
    with FakeEngine([answer(BLOCK)]) as engine:
        ran = place.run(engine, "--format", "json")
    told = json.loads(ran.stdout)
    assert told["findings"] == [
        {"file": "a.py", "line": 2, "severity": "error", "reason": "divides by zero"}
    ]
    assert (told["verdict"], told["files"], told["cached"]) == ("block", 1, False)


def test_sarif_names_file_line_level_and_tool(place: Place) -> None:
    with FakeEngine([answer(BLOCK)]) as engine:
        ran = place.run(engine, "--format", "sarif")
    told = json.loads(ran.stdout)
    (run,) = told["runs"]
    (result,) = run["results"]
    where = result["locations"][0]["physicalLocation"]
    assert told["version"] == "2.1.0" and run["tool"]["driver"]["name"] == "glmcode"
    assert run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
    assert where == {"artifactLocation": {"uri": "a.py"}, "region": {"startLine": 2}}


def test_github_commands_are_escaped(place: Place) -> None:
    odd = {**BLOCK["findings"][0], "file": "a.py", "reason": "100% wrong"}  # type: ignore[dict-item]
    with FakeEngine([answer({"findings": [odd], "verdict": "block"})]) as engine:
        ran = place.run(engine, "--format", "github")
    assert ran.stdout == "::error file=a.py,line=2::100%25 wrong\n"


@pytest.mark.parametrize(
    ("form", "line"),
    [
        ("text", "a.py:2: error: ␛]0;mine␇ ::error::x"),
        ("github", "::error file=a.py,line=2::␛]0;mine␇ ::error::x"),
    ],
)
def test_no_reason_acts_on_the_terminal_that_shows_it(place: Place, form: str, line: str) -> None:
    reason = "\x1b]0;mine\x07\n::error::x"
    odd = {**BLOCK["findings"][0], "reason": reason}  # type: ignore[dict-item]
    with FakeEngine([answer({"findings": [odd], "verdict": "block"})]) as engine:
        ran = place.run(engine, "--format", form)
    assert ran.stdout.splitlines()[-1] == line


def test_nothing_staged_and_nothing_changed_passes_without_an_engine(place: Place) -> None:
    commit(place.repo)
    ran = place.run(None, "--staged")
    assert (ran.returncode, ran.stdout) == (
        0,
        "pass: nothing was found in 0 files (what is staged)\n",
    )


def test_an_unborn_branch_is_reviewed(tmp_path: Path) -> None:
    place = Place(tmp_path)
    git(place.repo, "checkout", "-q", "--orphan", "new")
    with FakeEngine([answer(PASS)]) as engine:
        ran = place.run(engine, "--staged")
        assert "a.py (added): +2 -0" in json.dumps(engine.steps[0].json)
    assert ran.returncode == 0


@pytest.mark.parametrize("what", ["HEAD~1", "HEAD~1..HEAD", "HEAD~1...HEAD", "main~0~1"])
def test_a_base_and_ranges_are_what_was_committed_since(place: Place, what: str) -> None:
    git(place.repo, "branch", "-M", "main")
    commit(place.repo)
    with FakeEngine([answer(BLOCK)]) as engine:
        assert place.run(engine, "--base", what).returncode == 4
        assert "x = 1 / 0" in json.dumps(engine.steps[0].json)
        ran = place.run(engine, what)
        assert ran.returncode == 4 and len(engine.steps) == 1 and f"({what}), as" in ran.stdout


def test_a_bare_repository_and_one_without_a_common_commit(place: Place, tmp_path: Path) -> None:
    git(place.repo, "branch", "-M", "main")
    commit(place.repo)
    git(place.repo, "checkout", "-q", "--orphan", "alone")
    git(place.repo, "commit", "-q", "-m", "alone")
    ran = place.run(None, "main...alone")
    assert ran.returncode == 1 and "no commit in common" in ran.stderr
    git(place.repo, "clone", "-q", "--bare", str(place.repo), str(tmp_path / "bare"))
    place.repo = tmp_path / "bare"
    with FakeEngine([answer(BLOCK)]) as engine:
        assert place.run(engine, "main~1..main").returncode == 4


def test_a_diff_in_a_file_needs_no_repository(tmp_path: Path, place: Place) -> None:
    patch = tmp_path / "x.patch"
    patch.write_bytes(git(place.repo, "diff", "--cached"))
    place.repo = tmp_path
    with FakeEngine([answer(BLOCK)]) as engine:
        assert place.run(engine, "--pr-file", str(patch)).returncode == 4
        words = ["--base-url", engine.base_url, "--protocol", "chat", "-m", "glm", "--pr-file", "-"]
        with patch.open("rb") as given:
            piped = subprocess.run(
                [sys.executable, "-m", "glmcode", "review", *words], cwd=tmp_path, stdin=given,
                env=place.environment, capture_output=True, timeout=60,
            )  # fmt: skip
        assert piped.returncode == 4 and b"(stdin), as before" in piped.stdout


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--base", "nowhere"), 1, "nowhere"),
        (("--base", "--output=x"), 1, "no revision"),
        (("--base", "a..b"), 1, "no commit"),
        (("--pr-file", "/no/such"), 1, "cannot be read"),
        (("--pr-file", "a.py"), 1, "no diff"),
        (("--staged", "--base", "x"), 2, "not allowed"),
        (("--format", "xml"), 2, "xml"),
        (("--deadline", "0"), 2, "0"),
        (("--nonsense",), 2, "nonsense"),
        (("HEAD..nowhere",), 1, "'nowhere' is no commit"),
        (("HEAD", "--staged"), 2, "one thing"),
        (("--staged", "HEAD"), 2, "HEAD"),
        (("HEAD", "main"), 2, "one revision or range"),
        (("--pr-file", "-"), 0, ""),
        (("--pr-file", ""), 2, "--pr-file is empty"),
        (("--base", ""), 2, "--base is empty"),
    ],
)
def test_what_cannot_be_is_said(place: Place, words: tuple[str, ...], code: int, said: str) -> None:
    if words == ("--base", "--output=x"):
        words = ("--base=--output=x",)
    ran = place.run(None, *words)
    assert ran.returncode == code and said in ran.stderr and "Traceback" not in ran.stderr
    assert not (place.repo / "x").exists()


def test_an_engine_that_is_not_there_is_75(place: Place) -> None:
    ran = place.run(None, "--base-url", "http://127.0.0.1:9/v1", "-m", "glm", "--protocol", "chat")
    assert (ran.returncode, ran.stdout) == (75, "")


def test_a_review_in_which_nothing_could_be_judged_is_no_pass(place: Place) -> None:
    with FakeEngine([Reply(text="I pass this.", times=4)]) as engine:
        ran = place.run(engine, "--staged")
    assert (ran.returncode, ran.stdout) == (1, "")
    assert "nothing was judged: a.py (no usable answer)" in ran.stderr


@pytest.mark.parametrize(("fault", "most"), [({"status": 400}, 3), ({"drop": True}, 99)])
def test_an_engine_that_fails_is_not_asked_about_every_part(
    place: Place, fault: dict[str, Any], most: int
) -> None:
    for number in range(12):
        text = "".join(f"value_{number}_{at} = {at}\n" for at in range(300))
        (place.repo / f"f{number}.py").write_text(text)
    git(place.repo, "add", "-A")
    with FakeEngine([answer(PASS), Reply(**fault, times=400)]) as engine:
        ran = place.run(engine, "--set", "context.window=16384", "--format", "json")
        asked = len({json.dumps(step.json["messages"]) for step in engine.steps[1:]})
    told = json.loads(ran.stdout)
    assert ran.returncode == 0 and 0 < asked <= min(most, 3)
    assert len(told["left_out"]) > asked


def test_files_beyond_the_window_are_judged_part_by_part_with_one_beginning(place: Place) -> None:
    for number in range(12):
        text = "".join(f"value_{number}_{at} = {at}\n" for at in range(150))
        (place.repo / f"f{number}.py").write_text(text)
    git(place.repo, "add", "-A")
    found = {**BLOCK["findings"][0], "file": "f7.py", "line": 9, "code": "value_7_8 = 8"}  # type: ignore[dict-item]
    script = [answer({"findings": [found], "verdict": "block"}), *[answer(PASS)] * 30]
    with FakeEngine(script, window=16_384) as engine:
        ran = place.run(engine, "--set", "context.window=16384", "--format", "json")
        messages = [step.json["messages"][1]["content"] for step in engine.steps]
    told = json.loads(ran.stdout)
    assert len(messages) > 1 and told["engine"]["requests"] == len(messages)
    heads = {text.partition("This is part")[0] for text in messages}
    assert len(heads) == 1 and all(
        f"f{n}.py (added): +150 -0" in heads.copy().pop() for n in range(12)
    )
    shown = "".join(messages)
    assert all(f"value_{n}_{at} = {at}" in shown for n in range(12) for at in (0, 77, 149))


def test_with_a_deadline_the_rest_is_left_out_by_name_and_not_kept(place: Place) -> None:
    for number in range(6):
        text = "".join(f"value_{number}_{at} = {at}\n" for at in range(300))
        (place.repo / f"f{number}.py").write_text(text)
    git(place.repo, "add", "-A")
    slow = Reply(text=json.dumps(PASS), delay=5.0, times=9)
    with FakeEngine([slow]) as engine:
        words = ("--set", "context.window=16384", "--deadline", "9", "--format", "json")
        ran = place.run(engine, *words)
        asked = len(engine.steps)
        told = json.loads(ran.stdout)
        assert ran.returncode == 0 and 0 < asked < 6
        assert any("no time was left" in name for name in told["left_out"]), told
        place.run(engine, *words)
        assert len(engine.steps) > asked
