"""`glmcode batch` with several tasks at once: order, queue, several repositories, failures."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from glmcode.base.settings import EngineSettings
from glmcode.batch_command import jobs_of
from glmcode.batch_progress import bar_text, seconds_left
from glmcode.engine.attach import engine_status
from tests.batch_kit import Batch, git
from tests.engine.engine_kit import Home
from tests.fake_engine import FakeEngine, Reply

ENGINE = Path(__file__).resolve().parent / "repl" / "own_engine.py"
DELAY_S = 1.5


@pytest.fixture
def batch(tmp_path: Path) -> Batch:
    return Batch(tmp_path)


def some(count: int) -> list[dict[str, Any]]:
    return [{"id": f"t{number}", "prompt": f"do {number}"} for number in range(count)]


def test_the_first_task_gets_its_answer_alone_and_the_others_then_run_together(
    batch: Batch,
) -> None:
    batch.tasks(*some(4))
    with FakeEngine([Reply(text="ok", delay=0.7), Reply(text="ok", delay=3, times=3)]) as engine:
        code, _, stderr = batch.run(engine, "--worktrees", "--jobs", "3")
    assert code == 0 and "glmcode: 3 tasks at once" in stderr
    first, second, third, fourth = sorted(engine.steps, key=lambda step: step.at)
    assert first.answered and second.at >= first.answered
    assert second.answered and third.at < second.answered and fourth.at >= first.answered
    assert git(batch.work, "worktree", "list").count("\n") == 1


def test_without_worktrees_or_with_a_server_that_says_nothing_auto_is_one_at_a_time(
    batch: Batch,
) -> None:
    batch.tasks(*some(3))
    with FakeEngine([Reply(text="ok", delay=0.3, times=3)]) as engine:
        code, _, stderr = batch.run(engine, "--worktrees", "--jobs=auto")
    assert code == 0 and "at once" not in stderr
    steps = sorted(engine.steps, key=lambda step: step.at)
    assert all(a.answered and a.answered <= b.at for a, b in itertools.pairwise(steps))


@pytest.mark.parametrize("jobs", ["0", "-1", "many", "257", "1.5"])
def test_a_number_of_jobs_that_is_none_is_a_usage_error(batch: Batch, jobs: str) -> None:
    batch.tasks(*some(1))
    with FakeEngine([]) as engine:
        code, _, stderr = batch.run(engine, f"--jobs={jobs}")
    assert code == 2 and "a number from 1 to 256, or auto" in stderr and not engine.steps


def test_tasks_of_other_repositories_and_commits_become_patches_of_those(
    batch: Batch, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "-q")
    for number in range(3):
        (other / "n.txt").write_text(f"{number}\n")
        git(other, "add", "-A")
        git(other, "commit", "-qm", str(number))
    commits = git(other, "rev-list", "--reverse", "HEAD").split()
    call = {"name": "Bash", "arguments": {"command": "cat n.txt > seen.txt"}}
    batch.tasks(
        {"id": "old", "prompt": "a", "repo": "../other", "base": commits[0]},
        {"id": "new", "prompt": "b", "repo": str(other)},
        {"id": "lost", "prompt": "c", "repo": "../other", "base": "nosuch"},
        {"id": "none", "prompt": "d", "repo": "../nowhere"},
        {"id": "own", "prompt": "e"},
    )
    script = [Reply(calls=[call]), Reply(text="ok")] * 2 + [Reply(text="ok")]
    with FakeEngine(script) as engine:
        code, stdout, _ = batch.run(engine, "--worktrees", "-y")
    assert code == 1 and stdout.startswith("3 of 5 tasks done, 2 failed")
    assert "  lost: exit code 1: git rev-parse" in stdout and "  none: exit code 1" in stdout
    for name, base, text in (("old", commits[0], b"0"), ("new", commits[2], b"2")):
        assert batch.record(name)["base"] == base
        assert b"+" + text + b"\n" in (batch.out / "patches" / f"{name}.patch").read_bytes()
    assert [git(one, "worktree", "list").count("\n") for one in (batch.work, other)] == [1, 1]


def test_after_three_tasks_in_a_row_without_an_engine_the_rest_is_not_tried(batch: Batch) -> None:
    batch.tasks(*some(4))
    with FakeEngine([Reply(text="ok", times=4)]) as engine:
        none = ("--profile=tiny", "--set", f"engine.python={batch.work}/none")
        code, stdout, stderr = batch.run(None, *none)
        assert code == 75 and stdout.startswith("0 of 4 tasks done, 0 failed (exit code 75: 3); 4 ")
        assert "[4/6]" not in stderr
        assert batch.run(engine, "--resume")[0] == 0


def test_tasks_that_failed_are_tried_again_only_when_that_is_asked_for(batch: Batch) -> None:
    batch.tasks({"id": "a", "prompt": "a"}, {"id": "b", "prompt": "b"})
    refused = Reply(status=400, body='{"error": {"message": "no"}}')
    with FakeEngine([refused, Reply(text="b"), Reply(text="a")]) as engine:
        assert batch.run(engine)[0] == 1
        assert batch.run(engine, "--resume")[0] == 1
        assert len(engine.steps) == 2
        assert batch.run(engine, "--retry-failed")[0] == 2
        code, stdout, _ = batch.run(engine, "--resume", "--retry-failed")
    assert code == 0 and stdout.startswith("2 of 2 tasks done") and len(engine.steps) == 3
    assert batch.record("a")["result"]["result"] == "a"


def test_what_came_from_the_cache_is_told_for_each_task_and_for_all(batch: Batch) -> None:
    batch.tasks(*some(2))
    usages = [
        {"prompt_tokens": 1_000, "completion_tokens": 5, "total_tokens": 1_005}
        | {"prompt_tokens_details": {"cached_tokens": cached}}
        for cached in (0, 900)
    ]
    with FakeEngine([Reply(text="ok", usage=usage) for usage in usages]) as engine:
        code, stdout, stderr = batch.run(engine)
    assert code == 0 and "0 % of 1,000 prompt tokens cached" in stderr
    assert "t1: done in 1 steps" in stderr and "90 % of 1,000 prompt tokens cached" in stderr
    assert "\n45 % of 2,000 prompt tokens cached\n" in stdout
    kept = json.loads((batch.out / "summary.json").read_text())
    assert kept["cached"]["cached_tokens"] == 900
    assert kept["tasks"]["t1"]["cached"]["cached_tokens"] == 900


def test_a_prompt_may_be_longer_than_a_command_line_and_what_is_not_is_the_tasks_own_fault(
    batch: Batch,
) -> None:
    long = "l\u00e4nger \u65e5\u672c " * 20_000
    batch.tasks({"id": "a", "prompt": long}, {"id": "b", "prompt": "b", "system_prompt": long})
    batch.environment |= {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    with FakeEngine([Reply(text="1")], window=1_000_000) as engine:
        code, stdout, stderr = batch.run(engine)
        said = engine.steps[0].json["messages"][-1]["content"]
    assert code == 1 and "1 of 2 tasks done" in stdout and "exit code 1: " in stdout, stderr
    assert "Traceback" not in stderr and said.rstrip().endswith(long.rstrip())


def test_a_summary_that_nobody_takes_is_told_as_that_and_the_results_are_there(
    batch: Batch,
) -> None:
    batch.tasks({"id": "a", "prompt": "a"}, {"id": "b", "prompt": "b", "cwd": "n\u00f6 \u2026"})
    batch.environment |= {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    with FakeEngine([Reply(text="1")]) as engine:
        code, stdout, stderr = batch.run(engine)
        assert code == 1 and "n\u00f6 \u2026 is not there" in stdout, stderr
        read, write = os.pipe()
        os.close(read)
        full = os.open("/dev/full", os.O_WRONLY)
        for descriptor, why in ((write, "Broken pipe"), (full, "No space left on device")):
            ran = batch.start(engine, "--resume", stdout=descriptor)
            os.close(descriptor)
            _, stderr = ran.communicate(timeout=60)
            assert ran.returncode == 1
            assert stderr.endswith(f"could not be written to standard output: {why}\n")
    assert batch.record("a")["result"]["result"] == "1"


def test_nothing_of_the_folder_is_imported_by_the_runs(batch: Batch) -> None:
    for name in ("json", "glmcode", "asyncio"):
        (batch.work / f"{name}.py").write_text("raise SystemExit('imported')\n")
    batch.tasks(*some(1))
    with FakeEngine([Reply(text="ok")]) as engine:
        code, stdout, stderr = batch.run(engine, safe=True)
    assert code == 0 and stdout.startswith("1 of 1 tasks done"), stderr


def test_what_is_left_is_told_by_the_mean_of_those_that_are_done() -> None:
    assert seconds_left([10.0, 20.0], [], 4, 2) == 30.0
    assert seconds_left([10.0], [4.0, 8.0], 2, 2) == (20.0 + 6.0 + 2.0) / 2
    assert seconds_left([10.0], [400.0], 0, 4) == 1.0  # late already: never nothing, never less
    assert [bar_text(n, 4, 58) for n in (0, 2, 4)] == ["[........] ", "[####....] ", "[########] "]
    assert bar_text(1, 4, 54) == "" and len(bar_text(1, 4, 300)) == 33


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    """One whose profile `own` is an engine that serves two requests at once, 1.5 s each."""
    folder = Path(tempfile.mkdtemp(prefix="glm-"))
    monkeypatch.setenv("GLMCODE_HOME", str(folder / "home"))
    made = Home(folder / "home")
    script = folder / "script.json"
    script.write_text(json.dumps([{"text": "ok", "delay": DELAY_S, "times": 20}]))
    command = [sys.executable, str(ENGINE), str(script), "{socket}"]
    made.write(
        "own",
        f'engine_command = {json.dumps(command)}\nmodel = "none/own"\nserved_name = "glm"\n'
        'protocol = "chat"\nmap = false\nmax_seqs = 2\n',
    )
    yield made
    made.close()
    shutil.rmtree(folder)


def test_auto_is_what_the_engine_serves_and_a_person_does_not_wait_for_the_batch(
    home: Home, batch: Batch
) -> None:
    batch.environment["GLMCODE_HOME"] = str(home.folder)
    batch.tasks(*some(5))
    own = EngineSettings(profile="own")
    assert (jobs_of("auto", own, True), jobs_of("auto", own, False)) == (2, 1)
    ran = batch.start(None, "--worktrees", "--profile", "own", "--jobs", "5")
    end = time.monotonic() + 60
    while len((status := engine_status("own")).waiting) < 2:
        assert time.monotonic() < end and ran.poll() is None, status
        time.sleep(0.02)
    assert {one["class"] for one in (*status.running, *status.waiting)} == {"scripted"}
    assert jobs_of("auto", own, True) == 2  # as the engine says that is up
    command = [sys.executable, "-m", "glmcode", "-p", "hello", "--profile", "own"]
    person = subprocess.run(
        [*command, "--queue-class", "interactive", "--output-format", "json"],
        cwd=batch.work, env=batch.environment, stdin=subprocess.DEVNULL, capture_output=True,
    )  # fmt: skip
    assert person.returncode == 0, person.stderr
    # It waits for an answer that is being given, and not for those that came before it.
    assert json.loads(person.stdout)["engine"]["queue_s"] < 1.5 * DELAY_S
    stdout, stderr = ran.communicate(timeout=60)
    assert ran.returncode == 0 and stdout.startswith("5 of 5 tasks done"), stderr
