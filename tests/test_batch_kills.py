"""A batch that is killed at any moment and resumed: the same results, none twice, nothing left."""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

import pytest

from glmcode.batch_worktree import Worktrees, _delete
from tests.batch_kit import Batch, Diligent, git
from tests.fake_engine import FakeEngine, Reply
from tests.repl.pty_driver import PtySession


@pytest.fixture
def batch(tmp_path: Path) -> Batch:
    return Batch(tmp_path)


def wait_for(condition: object, what: str) -> None:
    end = time.monotonic() + 90
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, what
        time.sleep(0.02)


def kept(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "results").glob("*.json")}


def told(folder: Path) -> dict[str, tuple[object, bytes]]:
    """What a batch came to: the answer and the patch of each task."""
    return {
        path.stem: (
            json.loads(path.read_bytes())["result"]["result"],
            (folder / "patches" / f"{path.stem}.patch").read_bytes(),
        )
        for path in (folder / "results").glob("*.json")
    }


def test_killed_again_and_again_the_results_are_those_of_a_run_that_was_not(batch: Batch) -> None:
    batch.tasks(*({"id": f"t{number}", "prompt": f"do {number}"} for number in range(5)))
    words = ("--worktrees", "-y", "--resume", "--jobs", "2")
    before: dict[str, bytes] = {}
    with Diligent(delay=0.2) as engine:
        assert batch.run(engine, *words, "--output", str(batch.work.parent / "whole"))[0] == 0
        for count in (0, 2):  # killed at the first answer, and with so many tasks done
            asked = len(engine.steps)
            ran = batch.start(engine, *words)
            wait_for(
                lambda asked=asked, count=count: (
                    len(engine.steps) > asked and len(kept(batch.out)) >= count
                ),
                f"{count} done",
            )
            ran.send_signal(signal.SIGKILL)
            ran.communicate()
            assert before.items() <= kept(batch.out).items()
            before = kept(batch.out)
        asked = len(engine.steps)
        code, stdout, _ = batch.run(engine, *words)
    assert code == 0 and stdout.startswith("5 of 5 tasks done")
    first = [step.json["messages"][1]["content"] for step in engine.steps[asked:]]
    assert {text.splitlines()[-1] for text in first}.isdisjoint(f"do {name[1]}" for name in before)
    assert before.items() <= kept(batch.out).items()
    assert told(batch.out) == told(batch.work.parent / "whole")
    assert git(batch.work, "worktree", "list").count("\n") == 1
    assert not list((batch.work / ".git").glob("worktrees/*"))
    assert list((batch.out / "worktrees").iterdir()) == []


def test_what_git_left_half_made_goes_and_another_ones_lost_worktree_stays(
    batch: Batch, tmp_path: Path
) -> None:
    git(batch.work, "worktree", "add", "-q", "--detach", str(tmp_path / "theirs"))
    (tmp_path / "theirs").rename(tmp_path / "elsewhere")
    batch.tasks({"id": "one", "prompt": "a"}, {"id": "two", "prompt": "b"})
    with FakeEngine([Reply(text="1"), Reply(text="late", delay=60), Reply(text="2")]) as engine:
        ran = batch.start(engine, "--worktrees")
        wait_for(lambda: len(engine.steps) == 2, "the second task")
        ran.send_signal(signal.SIGKILL)
        ran.communicate()
        place = Worktrees(batch.out / "worktrees", 0).place("one")
        half = batch.work / ".git" / "worktrees" / f"{place.name}1"
        half.mkdir()
        (half / "locked").write_text("initializing")
        place.mkdir()
        (place / "a.py").write_text("half")
        code, _, stderr = batch.run(engine, "--worktrees", "--resume")
    assert code == 0, stderr
    left = [path.name for path in (batch.work / ".git" / "worktrees").iterdir()]
    assert left == ["theirs"]
    assert list((batch.out / "worktrees").iterdir()) == []


def test_a_record_that_is_none_is_told_and_nothing_is_run(batch: Batch) -> None:
    batch.tasks({"id": "one", "prompt": "a"})
    batch.out.mkdir()
    (batch.out / "results").mkdir()
    for text in ("", "{", "[]", '{"result": 3}', '{"result": {}}'):
        (batch.out / "results" / "one.json").write_text(text)
        with FakeEngine([]) as engine:
            code, _, stderr = batch.run(engine, "--resume")
        assert code == 2 and "is no record of a batch: remove it" in stderr, text


