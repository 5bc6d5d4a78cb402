from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest

from glmcode.review_command import run_review
from tests.fake_engine import FakeEngine, Reply, Seen
from tests.githooks_kit import answer
from tests.review.test_diff import commit, git
from tests.review.test_planted import SARIF

FAULT = "PLANTED"
LONG = [f"value_{n} = {n}" for n in range(600)]


class Reviewer(FakeEngine):
    """Names every planted line that it is shown, by file, number and text, and only those.

    off: how much its numbers are wrong.
    """

    off = 0

    def _step(self, seen: Seen) -> Reply:
        shown = seen.json["messages"][1]["content"]
        found, file = [], ""
        for line in shown.splitlines():
            if line.startswith("=== "):
                file = re.sub(r"(?: \(\w+\))?: \S+ \S+$|: \+.*$", "", line[4:]).split(" -> ")[-1]
                file = re.sub(r" \(\w+\)$", "", file)
            elif FAULT in line and (match := re.match(r" *(\d+) [+ ](.*)", line)):
                said = {"file": file, "line": int(match[1]) + self.off, "code": match[2]}
                found.append({**said, "severity": "error", "reason": "planted"})
        return answer({"findings": found, "verdict": "block" if found else "pass"})


class Off(Reviewer):
    off = 4


def write(
    repo: Path, name: str, lines: list[str], end: str = "\n", last: str | None = None
) -> None:
    (repo / name).parent.mkdir(parents=True, exist_ok=True)
    text = end.join(lines) + (end if last is None else last)
    (repo / name).write_bytes(text.encode())


def plant(lines: list[str], *at: int) -> list[str]:
    lines = list(lines)
    for number in sorted(at, reverse=True):
        lines.insert(number, f"x = 1 / 0  # {FAULT}")
    return lines


def many_hunks(repo: Path) -> None:
    write(repo, "a.py", LONG)
    commit(repo)
    changed = [f"{line}  # new" if n % 20 == 3 else line for n, line in enumerate(LONG)]
    write(repo, "a.py", plant(changed, 7, 299, 580))


def same_lines_in_several_files(repo: Path) -> None:
    for name in ("a.py", "b/a.py", "c.py"):
        write(repo, name, LONG[:40])
    commit(repo)
    write(repo, "a.py", plant(LONG[:40], 5))
    write(repo, "b/a.py", plant(LONG[:40], 30))
    write(repo, "c.py", ["first", *plant(LONG[:40], 12)])


def renamed_and_changed(repo: Path) -> None:
    write(repo, "old name.py", LONG[:80])
    commit(repo)
    (repo / "sub").mkdir()
    git(repo, "mv", "old name.py", "sub/new name.py")
    write(repo, "sub/new name.py", plant(LONG[:80], 44))


def crlf(repo: Path) -> None:
    write(repo, "a.py", LONG[:40], "\r\n")
    commit(repo)
    write(repo, "a.py", plant(LONG[:40], 39), "\r\n")


def line_ends_change(repo: Path) -> None:
    write(repo, "a.py", LONG[:40], "\r\n")
    commit(repo)
    write(repo, "a.py", plant(LONG[:40], 20))


def no_newline_at_the_end(repo: Path) -> None:
    write(repo, "a.py", LONG[:9], last="")
    commit(repo)
    write(repo, "a.py", plant(LONG[:9], 9), last="")


def moved_block(repo: Path) -> None:
    block = [f"x = 1 / 0  # {FAULT}", "moved_1", "moved_2"]
    write(repo, "a.py", [*LONG[:20], *block, *LONG[20:60]])
    commit(repo)
    write(repo, "a.py", [*LONG[:50], *block, *LONG[50:60]])


def beside_deleted_binary_mode_and_link(repo: Path) -> None:
    write(repo, "gone.py", plant(LONG[:9], 3))
    write(repo, "run.sh", ["true"])
    commit(repo)
    (repo / "gone.py").unlink()
    (repo / "run.sh").chmod(0o755)
    (repo / "image.bin").write_bytes(bytes(range(256)))
    (repo / "link").symlink_to("nowhere")
    write(repo, "größe 数.py", plant(LONG[:9], 0))


def larger_than_the_window(repo: Path) -> None:
    commit(repo)
    for number in range(6):
        write(repo, f"f{number}.py", plant(LONG[:300], 10 * number, 299))


def one_file_larger_than_the_window(repo: Path) -> None:
    write(repo, "big.py", ["zero"])
    commit(repo)
    lines = [f"big_{n} = {n}" for n in range(2_500)]
    write(repo, "big.py", ["zero", *plant(lines, 0, 1_250, 2_499)])


CHANGES: list[Callable[[Path], None]] = [
    many_hunks, same_lines_in_several_files, renamed_and_changed, crlf, line_ends_change,
    no_newline_at_the_end, moved_block, beside_deleted_binary_mode_and_link,
    larger_than_the_window, one_file_larger_than_the_window,
]  # fmt: skip


def planted(repo: Path) -> list[tuple[str, int]]:
    """Where the planted lines stand in the files as they are now."""
    found = []
    for file in sorted(repo.rglob("*")):
        if file.is_file() and ".git" not in file.parts:
            for number, line in enumerate(file.read_bytes().split(b"\n"), 1):
                if FAULT.encode() in line:
                    found.append((file.relative_to(repo).as_posix(), number))
    return sorted(found)


@pytest.mark.parametrize("kind", [Reviewer, Off])
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_fault_that_the_model_names_is_told_on_its_line_in_every_format(
    change: Callable[[Path], None],
    kind: type[Reviewer],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    repo = tmp_path / "repo"
    repo.mkdir()
    git(repo, "init", "-q")
    change(repo)
    git(repo, "add", "-A")
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GLMCODE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(repo)

    def told(form: str) -> str:
        server = ("--base-url", engine.base_url, "--protocol", "chat", "-m", "glm")
        words = ("--staged", "--format", form, *server, "--set", "context.window=16384")
        assert run_review(list(words)) == 4
        return capfd.readouterr().out

    with kind([], window=16_384) as engine:
        found = json.loads(told("json"))
        asked = len(engine.steps)
        text, sarif, github = told("text"), json.loads(told("sarif")), told("github")
        assert len(engine.steps) == asked, "the same diff is asked about once"
    right = planted(repo)
    assert right and sorted((one["file"], one["line"]) for one in found["findings"]) == right
    assert (asked > 1) is ("window" in change.__name__)
    assert all(f"{name}:{line}: error: planted" in text for name, line in right)
    jsonschema.Draft202012Validator(SARIF).validate(sarif)
    lines = [
        one["locations"][0]["physicalLocation"]["region"]["startLine"]
        for one in sarif["runs"][0]["results"]
    ]
    assert sorted(lines) == sorted(line for _, line in right)
    commands = [line for line in github.splitlines() if line.startswith("::error file=")]
    assert len(commands) == len(right)
