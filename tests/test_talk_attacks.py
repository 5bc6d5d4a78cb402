"""Callers that send without end, read slowly, flood, go away, and a glmcode that is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from glmcode.output_stream import BACKLOG, OutputStream
from tests.fake_engine import FakeEngine, Reply
from tests.talk_kit import PATIENCE_S, Caller, answer, request, user
from tests.test_headless import READ, Headless

TALK = ("--input-format", "stream-json", "--output-format", "stream-json")
MOST_KIB = 400 * 1024


@pytest.fixture
def headless(tmp_path: Path) -> Headless:
    return Headless(tmp_path)


def wait_for(what: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not what():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.01)


def start(headless: Headless, engine: FakeEngine, *words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        headless.command(engine, *TALK, *words),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=headless.work,
        env=headless.environment,
    )


def peak_kib(process: subprocess.Popen[bytes]) -> int:
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


def test_ten_thousand_messages_wait_and_an_interrupt_passes_them(headless: Headless) -> None:
    with FakeEngine([Reply(text="x", delay=600)]) as engine:
        with Caller(headless, engine) as caller:
            caller.send(*(user(f"message {number}") for number in range(10_000)))
            wait_for(lambda: engine.steps)
            caller.send(request("stop", "interrupt", drop_queued=True))
            told = caller.until("control_response")["response"]["response"]
            assert told == {"interrupted": True, "dropped": 9_999}
            assert caller.end() == 130
        assert len(engine.steps) == 1
    assert [line["type"] for line in caller.said].count("result") == 1


def test_two_hundred_messages_are_answered_in_their_order(headless: Headless) -> None:
    numbers = [f"{number}" for number in range(200)]
    script = [Reply(text=number) for number in numbers]
    with FakeEngine(script, window=1 << 20) as engine, Caller(headless, engine) as caller:
        caller.send(*(user("go", uuid=number) for number in numbers))
        assert caller.end() == 0
    told = [line for line in caller.said if line["type"] == "result"]
    assert [(line["uuid"], line["result"]) for line in told] == [(n, n) for n in numbers]


def test_an_input_without_end_and_without_sense_costs_no_memory(headless: Headless) -> None:
    with FakeEngine([Reply(text="x", delay=600)]) as engine:
        process = start(headless, engine, "go")
        assert process.stdin is not None
        wait_for(lambda: engine.steps)
        for piece, times in ((b"nonsense\n" * 7_000, 30), (b"\0" * 65_536, 600)):
            for _ in range(times):
                process.stdin.write(piece)
        process.send_signal(signal.SIGTERM)
        with process.stdin:
            peak = peak_kib(process)
        assert process.stdout is not None
        rest = process.stdout.read().splitlines()
        assert process.wait(timeout=PATIENCE_S) == 143
    assert peak < MOST_KIB
    dropped = [line for line in rest if b'"dropped"' in line]
    assert json.loads(rest[-1])["type"] == "result" and dropped


def test_a_pipe_that_nobody_reads_blocks_no_interrupt_and_loses_nothing(headless: Headless) -> None:
    (headless.work / "a.py").write_text("x = 1  # line\n" * 2_000)
    script = [Reply(text=f"{n}", calls=[READ]) for n in range(12)]
    with FakeEngine([*script, Reply(text="y", delay=600)], window=1 << 20) as engine:
        process = start(headless, engine, "go", "--include-partial-messages")
        assert process.stdin is not None and process.stdout is not None
        wait_for(lambda: len(engine.steps) == 13)
        process.stdin.write(json.dumps(request("stop", "interrupt")).encode() + b"\n")
        process.stdin.flush()
        wait_for(lambda: engine.steps[-1].aborted is not None)
        process.stdin.close()
        told = [json.loads(line) for line in process.stdout]
        assert process.wait(timeout=PATIENCE_S) == 130
    texts = [b["text"] for m in told if m["type"] == "assistant" for b in m["message"]["content"]
             if b["type"] == "text"]  # fmt: skip
    assert texts == [f"{n}" for n in range(12)]
    kinds = [line["type"] for line in told if line["type"] != "stream_event"]
    assert kinds[:3] == ["system", "assistant", "user"] and kinds[-1] == "result"
    assert kinds.count("user") == 12 and kinds.count("control_response") == 1


def test_a_reader_that_goes_away_ends_the_run(headless: Headless) -> None:
    with FakeEngine([Reply(text="one"), Reply(text="two", delay=600)]) as engine:
        process = start(headless, engine, "go")
        assert process.stdout is not None and process.stdin is not None
        while b'"result"' not in process.stdout.readline():
            pass
        process.stdout.close()
        process.stdin.write(b"nonsense\n")
        process.stdin.flush()
        assert process.wait(timeout=PATIENCE_S) == 1
        assert process.stderr is not None
        errors = process.stderr.read().decode()
    assert "standard output was closed" in errors and "Traceback" not in errors
    process.stdin.close()


def test_a_run_that_was_killed_goes_on_where_it_was(headless: Headless) -> None:
    hangs = Reply(text="half of it", chunk=4, hang_after_events=1)
    with FakeEngine([Reply(text="one"), hangs]) as engine, Caller(headless, engine) as caller:
        caller.send(user("first"), user("second"))
        session = caller.until("result")["session_id"]
        wait_for(lambda: len(engine.steps) == 2)
        caller.process.kill()
        assert caller.wait() == -signal.SIGKILL
    with FakeEngine([Reply(text="three")]) as engine:
        with Caller(headless, engine, "--resume", session) as caller:
            caller.send(user("third"))
            assert caller.end() == 0
        said = [(m["role"], m["content"]) for m in engine.steps[0].json["messages"][1:]]
    assert [role for role, _ in said] == ["user", "assistant", "user", "user"]
    assert said[1][1] == "one" and said[3][1].endswith("third")
    assert caller.said[-1]["session_id"] == session


def test_an_input_that_was_never_open_ends_after_the_prompt(headless: Headless) -> None:
    with FakeEngine([Reply(text="one")]) as engine:
        done = headless.run(engine, "go", *TALK, stdin=None, preexec_fn=lambda: os.close(0))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["result"] == "one"


def test_an_input_that_is_a_file_is_read_to_its_end(headless: Headless, tmp_path: Path) -> None:
    lines = tmp_path / "lines.jsonl"
    lines.write_text("".join(json.dumps(user(text)) + "\n" for text in ("a", "b")))
    with FakeEngine([Reply(text="one"), Reply(text="two")]) as engine, lines.open() as given:
        done = headless.run(engine, *TALK, stdin=given)
    assert (done.returncode, done.stdout.count('"type": "result"')) == (0, 2)


def test_an_input_that_cannot_be_read_is_said(headless: Headless) -> None:
    with FakeEngine([Reply(text="one")]) as engine, Path("/dev/null").open("wb") as nowhere:
        done = headless.run(engine, "go", *TALK, stdin=nowhere)
    told = [json.loads(line) for line in done.stdout.splitlines()]
    codes = [line["code"] for line in told if line.get("subtype") == "input_error"]
    assert (done.returncode, codes, told[-1]["type"]) == (0, ["unreadable"], "result")


def test_answers_that_nobody_asked_for_are_refused_one_by_one(headless: Headless) -> None:
    with FakeEngine([Reply(text="one", delay=1.0)]) as engine, Caller(headless, engine) as caller:
        caller.send(user("go"), *(answer(f"ask_{n}", behavior="allow") for n in range(500)))
        assert caller.end() == 0
    errors = [line for line in caller.said if line.get("subtype") == "input_error"]
    assert [line["line"] for line in errors] == list(range(2, 502))


def test_what_is_left_out_for_a_slow_reader_is_counted_in_its_place() -> None:
    reading, writing = os.pipe()
    stream = OutputStream(writing, lambda: None, lambda count: f"dropped {count}\n")
    fact = "f" * (BACKLOG // 4)
    for number in range(6):
        stream.put(f"{number}{fact}\n")
        stream.put(f"delta {number}\n", droppable=True)
    stream.put("last\n")
    read: list[bytes] = []

    def drain() -> None:
        with os.fdopen(reading, "rb") as file:
            read.extend(line[:20].strip() for line in file)

    reader = threading.Thread(target=drain)
    reader.start()
    stream.close(PATIENCE_S)
    os.close(writing)
    reader.join()
    facts = [line for line in read if line.endswith(b"f")]
    assert [line[:1] for line in facts] == [b"0", b"1", b"2", b"3", b"4", b"5"]
    gone = sum(int(line.split()[1]) for line in read if line.startswith(b"dropped"))
    kept = [line for line in read if line.startswith(b"delta")]
    assert gone >= 1 and gone + len(kept) == 6 and read[-1] == b"last"
