from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.engine.client_kit import TOKENIZER, chat, converse, tokens
from tests.fake_engine import FakeEngine, Reply

SCRIPT = Path(__file__).parent / "fake_engine.py"


@pytest.mark.parametrize("over", ["tcp", "socket"])
def test_it_serves_a_script_from_the_command_line_and_records(tmp_path: Path, over: str) -> None:
    script, record = tmp_path / "script.json", tmp_path / "record.jsonl"
    call = {"name": "Read", "arguments": {"file_path": "x"}}
    script.write_text(json.dumps([{"calls": [call]}, {"text": "done", "times": 2}]))
    socket = tmp_path / "engine.sock"
    where = ["--socket", str(socket)] if over == "socket" else ["--port", "0"]
    command = [sys.executable, str(SCRIPT), "--script", str(script), "--record", str(record)]
    command += [*where, "--tokenizer", str(TOKENIZER), "--window", "9000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        front = FakeEngine([], socket=socket if over == "socket" else None, window=9000)
        if over == "tcp":
            front.port = int(address.split(":")[2].split("/")[0])
        _, chatted, _ = converse(chat(front), 2)
        _, spoken, _ = converse(tokens(front), 1)
        time.sleep(0.5)
        process.send_signal(signal.SIGTERM)
    assert [asked.reply.text for asked in (*chatted, *spoken)] == ["", "done", "done"]
    lines = [json.loads(line) for line in record.read_text().splitlines()]
    lines = [line for line in lines if line["path"] != "/tokenize"]
    assert [line["path"] for line in lines] == [
        "/v1/chat/completions",
        "/v1/chat/completions",
        "/inference/v1/generate",
    ]
    assert [line["grows"] for line in lines] == [None, True, False]
    assert lines[0]["answered"] < lines[1]["at"] < lines[1]["answered"]
    assert lines[1]["body"]["messages"][-1]["role"] == "tool"


def test_it_notices_a_prompt_that_does_not_grow() -> None:
    with FakeEngine([Reply(text="a")] * 3, tokenizer=TOKENIZER) as engine:
        converse(tokens(engine), 2)
        converse(tokens(engine), 1)
        assert [seen.grows for seen in engine.steps] == [None, True, False]
