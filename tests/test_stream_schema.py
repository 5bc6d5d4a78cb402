"""The JSON Schema of stream-json against runs of every end, and against the reader of input."""

from __future__ import annotations

import copy
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from jsonschema import Draft202012Validator

from glmcode.core.events import Compacted, Delta, Queued
from glmcode.core.messages import AssistantMessage, RejectedCall, Usage
from glmcode.stream_input import Wrong, read_line
from glmcode.stream_json import (
    Subtype,
    compacted_line,
    delta_line,
    dropped_line,
    message_line,
    queued_line,
)
from glmcode.stream_schema import schema, text
from tests.fake_engine import FakeEngine, Reply
from tests.talk_kit import INPUT, OUTPUT, answer, request, user
from tests.test_headless import JOB, Headless, lines

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "stream-json.md"
STREAM = ("--output-format", "stream-json")
CUT = Reply(text="one two", finish="length", usage={"completion_tokens": 30})
BAD_CALL = Reply(events=[], text="x", calls=[{"name": "Read", "arguments": {"nothing": 1}}])
ENDS: dict[str, tuple[list[Reply], list[str], str, int]] = {
    "success": (JOB, ["-y", "--include-partial-messages"], "success", 0),
    "a denied action": (JOB, [], "success", 3),
    "turns": (JOB, ["-y", "--max-turns", "1"], "error_max_turns", 53),
    "tokens": ([CUT], ["--max-output-tokens", "30"], "error_max_output_tokens", 53),
    "time": ([Reply(text="x", delay=60)], ["--time-limit", "2"], "error_time_limit", 53),
    "a refusal": ([Reply(status=400)], [], "error_during_execution", 1),
    "no engine now": (
        [Reply(status=503, headers={"retry-after": "600"})], [], "error_during_execution", 75,
    ),
    "wrong arguments": ([BAD_CALL, Reply(text="well")], [], "success", 0),
    "wrong use": ([], ["--max-turns", "none"], "error_during_execution", 2),
    "no form": ([Reply(text="x")] * 3, ["--output-schema", "s.json"], "error_during_execution", 1),
    "a form": (
        [Reply(text="x"), Reply(text="7")], ["--output-schema", "s.json"], "success", 0,
    ),
}  # fmt: skip


@pytest.fixture
def headless(tmp_path: Path) -> Headless:
    made = Headless(tmp_path)
    (made.work / "s.json").write_text('{"type": "integer"}')
    return made


def checked(told: list[dict[str, Any]]) -> dict[str, Any]:
    for line in told:
        OUTPUT.validate(line)
    assert [line["type"] for line in told].count("result") == 1
    assert (told[0]["subtype"], told[-1]["type"]) == ("init", "result")
    return told[-1]


def test_the_schema_is_one_and_the_file_in_docs_is_what_the_code_says() -> None:
    Draft202012Validator.check_schema(schema())
    assert (ROOT / "docs" / "stream-json.schema.json").read_text(encoding="utf-8") == text()


@pytest.mark.parametrize("name", ENDS)
def test_a_run_that_ends_so_is_an_instance_line_by_line(headless: Headless, name: str) -> None:
    script, words, subtype, code = ENDS[name]
    with FakeEngine(script) as engine:
        done = headless.run(engine, "go", *STREAM, *words)
    result = checked(lines(done.stdout))
    assert (result["subtype"], result["exit_code"], done.returncode) == (subtype, code, code)


def test_an_interrupted_run_is_an_instance_too(headless: Headless) -> None:
    with FakeEngine([Reply(text="one two three", chunk=4, hang_after_events=2)]) as engine:
        process = headless.start(engine, "go", *STREAM, "--include-partial-messages")
        assert process.stdout is not None
        told = [process.stdout.readline()]
        while "stream_event" not in told[-1]:
            told.append(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=30)
    result = checked(lines("".join(told) + rest))
    assert (result["subtype"], result["exit_code"]) == ("interrupted", 130)