def session(batch: Batch, engine: FakeEngine, columns: int, *words: str, **more: str) -> PtySession:
    server = ["--base-url", engine.base_url, "--protocol", "chat", "-m", "glm"]
    argv = [sys.executable, "-m", "glmcode", "batch", str(batch.file), *server, *words]
    environment = {**batch.environment, "TERM": "xterm-256color", **more}
    return PtySession(argv, batch.work, environment, (columns, 20))


@pytest.mark.parametrize("columns", [12, 100])
def test_on_a_terminal_a_bar_tells_how_far_it_is_and_leaves_no_trace(
    batch: Batch, columns: int
) -> None:
    batch.tasks({"id": "one", "prompt": "a"}, {"id": "two", "prompt": "日本 " * 100})
    with FakeEngine([Reply(text="1"), Reply(text="2", delay=1.5)]) as engine:
        terminal = session(batch, engine, columns)
        try:
            seen = {12: "1 of 2", 100: "[#"}[columns]
            terminal.wait_for(seen)
            bar = [row for row in terminal.screen.text.splitlines() if seen in row][-1]
            assert len(bar) < columns and (columns < 100 or "1 running (steps: 0)" in bar)
            terminal.wait_for("2 of 2")
            assert terminal.wait_exit() == 0
            assert "running" not in terminal.screen.text
        finally:
            terminal.close()


def test_ctrl_c_in_a_terminal_ends_the_runs_and_resume_goes_on(batch: Batch) -> None:
    batch.tasks(*({"id": f"t{n}", "prompt": "a"} for n in range(3)))
    late = Reply(text="late", delay=60, times=2)
    with FakeEngine([Reply(text="1"), late, Reply(text="2"), Reply(text="3")]) as engine:
        terminal = session(batch, engine, 80, "--worktrees", "--jobs", "2")
        try:
            terminal.wait_until(lambda: len(engine.steps) == 3, "two that wait")
            terminal.type("\x03")
            terminal.wait_for("--resume goes on")
            assert terminal.wait_exit() == 130
        finally:
            terminal.close()
        assert [path.stem for path in (batch.out / "results").iterdir()] == ["t0"]
        assert list((batch.out / "worktrees").iterdir()) == []
        assert git(batch.work, "worktree", "list").count("\n") == 1
        code, stdout, _ = batch.run(engine, "--worktrees", "--resume")
    assert code == 0 and stdout.startswith("3 of 3 tasks done")


def test_a_dumb_terminal_and_a_closed_one_get_no_bar(batch: Batch) -> None:
    batch.tasks({"id": "one", "prompt": "a"}, {"id": "two", "prompt": "b"})
    with FakeEngine([Reply(text="1", times=4)]) as engine:
        terminal = session(batch, engine, 80, TERM="dumb")
        try:
            assert terminal.wait_exit() == 0
            assert "\x1b" not in terminal.raw and "[2/2] two: b" in terminal.raw
        finally:
            terminal.close()
        other = batch.out.with_name("other")
        terminal = session(batch, engine, 80, "--output", str(other))
        terminal.wait_until(lambda: len(engine.steps) >= 3, "the third run")
        os.close(terminal.slave)
        os.close(terminal.master)
        ended = terminal.process.wait(timeout=60)
    assert ended in (0, 1, 143)
    for path in (other / "results").iterdir():
        assert json.loads(path.read_text())["result"]["exit_code"] == 0


@pytest.mark.parametrize("mode", [0o000, 0o500, 0o300])
def test_folders_that_a_task_closed_go_with_its_worktree(mode: int) -> None:
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o777)
        child = os.fork()
        if not child:  # one that is not root, whom no folder is closed to
            try:
                if os.geteuid() == 0:
                    os.setuid(65_534)
                tree = Path(place) / "tree"
                (tree / "a" / "b").mkdir(parents=True)
                (tree / "a" / "b" / "file").write_bytes(b"x")
                (tree / "link").symlink_to("a")
                for folder in (tree / "a" / "b", tree / "a", tree):
                    folder.chmod(mode)
                _delete(tree)
                os._exit(int(tree.exists()))
            finally:
                os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
