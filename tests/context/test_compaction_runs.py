"""Compaction in real processes: what a caller sees, and what a kill leaves behind."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

from glmcode.core.messages import AssistantMessage, UserMessage
from glmcode.sessions import fold_messages
from tests.context.compaction_kit import SummingEngine, read
from tests.fake_engine import Reply
from tests.test_headless import Headless

SUMMARY = Reply(text="## Request\nRead.\n## Done\nRead.\n## Files\n-\n## Left\nNothing.")


@pytest.fixture
def headless(tmp_path: Path) -> Headless:
    made = Headless(tmp_path)
    for number in range(1, 12):
        lines = [f"line {row} of file {number}: value = {row * number}" for row in range(60)]
        (made.work / f"f{number}.txt").write_text("\n".join(lines))
    return made


def script() -> list[Reply]:
    return [*(read(f"f{number}.txt") for number in range(1, 12)), Reply(text="All read.")]


LIMITS = ("--set", "context.window=8192")


def test_a_compaction_is_a_system_line_of_stream_json_and_one_note(headless: Headless) -> None:
    with SummingEngine(script(), [SUMMARY]) as engine:
        arguments = (*LIMITS, "--output-format", "stream-json", "read them")
        done = headless.run(engine, *arguments)
    assert done.returncode == 0, done.stderr
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert told[-1]["type"] == "result" and told[-1]["result"] == "All read."
    found = [line for line in told if line.get("subtype") == "compact_boundary"]
    assert len(found) == len(engine.questions) >= 1
    told_of = found[0]["compact_metadata"]
    assert told_of["trigger"] == "auto" and told_of["pre_tokens"] > told_of["post_tokens"] > 0
    assert found[0]["type"] == "system" and told_of["mechanical"] is False
    notes = [line for line in done.stderr.splitlines() if line.startswith("compacted: ")]
    assert len(notes) == len(found) and f"{told_of['pre_tokens']:,} tokens became" in notes[0]


def test_a_message_larger_than_the_window_ends_with_1_and_both_numbers(
    headless: Headless,
) -> None:
    with SummingEngine(script(), [SUMMARY]) as engine:
        done = headless.run(engine, *LIMITS, "-", input="far too long " * 5_000)
        assert not engine.steps
    assert done.returncode == 1 and done.stdout == ""
    assert "tokens, and of the window's 8,192 only" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_kill_while_the_summary_comes_leaves_the_conversation_and_it_goes_on(
    headless: Headless,
) -> None:
    slow = Reply(text="a summary that takes long", chunk=1, gap=0.5)
    with SummingEngine(script(), [slow, SUMMARY]) as engine:
        process = headless.start(engine, *LIMITS, "read them")
        end = time.monotonic() + 60
        while not engine.questions and time.monotonic() < end:
            time.sleep(0.02)
        time.sleep(0.3)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        (journal,) = headless.journals()
        before = fold_messages(journal)
        replies = sum(isinstance(m, AssistantMessage) for m in before)
        assert replies == len(engine.steps) - 1 >= 3
        assert isinstance(before[0], UserMessage) and before[0].text.endswith("read them")
        done = headless.run(engine, *LIMITS, "-c", "go on")
    assert done.returncode == 0 and done.stdout == "All read.\n", done.stderr
    assert "compacted: " in done.stderr
    assert process.returncode == -signal.SIGKILL