def test_these_runs_cover_every_subtype() -> None:
    assert {end[2] for end in ENDS.values()} | {"interrupted"} == set(get_args(Subtype))


def test_lines_that_need_luck_are_instances() -> None:
    rejected = RejectedCall(id="c", reason="ambiguous", raw="<x", name="Edit")
    reply = AssistantMessage(reasoning="r", text="t", rejected=(rejected,))
    compacted = Compacted(before=9, after=3, why="full", summary="", usage=Usage())
    ahead = (("interactive", "x", 1.5, True),)
    told = [
        message_line(reply, "s"),
        compacted_line(compacted, "s"),
        queued_line(Queued(position=1, seconds=2.0, eta_s=None, ahead=ahead), "s"),
        delta_line(Delta(kind="call", text="x", name="Read", argument="file_path"), "s"),
        dropped_line(3, "s"),
    ]
    for line in told:
        OUTPUT.validate(line)


def valid_input() -> list[dict[str, Any]]:
    blocks = [{"type": "text", "text": "a"}, {"type": "text", "text": ""}]
    said = {"type": "user", "message": {"role": "user", "content": blocks}}
    failed = {"subtype": "error", "request_id": "q", "error": "nobody"}
    return [
        user("go", uuid="u", steer=True, session_id="", parent_tool_use_id=None),
        said,
        request("r", "initialize", approvals=True, approval_timeout_s=2.5, hooks=None),
        request("r", "interrupt", drop_queued=True),
        request("r", "set_permission_mode", mode="plan"),
        answer("q", behavior="allow", remember="session", rules=["Read"], updatedInput={"a": 1}),
        answer("q", behavior="allow", edited="ls"),
        answer("q", behavior="deny", message="no", interrupt=True),
        {"type": "control_response", "response": failed},
    ]


VALUES = ("", " ", "x", "\0", "user", 0, 1, -1, 2.5, 1e9, True, None, [], {}, ["x"], {"x": 1})


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield at
    if isinstance(value, dict | list):
        for key, one in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(one, (*at, key))


def changed(line: dict[str, Any]) -> Iterator[Any]:
    """The line, and every line that differs from it in one place."""
    yield line
    for *path, last in (place for place in places(line) if place):
        for value in (*VALUES, KeyError):
            other = copy.deepcopy(line)
            inner: Any = other
            for key in path:
                inner = inner[key]
            if value is not KeyError:
                inner[last] = value
            else:
                del inner[last]
            yield other
        if isinstance(inner, dict):
            other = copy.deepcopy(line)
            inner = other
            for key in path:
                inner = inner[key]
            inner["surplus"] = 1
            yield other


def test_the_reader_takes_exactly_what_the_schema_allows() -> None:
    taken = refused = 0
    for line in valid_input():
        for one in changed(line):
            read = read_line(json.dumps(one).encode())
            allowed = INPUT.is_valid(one)
            assert isinstance(read, Wrong) is not allowed, (one, read)
            taken, refused = taken + allowed, refused + (not allowed)
    assert taken > 100 and refused > 500


def test_each_line_that_the_page_shows_is_an_instance() -> None:
    shown = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line[:1] == "{"]
    assert len(shown) > 8
    for line in shown:
        told = json.loads(line)
        assert INPUT.is_valid(told) or OUTPUT.is_valid(told), line


def test_the_page_names_every_subtype_and_code_of_an_input_error() -> None:
    page = PAGE.read_text(encoding="utf-8")
    codes = schema()["$defs"]["input_error"]["properties"]["code"]["enum"]
    assert not [name for name in (*get_args(Subtype), *codes) if f"`{name}`" not in page]


def test_help_prints_the_page_and_the_schema() -> None:
    command = [sys.executable, "-m", "glmcode", "help", "stream-json"]
    told = subprocess.run(command, capture_output=True, encoding="utf-8", check=True).stdout
    assert told.startswith("# stream-json") and "stream-json.schema.json" in told.splitlines()[-1]
    command.append("--schema")
    assert subprocess.run(command, capture_output=True, encoding="utf-8").stdout == text()
