from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from glmcode.engine.attach import engine_status
from glmcode.engine.introduce import Introduction
from glmcode.engine.lane import RESUMES
from glmcode.engine.mark import HEADER
from tests.engine.client_kit import TOKENIZER
from tests.engine.engine_kit import Home, new_home, until
from tests.fake_engine import FakeEngine, Reply

KEY = "a-key-that-is-long-enough"
GLMCODE = [sys.executable, "-m", "glmcode"]


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    with new_home(monkeypatch) as made:
        made.profile("fake", "--gap", "0.05")
        yield made


def run(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*GLMCODE, *words],
        cwd=folder,
        env={**os.environ, "THE_KEY": KEY, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


def door(home: Home) -> str:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    words = ["--listen", f"127.0.0.1:{port}", "--api-key-env", "THE_KEY"]
    done = run(home.folder, "engine", "start", "--profile", "fake", *words)
    assert done.returncode == 0, done.stderr
    return f"http://127.0.0.1:{port}/v1"


def attached(home: Home, server: list[str], *words: str) -> dict[str, Any]:
    """Whom the supervisor sees while a run is answered."""
    settings = ["--set", f"engine.tokenizer={TOKENIZER}", "--set", "context.window=9000"]
    command = [*GLMCODE, "-p", "hello", "--protocol", "tokens", *server, *settings, *words]
    environment = {**os.environ, "THE_KEY": KEY, "GLMCODE_PARENT": "outer"}
    with subprocess.Popen(command, cwd=home.folder, env=environment) as run:
        until(lambda: engine_status("fake").running)
        (one,) = engine_status("fake").running
        run.kill()
    return dict(one)


@pytest.mark.parametrize("kind", ["hook", "background", "scripted"])
def test_a_run_says_its_class_at_a_glmcode_s_door(home: Home, kind: str) -> None:
    server = ["--base-url", door(home), "--api-key-env", "THE_KEY"]
    one = attached(home, server, "--queue-class", kind)
    assert one["class"] == kind and one["label"].endswith(home.folder.name)
    assert len(one["run"]) == 16 and one["tokens"] > 0


def test_so_it_does_at_the_supervisor_s_socket_by_its_address(home: Home) -> None:
    home.attach()
    one = attached(home, ["--base-url", f"unix:{home.paths().socket}"], "--no-wait")
    assert one["class"] == "scripted" and one["label"].startswith("scripted run in ")


@pytest.mark.parametrize("words", [[], ["--queue-class", "hook"], ["--no-wait"]])
@pytest.mark.parametrize("protocol", ["chat", "tokens"])
def test_a_foreign_server_hears_nothing_of_it(
    tmp_path: Path, words: list[str], protocol: str
) -> None:
    with FakeEngine([Reply(text="hi")], tokenizer=TOKENIZER) as engine:
        server = ["--base-url", engine.base_url, "-m", "glm", "--protocol", protocol]
        server += ["--set", f"engine.tokenizer={TOKENIZER}"]
        home = str(tmp_path / "home")
        done = run(tmp_path, "-p", "hello", *server, *words, GLMCODE_HOME=home)
        assert done.returncode == 0, done.stderr
        assert engine.steps
        names = {name for seen in engine.requests for name in seen.headers}
    assert not [name for name in names if name.lower().startswith("x-glmcode")]


def test_the_first_request_of_chat_is_the_first_completion_unless_a_place_must_be_said(
    tmp_path: Path,
) -> None:
    for words, paths in (
        ([], ["/v1/chat/completions"]),
        (["--queue-class", "background"], ["/v1/models", "/v1/chat/completions"]),
    ):
        with FakeEngine([Reply(text="hi")]) as engine:
            server = ["--base-url", engine.base_url, "-m", "glm", "--protocol", "chat"]
            home = str(tmp_path / "home")
            run(tmp_path, "-p", "hello", *server, *words, GLMCODE_HOME=home)
            assert [seen.path for seen in engine.requests] == paths


def test_a_server_is_known_by_the_mark_of_its_answers_and_only_then_told() -> None:
    said = Introduction({"x-glmcode-class": "hook", RESUMES: "ids"}, known=False)
    assert said.pending and said.says({"x-glmcode-tokens": "3"}) == {}
    said.met({"server": "another"})
    assert said.says({}) == {}
    said.met({HEADER: "12-34 served=1 block=16"})
    assert said.says({"a": "b"}) == {"x-glmcode-class": "hook", RESUMES: "ids", "a": "b"}
    said.no_ids()
    assert not said.pending and RESUMES not in said.says({})
