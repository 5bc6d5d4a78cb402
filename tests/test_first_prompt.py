"""The first prompt as a whole: the map in it, its size, its sharing, and what it may cost."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from glmcode import agent_map
from glmcode.agent_head import Ahead, Head
from glmcode.agent_options import AgentOptions
from glmcode.base.data import prompt_text
from glmcode.base.settings import ContextSettings
from glmcode.context.sources import source_files
from glmcode.core.events import Event, Notice
from glmcode.core.messages import UserMessage
from glmcode.engine.client import Client
from glmcode.engine.profile import load_profile
from glmcode.glm.pieces import pieces_text
from glmcode.glm.template import preamble_pieces, user_pieces
from glmcode.opening import _fitted
from tests.fake_engine import FakeEngine, Reply

HEADING = prompt_text("map.md")
IDENTITY = ("-c", "user.name=t", "-c", "user.email=t@localhost", "-c", "commit.gpgsign=false")


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLMCODE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """Thirty small files that use each other, and seven commits."""
    folder = (tmp_path / "repo").resolve()
    for number in range(30):
        path = folder / f"src/package{number % 4}/module_{number}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            "".join(
                f"def work_on_{number}_{one}(first: str, second: int = {one}) -> list[str]:\n"
                f"    return work_on_{(number + one) % 30}_{one}(first)\n\n\n"
                f"class Holder{number}Of{one}:\n    def run(self, value: int) -> int:\n"
                "        return value\n\n\n"
                for one in range(4)
            )
        )
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", ".")
    for number in range(7):
        subject = f"A commit whose subject is of an ordinary length, number {number}"
        git(folder, "commit", "-q", "--allow-empty", "-m", subject)
    return folder


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", *IDENTITY, *arguments], cwd=folder, check=True)


class Counting:
    """What of a client a head needs; few tokens for many characters."""

    def __init__(self, window: int = 202_752) -> None:
        self.window = window

    def text_tokens(self, text: str) -> int:
        return -(-len(text) // 4)


def opened(
    folder: Path, window: int = 202_752, events: list[Event] | None = None, **context: Any
) -> tuple[Head, str]:
    async def main() -> tuple[Head, str]:
        ahead = Ahead(AgentOptions(workspace=folder, context=ContextSettings(**context)))
        emit: Callable[[Event], None] = (events if events is not None else []).append
        return await ahead.head(cast(Client, Counting(window)), emit), await ahead.block()

    return asyncio.run(main())


def test_in_a_repository_of_thirty_small_files_the_first_prompt_stays_below_10000_characters(
    repo: Path,
) -> None:
    head, block = opened(repo)
    message = UserMessage(text=f"{block}\n\nRename load to read_config everywhere.")
    text = pieces_text([*preamble_pieces(head.preamble), *user_pieces(message)])
    assert HEADING in text and "work_on_1_1(first: str" in text and "Recent commits:" in text
    assert len(text) < 10_000


def test_the_map_stands_last_and_takes_no_more_than_its_share_of_the_window(repo: Path) -> None:
    (repo / "AGENTS.md").write_text("use tabs\n")
    small, large = (opened(repo, window)[0].preamble.system for window in (8_192, 202_752))
    assert small.index("use tabs") < small.index(HEADING)
    assert len(small) < len(large)
    assert len(small[small.index(HEADING) :]) <= 4 * 8_192 // 24


def test_without_code_there_is_no_map_and_off_means_off(repo: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "a.md").write_text("text\n")
    assert HEADING not in opened((tmp_path / "empty").resolve())[0].preamble.system
    assert HEADING not in opened(repo, map="off")[0].preamble.system
    assert HEADING in opened(repo, map="on")[0].preamble.system


def test_the_profile_decides_unless_the_setting_does() -> None:
    options = AgentOptions(workspace=Path("/"))
    tiny, big = load_profile("tiny"), load_profile("reap-268b-8x3090")
    assert [_fitted(options, p).context.map for p in (tiny, big, None)] == ["off", "auto", "auto"]
    forced = replace(options, context=ContextSettings(map="on"))
    assert _fitted(forced, tiny).context.map == "on"


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that takes its time."""

    def late(*arguments: Any) -> list[str]:
        time.sleep(0.5)
        return source_files(*arguments)

    monkeypatch.setattr("glmcode.context.sources.source_files", late)


def test_a_map_that_takes_too_long_is_left_out_and_said(
    repo: Path, slow: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[Event] = []
    monkeypatch.setattr(agent_map, "REPOSITORY_S", 0.1)
    assert HEADING not in opened(repo, events=events)[0].preamble.system
    (notice,) = (event.text for event in events if isinstance(event, Notice))
    assert notice.startswith("no repository map in this session: ")


def test_what_took_too_long_once_is_waited_for_a_second_unless_the_setting_says_on(
    repo: Path, slow: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(agent_map, "REPOSITORY_S", 0.1)
        opened(repo)
    with monkeypatch.context() as patch:
        patch.setattr(agent_map, "AGAIN_S", 0.1)
        assert HEADING not in opened(repo)[0].preamble.system
        assert HEADING in opened(repo, map="on")[0].preamble.system
        assert HEADING in opened(repo)[0].preamble.system


def test_waiting_for_the_map_is_said(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[Event] = []
    monkeypatch.setattr(agent_map, "QUIET_S", 0.0)
    assert HEADING in opened(repo, events=events)[0].preamble.system
    assert events == [Notice(text="reading the repository for its map (at most 10 s)")]


def test_two_sessions_on_one_commit_send_the_same_head_byte_for_byte(
    repo: Path, tmp_path: Path
) -> None:
    (repo / "AGENTS.md").write_text("use tabs, see @b.md @a.md\n")
    (repo / "a.md").write_text("a\n")
    (repo / "b.md").write_text("b\n")
    clone = tmp_path / "elsewhere" / "clone"
    clone.parent.mkdir()
    subprocess.run(["cp", "-r", str(repo), str(clone)], check=True)
    heads = []
    for number, folder in enumerate((repo, clone / "src" / "package1", clone)):
        with FakeEngine([Reply(text="ok")]) as engine:
            done = subprocess.run(
                [sys.executable, "-m", "glmcode", "-p", "hi", "--base-url", engine.base_url,
                 "--protocol", "chat", "-m", "glm", *(["-y"] if number else [])],
                cwd=folder,
                env={**os.environ, "PYTHONHASHSEED": str(number), "TZ": f"UTC+{number}",
                     "GLMCODE_HOME": str(tmp_path / f"home{number % 2}")},
                capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
            body = engine.steps[0].json
        heads.append((body["tools"], body["messages"][0]))
        assert body["messages"][1]["content"].startswith(f"Working directory: {folder}\n")
        assert ("Repository root: ../..\n" in body["messages"][1]["content"]) is (number == 1)
    assert heads[0] == heads[1] == heads[2]
    assert HEADING in heads[0][1]["content"] and "use tabs" in heads[0][1]["content"]
