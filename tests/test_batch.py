"""`glmcode batch`: results, patches, resuming, kills; real runs against a scripted server."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.batch_kit import Batch, git
from tests.fake_engine import FakeEngine, Reply

WRITE = {"name": "Write", "arguments": {"file_path": "new.bin", "content": "new\n"}}
ADD = [Reply(calls=[WRITE]), Reply(text="Written.")]


@pytest.fixture
def batch(tmp_path: Path) -> Batch:
    return Batch(tmp_path)


def prompts(engine: FakeEngine) -> list[str]:
    asked = [step.json["messages"] for step in engine.steps]
    return [m[-1]["content"].splitlines()[-1] for m in asked if m[-1]["role"] == "user"]


def test_a_task_in_a_worktree_becomes_a_patch_and_leaves_nothing_else(batch: Batch) -> None:
    batch.tasks({"id": "one", "prompt": "first"}, {"id": "two", "prompt": "second"})
    (batch.work / "a.py").write_bytes(b"mine\n")
    git(batch.work, "add", "a.py")
    index = (batch.work / ".git" / "index").read_bytes()
    with FakeEngine([*ADD, Reply(text="Nothing to do.")]) as engine:
        code, stdout, stderr = batch.run(engine, "--worktrees", "-y", "--output-format", "text")
    assert code == 0, stderr
    assert stdout.startswith("2 of 2 tasks done, 0 failed (exit code 0: 2)\n")
    assert "[2/2] two: done in 1 steps" in stderr and "left" in stderr
    assert (batch.work / ".git" / "index").read_bytes() == index
    assert {path.name for path in batch.work.iterdir()} == {".git", "a.py"}
    assert git(batch.work, "worktree", "list").count("\n") == 1
    assert list((batch.out / "worktrees").iterdir()) == []
    assert (batch.out / "patches" / "two.patch").read_bytes() == b""
    git(batch.work, "apply", str(batch.out / "patches" / "one.patch"))
    assert (batch.work / "new.bin").read_bytes() == b"new\n"
    assert batch.record("one")["result"]["result"] == "Written."
    assert json.loads((batch.out / "summary.json").read_text())["exit_codes"] == {"0": 2}


def test_one_bad_task_does_not_stop_the_rest_and_the_code_is_1(batch: Batch) -> None:
    batch.tasks(
        {"id": "refused", "prompt": "a", "permission_mode": "maybe"},
        {"id": "budget", "prompt": "b", "max_turns": 1},
        {"id": "nowhere", "prompt": "c", "cwd": "no/such"},
        {"id": "good", "prompt": "d"},
    )
    with FakeEngine([ADD[0], Reply(text="Done.")]) as engine:
        code, stdout, stderr = batch.run(engine, "-y")
    assert (code, stdout.splitlines()[0]) == (
        1,
        "1 of 4 tasks done, 3 failed (exit code 0: 1, exit code 1: 1, exit code 2: 1, "
        "exit code 53: 1)",
    ), stderr
    assert "Traceback" not in stderr and "maybe" in stderr
    assert batch.record("budget")["result"]["subtype"] == "error_max_turns"


def test_a_batch_that_was_killed_goes_on_and_no_task_that_was_done_is_done_again(
    batch: Batch,
) -> None:
    batch.tasks(*({"id": name, "prompt": f"do {name}"} for name in ("one", "two", "three")))
    with FakeEngine([Reply(text="1"), Reply(text="late", delay=60)]) as engine:
        ran = batch.start(engine, "--worktrees")
        end = time.monotonic() + 60
        while prompts(engine) != ["do one", "do two"] and time.monotonic() < end:
            time.sleep(0.1)
        ran.send_signal(signal.SIGKILL)
        ran.communicate()
    git(batch.work, "commit", "-qm", "moved on", "--allow-empty")
    with FakeEngine([Reply(text="2"), Reply(text="3")]) as engine:
        code, _, stderr = batch.run(engine, "--worktrees")
        assert code == 2 and "add --resume" in stderr and engine.steps == []
        code, stdout, stderr = batch.run(engine, "--worktrees", "--resume")
        assert prompts(engine) == ["do two", "do three"]
        assert code == 0 and "1 of 3 tasks are done already" in stderr
        code, stdout, stderr = batch.run(engine, "--worktrees", "--resume")
        assert (code, len(engine.steps)) == (0, 2) and stdout.startswith("3 of 3 tasks done")
    told = [batch.record(name)["result"]["result"] for name in ("one", "two", "three")]
    assert told == ["1", "2", "3"]
    first = git(batch.work, "rev-parse", "HEAD~").strip()
    assert {batch.record(name)["base"] for name in ("one", "two", "three")} == {first}


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_batch_that_is_told_to_end_ends_its_run_which_is_not_done(
    batch: Batch, number: signal.Signals, code: int
) -> None:
    batch.tasks({"id": "one", "prompt": "a"})
    with FakeEngine([Reply(text="late", delay=60)]) as engine:
        ran = batch.start(engine)
        end = time.monotonic() + 60
        while not engine.steps and time.monotonic() < end:
            time.sleep(0.1)
        ran.send_signal(number)
        _, stderr = ran.communicate(timeout=50)
        listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
        assert engine.base_url not in listed
    assert ran.returncode == code and "--resume goes on" in stderr
    assert list((batch.out / "results").iterdir()) == []


def test_a_task_whose_engine_was_not_there_is_not_done_and_a_changed_one_is_refused(
    batch: Batch,
) -> None:
    batch.tasks({"id": "one", "prompt": "a"})
    with FakeEngine([Reply(text="1")]) as engine:
        words = ["--base-url", f"unix:{batch.work}/no.sock"]
        code, stdout, _ = batch.run(engine, *words)
        assert code == 75 and "1 could not be tried: --resume does" in stdout
        assert batch.run(engine, "--resume")[0] == 0
        batch.tasks({"id": "one", "prompt": "b"})
        code, _, stderr = batch.run(engine, "--resume")
    assert code == 2 and "not the one that was done" in stderr


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", "holds no task"),
        ('{"prompt": ', "line 1"),
        ("[1]", "a task is an object"),
        ('{"id": "../a", "prompt": "x"}', "no name of a file"),
        ('{"prompt": " "}', "needs a prompt"),
        ('{"prompt": "x", "promt": "y"}', "unknown key 'promt'"),
        ('{"id": "a", "prompt": "x"}\n{"id": "a", "prompt": "x"}', "line 2: the id a is there"),
        ('{"id": "a", "prompt": "x"}\n{"id": "A", "prompt": "x"}', "line 2: the id A is there"),
        ('{"prompt": "x"}\n{"prompt": "x", "base": 1}', "line 2: base is the name of a commit"),
        ('{"prompt": "x", "repo": "a\\u0000b"}', "repo is the name of a folder"),
    ],
)
def test_a_file_that_is_wrong_is_a_usage_error_before_anything_runs(
    tmp_path: Path, line: str, words: str
) -> None:
    from glmcode.batch_tasks import BatchError, read_tasks

    (tmp_path / "t.jsonl").write_text(line)
    with pytest.raises(BatchError, match=words.replace("[", r"\[")):
        read_tasks(tmp_path / "t.jsonl")
