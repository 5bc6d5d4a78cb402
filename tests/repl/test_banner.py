from __future__ import annotations

from pathlib import Path

import pytest

from glmcode import __version__
from glmcode.agent_options import AgentOptions
from glmcode.repl.banner import greeting, near, reached
from glmcode.repl.columns import columns, cut, cut_path
from glmcode.repl.paint import Spans


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = tmp_path / "a project with a name" / "日本語"
    (folder / ".git").mkdir(parents=True)
    (folder / ".git" / "HEAD").write_text("ref: refs/heads/mend-the-\x1b[31msum\n")
    return folder


def options(folder: Path, *, trusted: bool) -> AgentOptions:
    return AgentOptions(workspace=folder, trusted=trusted)


def text(spans: Spans) -> str:
    return "".join(part for _, part in spans)


def test_the_banner_tells_version_folder_branch_and_trust(workspace: Path) -> None:
    first, second = greeting(options(workspace, trusted=True), 100)
    assert text(first) == f"glmcode {__version__}  /help"
    assert text(second) == "~/a project with a name/日本語 · mend-the-␛[31msum · trusted"


def test_a_folder_that_brings_something_and_is_not_trusted_is_said_to_be_so(
    workspace: Path,
) -> None:
    assert "trusted" not in text(greeting(options(workspace, trusted=False), 100)[1])
    (workspace / ".glmcode").mkdir()
    (workspace / ".glmcode" / "config.toml").write_text("")
    second = greeting(options(workspace, trusted=False), 100)[1]
    assert second[-1] == ("warning", "not trusted")


@pytest.mark.parametrize("width", [10, 11, 20, 24, 39, 40, 41, 80, 300])
def test_each_of_its_lines_fits_one_row(workspace: Path, width: int) -> None:
    lines = [
        *greeting(options(workspace, trusted=True), width),
        reached("glm-4.6-reap-with-a-long-name", 202_752, "protocol tokens: a probe", width),
        reached("模型" * 30, 0, "protocol chat: it was asked for", width),
    ]
    assert all(0 < columns(text(line)) <= width for line in lines)
    if width >= 40:
        assert "日本語" in text(lines[1]) and "202,752" in text(lines[2])


def test_what_answers_is_told_with_its_window_and_the_reason_as_far_as_there_is_room() -> None:
    why = "protocol tokens: the same ids"
    assert text(reached("glm", 16_384, why, 80)) == f"glm · 16,384 tokens · {why}"
    assert text(reached("glm", 16_384, why, 40)) == "glm · 16,384 tokens · protocol tokens: …"
    assert text(reached("glm", 0, why, 20)) == "glm · protocol toke…"
    assert text(reached("glm", 16_384, why, 10)) == "glm"


def test_a_path_keeps_its_end_and_a_text_its_beginning() -> None:
    assert cut_path("/a/folder/of/mine", 10) == "…/of/mine"
    assert cut_path("/a/folder/of/mine", 3) == "mi…"
    assert cut("日本語", 5) == "日本…" and cut("日本語", 4) == "日…" and cut("abc", 3) == "abc"
    assert cut("abc", 0) == ""


def test_the_persons_own_folder_is_shown_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert near(tmp_path) == "~" and near(tmp_path / "x") == "~/x"
    assert near(Path("/elsewhere")) == "/elsewhere"
