"""Hooks before a real supervisor whose engine is made of paper: busy with a person, or killed."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from glmcode.engine.attach import engine_status
from tests.engine.client_kit import TOKENIZER
from tests.engine.engine_kit import Home, new_home, until
from tests.githooks_kit import Repository


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    with new_home(monkeypatch) as made:
        yield made


@pytest.fixture
def repo(tmp_path: Path, home: Home) -> Repository:
    home.profile("fake", "--gap", "0.2", tokenizer=str(TOKENIZER), protocol="tokens")
    made = Repository(tmp_path)
    made.environment["GLMCODE_HOME"] = str(home.folder)
    made.stage("a.py", "x = 1\n")
    return made


def install(repo: Repository, *options: str) -> None:
    ran = repo.hook("install", "pre-commit", "--profile", "fake", *options)
    assert ran.returncode == 0, ran.stderr


def committing(repo: Repository) -> subprocess.Popen[str]:
    return subprocess.Popen(
        ["git", "commit", "-m", "one"], cwd=repo.path, env=repo.environment,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def at_the_engine(kind: str) -> bool:
    return any(one["class"] == kind for one in engine_status("fake").running)


@pytest.mark.parametrize(
    ("victim", "closed", "code"),
    [("engine", False, 0), ("engine", True, 1), ("supervisor", False, 0)],
)
def test_a_kill_in_the_middle_of_a_hook_passes_or_blocks_and_it_is_said(
    repo: Repository, home: Home, victim: str, closed: bool, code: int
) -> None:
    home.attach()
    install(repo, "--deadline", "20", *["--fail-closed"] * closed)
    tree, index = repo.staged_tree(), (repo.path / ".git" / "index").read_bytes()
    commit = committing(repo)
    until(lambda: at_the_engine("hook"), 30)
    killed = time.monotonic()
    os.kill(home.child() if victim == "engine" else home.supervisor(), signal.SIGKILL)
    _, err = commit.communicate(timeout=60)
    assert time.monotonic() - killed < 25 and commit.returncode == code
    (line,) = [line for line in err.splitlines() if line.startswith("glmcode")]
    assert ("blocked, nothing was judged: " if closed else "passed without a look: ") in line
    assert (repo.path / ".git" / "index").read_bytes() == index
    assert closed or repo.head_tree() == tree


def test_an_engine_that_is_busy_with_a_person_costs_a_commit_no_more_than_its_deadline(
    repo: Repository, home: Home
) -> None:
    home.attach()
    install(repo, "--deadline", "2")
    body = {
        "token_ids": list(range(300, 400)), "stream": True, "output_mode": "tokens",
        "sampling_params": {"max_tokens": 40},
    }  # fmt: skip
    took: list[float] = []

    def person() -> None:
        transport = httpx.HTTPTransport(uds=str(home.paths().socket))
        headers = {"x-glmcode-class": "interactive"}
        began = time.monotonic()
        with httpx.Client(transport=transport, base_url="http://engine", timeout=60) as http:
            answer = http.post("/inference/v1/generate", json=body, headers=headers)
        assert answer.text.count("token_ids") >= 40
        took.append(time.monotonic() - began)

    busy = threading.Thread(target=person)
    busy.start()
    until(lambda: at_the_engine("interactive"))
    began = time.monotonic()
    _, err = committing(repo).communicate(timeout=60)
    waited = time.monotonic() - began
    busy.join()
    assert "passed without a look: the deadline was reached" in err and waited < 12
    assert took and " closed" not in home.noted(), "the person was not broken off"


def test_an_engine_is_started_for_the_next_time_only_where_that_was_asked_for(
    repo: Repository, home: Home
) -> None:
    install(repo)
    _, err = committing(repo).communicate(timeout=60)
    assert "the engine fake is not running" in err and home.living() == []
    install(repo, "--start-engine")
    repo.stage("a.py", "x = 2\n")
    _, err = committing(repo).communicate(timeout=60)
    assert "the engine fake is being started for the next time" in err
    until(lambda: engine_status("fake").up, 30)
    around = Path(f"/proc/{home.supervisor()}/environ").read_bytes().split(b"\0")
    names = {one.partition(b"=")[0] for one in around}
    assert not [name for name in names if name.startswith((b"GIT_", b"GLMCODE_HOOK"))]
