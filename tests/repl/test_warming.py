from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fake_engine import STEP_PATHS
from tests.repl.pty_driver import glmcode

HERE = Path(__file__).resolve().parent
TOKENIZER = HERE.parents[1] / "models" / "tiny" / "tokenizer.json"


@pytest.fixture
def home() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="glm-"))
    profiles = folder / "home" / "config" / "profiles"
    profiles.mkdir(parents=True)
    command = [sys.executable, str(HERE / "own_engine.py"), str(folder / "script.json"), "{socket}"]
    (profiles / "own.toml").write_text(
        f'engine_command = {json.dumps(command)}\nmodel = "none/own"\nserved_name = "glm"\n'
        f'protocol = "tokens"\ntokenizer = "{TOKENIZER}"\nmap = false\n'
    )
    (folder / "workspace").mkdir()
    yield folder
    run(folder, "engine", "stop", "--profile", "own")
    shutil.rmtree(folder)


def run(home: Path, *words: str) -> str:
    environment = os.environ | {"GLMCODE_HOME": str(home / "home")}
    command = [sys.executable, "-m", "glmcode", *words]
    where = {"cwd": home / "workspace", "env": environment, "timeout": 120}
    return subprocess.run(command, check=True, capture_output=True, text=True, **where).stdout  # type: ignore[call-overload,no-any-return]


def script(home: Path, *replies: dict[str, Any]) -> None:
    (home / "script.json").write_text(json.dumps(replies))


def steps(home: Path) -> list[dict[str, Any]]:
    """What the engine was asked; its record is written a little later."""
    time.sleep(0.5)
    lines = (home / "script.seen").read_text().splitlines()
    return [json.loads(line) for line in lines if json.loads(line)["path"] in STEP_PATHS]


def most(step: dict[str, Any]) -> int:
    return int(step["body"]["sampling_params"]["max_tokens"])


def test_a_resumed_session_is_warmed_while_the_person_types_and_the_ledger_tells_it(
    home: Path,
) -> None:
    script(
        home, {"text": "The first."}, {"text": "x", "delay": 3.0}, {"text": "The second."},
    )  # fmt: skip
    run(home, "-p", "one", "--profile", "own")
    with glmcode(home, "--profile", "own", "-c") as session:
        session.wait_for_visible("ready, warming ")
        session.wait_gone("warming")
        session.wait_for_visible("ready")
        session.type("two\r")
        session.wait_for("The second.")
        session.wait_for_visible("ready")
        session.type("\x04")
        assert session.wait_exit() == 0
        (name,) = set(re.findall(r"session (\d{8}-\d{6}-\w{6}):", session.screen.text))
    first, warm, second = steps(home)
    assert (most(warm), most(first) > 1, most(second) > 1) == (1, True, True)
    ids = warm["body"]["token_ids"]
    assert second["body"]["token_ids"][: len(ids)] == ids
    rows = run(home, "sessions", "show", name, "--ledger")
    assert re.search(rf"2 +warm +{len(ids):,} ", rows)


def test_after_a_compaction_the_new_prefix_is_warmed(home: Path) -> None:
    script(
        home,
        {"text": "The first. " + " ".join(str(n * n) for n in range(400))},
        {"text": "A summary: the person said one."},
        {"text": "x", "delay": 2.0},
        {"text": "The second."},
    )
    with glmcode(home, "--profile", "own", "one") as session:
        session.wait_for("The first.")
        session.wait_for_visible("ready")
        session.type("/compact\r")
        session.wait_for_visible("ready, warming ")
        session.wait_gone("warming")
        session.type("two\r")
        session.wait_for("The second.")
        session.wait_for_visible("ready")
        session.type("/cache\r")
        session.wait_for("#3 warm")
        session.type("\x04")
        assert session.wait_exit() == 0
    _, question, warm, second = steps(home)
    ids = warm["body"]["token_ids"]
    assert second["body"]["token_ids"][: len(ids)] == ids
    assert len(ids) < len(question["body"]["token_ids"])


def test_warming_ends_the_moment_something_is_sent(home: Path) -> None:
    script(home, {"text": "The first."}, {"text": "x", "delay": 60.0}, {"text": "The second."})
    run(home, "-p", "one", "--profile", "own")
    with glmcode(home, "--profile", "own", "-c") as session:
        session.wait_for_visible("ready, warming ")
        session.type("two\r")
        session.wait_for("The second.")
        session.wait_for_visible("ready")
        session.type("\x04")
        assert session.wait_exit() == 0
    _, warm, second = steps(home)
    assert warm["answered"] is None
    assert second["received"] - warm["at"] < 30


def test_without_a_person_or_with_the_setting_off_nothing_is_warmed(home: Path) -> None:
    script(home, {"text": "The first."}, {"text": "The second."}, {"text": "The third."})
    run(home, "-p", "one", "--profile", "own")
    run(home, "-p", "-c", "two", "--profile", "own")
    with glmcode(home, "--profile", "own", "-c", "--set", "engine.warm=false") as session:
        session.wait_for_visible("ready")
        time.sleep(1.0)
        session.type("three\r")
        session.wait_for("The third.")
        session.type("\x04")
        assert session.wait_exit() == 0
        assert "warming" not in session.screen.text
    assert all(most(step) > 1 for step in steps(home)) and len(steps(home)) == 3
