"""A conversation over stdin with a real process: messages, questions, interrupts, bad callers."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from glmcode.cli_options import UsageError, parse_arguments
from tests.fake_engine import FakeEngine, Reply
from tests.talk_kit import Caller, answer, request, user
from tests.test_headless import EDIT, JOB, READ, Headless

__all__ = ["headless"]
EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "conversation.py"
HANGS = Reply(text="one two three four", chunk=4, hang_after_events=2)
ASKS = [Reply(calls=[READ]), Reply(calls=[EDIT]), Reply(text="done")]
GREET = request("hello", "initialize", approvals=True)


@pytest.fixture
def headless(tmp_path: Path) -> Headless:
    return Headless(tmp_path)


def results(caller: Caller) -> list[dict[str, Any]]:
    return [line for line in caller.said if line["type"] == "result"]


def test_messages_run_one_after_another_each_with_its_result_and_the_end_of_input_ends_the_run(
    headless: Headless,
) -> None:
    with FakeEngine([Reply(text="one"), Reply(text="two")]) as engine:
        with Caller(headless, engine) as caller:
            caller.send(user("first", uuid="a"), user("second"))
            assert caller.end() == 0, caller.errors()
        prompts = [m["content"] for m in engine.steps[-1].json["messages"] if m["role"] == "user"]
    assert caller.kinds() == ["system", "assistant", "result", "assistant", "result"]
    assert prompts[0].endswith("first") and prompts[1] == "second"
    first, second = results(caller)
    assert (first["result"], first["turn"], first["uuid"]) == ("one", 1, "a")
    assert (second["result"], second["turn"], "uuid" in second) == ("two", 2, False)
    assert second["num_turns"] == 1 and second["exit_code"] == 0


def test_a_prompt_on_the_command_line_is_the_first_message(headless: Headless) -> None:
    with FakeEngine([Reply(text="one"), Reply(text="two")]) as engine:
        with Caller(headless, engine, "first") as caller:
            caller.send(user("second"))
            assert caller.end() == 0
        assert engine.steps[0].json["messages"][-1]["content"].endswith("first")
    assert [line["result"] for line in results(caller)] == ["one", "two"]


def test_a_caller_that_answers_allows_an_edit(headless: Headless) -> None:
    with FakeEngine(ASKS) as engine, Caller(headless, engine) as caller:
        caller.send(GREET, user("go"))
        assert caller.until("control_response")["response"]["response"]["approvals"] is True
        asked = caller.until("control_request")
        told = asked["request"]
        assert (told["subtype"], told["tool_name"]) == ("can_use_tool", "Edit")
        assert told["input"] == EDIT["arguments"] and told["preview"]["kind"] == "diff"
        caller.send(answer(asked["request_id"], behavior="allow", updatedInput=told["input"]))
        assert caller.end() == 0, caller.errors()
    assert (headless.work / "a.py").read_bytes() == b"x = 2\n"
    assert results(caller)[0]["permission_denials"] == []


def test_a_no_reaches_the_model_with_its_reason_and_the_turn_goes_on(headless: Headless) -> None:
    with FakeEngine(ASKS) as engine, Caller(headless, engine) as caller:
        caller.send(GREET, user("go"))
        asked = caller.until("control_request")
        caller.send(answer(asked["request_id"], behavior="deny", message="not this file"))
        assert caller.end() == 0
        said = engine.steps[-1].json["messages"][-1]["content"]
    assert said == "not run: the user said no: not this file"
    assert (headless.work / "a.py").read_bytes() == b"x = 1\n"


def test_without_saying_so_first_nobody_is_asked_and_the_code_is_3(headless: Headless) -> None:
    with FakeEngine(ASKS) as engine, Caller(headless, engine) as caller:
        caller.send(user("go"))
        assert caller.end() == 3
    assert "control_request" not in caller.kinds()
    assert results(caller)[0]["permission_denials"][0]["tool_name"] == "Edit"


def test_the_end_of_the_input_in_the_middle_of_a_question_denies(headless: Headless) -> None:
    with FakeEngine(ASKS) as engine, Caller(headless, engine) as caller:
        caller.send(GREET, user("go"))
        asked = caller.until("control_request")
        assert caller.end() == 3
    cancelled = next(line for line in caller.said if line["type"] == "control_cancel_request")
    assert (cancelled["request_id"], cancelled["why"]) == (asked["request_id"], "input_closed")
    assert (headless.work / "a.py").read_bytes() == b"x = 1\n"


def test_a_question_that_nobody_answers_in_time_is_denied_and_the_turn_goes_on(
    headless: Headless,
) -> None:
    with FakeEngine(ASKS) as engine, Caller(headless, engine) as caller:
        caller.send(request("1", "initialize", approvals=True, approval_timeout_s=0.2), user("go"))
        asked = caller.until("control_request")
        assert caller.until("control_cancel_request")["why"] == "timeout"
        caller.until("result")
        caller.send(answer(asked["request_id"], behavior="allow"))
        assert caller.until("input_error")["code"] == "unknown_id"
        assert caller.end() == 3
    assert caller.said[-1]["closing"] is True and caller.said[-1]["exit_code"] == 3
    assert (headless.work / "a.py").read_bytes() == b"x = 1\n"


def test_of_two_answers_to_one_question_the_first_counts(headless: Headless) -> None:
    with FakeEngine(ASKS) as engine, Caller(headless, engine) as caller:
        caller.send(GREET, user("go"))
        number = caller.until("control_request")["request_id"]
        caller.send(answer(number, behavior="deny"), answer(number, behavior="allow"))
        assert caller.until("input_error")["code"] == "unknown_id"
        assert caller.end() == 0
    assert (headless.work / "a.py").read_bytes() == b"x = 1\n"


def test_what_is_remembered_for_the_session_is_not_asked_again(headless: Headless) -> None:
    again = {**EDIT, "arguments": {**EDIT["arguments"], "old_string": "x = 2", "new_string": "y"}}
    script = [Reply(calls=[READ]), Reply(calls=[EDIT]), Reply(calls=[again]), Reply(text="done")]
    with FakeEngine(script) as engine, Caller(headless, engine) as caller:
        caller.send(GREET, user("go"))
        asked = caller.until("control_request")
        assert asked["request"]["rules"]
        caller.send(answer(asked["request_id"], behavior="allow", remember="session"))
        assert caller.end() == 0
    assert caller.kinds().count("control_request") == 1
    assert (headless.work / "a.py").read_bytes() == b"y\n"


@pytest.mark.parametrize(
    "wrong",
    [
        {"behavior": "maybe"},
        {"behavior": "allow", "remember": "for ever"},
        {"behavior": "allow", "remember": "session", "rules": ["Bash(ls)"]},
        {"behavior": "allow", "updatedInput": "x = 2"},
        {"behavior": "allow", "remeber": "session"},
    ],
)
def test_an_answer_that_cannot_be_used_is_told_and_the_question_stays_open(
    headless: Headless, wrong: dict[str, Any]
) -> None:
    with FakeEngine(ASKS) as engine, Caller(headless, engine) as caller:
        caller.send(GREET, user("go"))
        number = caller.until("control_request")["request_id"]
        caller.send(answer(number, **wrong))
        assert caller.until("input_error")["code"] == "wrong_shape"
        caller.send(answer(number, behavior="allow"))
        assert caller.end() == 0
    assert (headless.work / "a.py").read_bytes() == b"x = 2\n"


def test_an_interrupt_ends_the_turn_with_its_own_result_and_the_next_message_runs(
    headless: Headless,
) -> None:
    with FakeEngine([HANGS, Reply(text="after")]) as engine:
        with Caller(headless, engine, "--include-partial-messages") as caller:
            caller.send(user("go"))
            caller.until("stream_event")
            caller.send(request("7", "interrupt"))
            told = caller.until("control_response")["response"]
            assert told["response"] == {"interrupted": True, "dropped": 0}
            stopped = caller.until("result")
            assert (stopped["subtype"], stopped["exit_code"]) == ("interrupted", 130)
            caller.send(user("go on"))
            assert caller.end() == 0
        assert "interrupted by the user" in engine.steps[-1].json["messages"][-1]["content"]
    assert results(caller)[-1]["result"] == "after"


def test_an_interrupt_may_drop_what_waits_and_withdraws_the_open_question(
    headless: Headless,
) -> None:
    with FakeEngine(ASKS) as engine, Caller(headless, engine) as caller:
        caller.send(GREET, user("go"), user("later"), user("later still", steer=True))
        number = caller.until("control_request")["request_id"]
        caller.send(request("7", "interrupt", drop_queued=True))
        assert caller.end() == 130
    by_kind = {line["type"]: line for line in caller.said}
    assert by_kind["control_response"]["response"]["response"]["dropped"] == 2
    cancelled = by_kind["control_cancel_request"]
    assert (cancelled["request_id"], cancelled["why"]) == (number, "interrupted")
    assert len(results(caller)) == 1 and len(engine.steps) == 2


def test_an_interrupt_with_nothing_running_says_so(headless: Headless) -> None:
    with FakeEngine([Reply(text="one")]) as engine, Caller(headless, engine) as caller:
        caller.send(request("7", "interrupt"))
        told = caller.until("control_response")["response"]
        assert told["response"] == {"interrupted": False, "dropped": 0}
        caller.send(user("go"))
        assert caller.end() == 0


def test_a_steering_message_is_read_by_the_running_turn(headless: Headless) -> None:
    script = [Reply(calls=[READ], delay=1.0), Reply(text="done")]
    with FakeEngine(script) as engine:
        with Caller(headless, engine) as caller:
            caller.send(user("go"))
            caller.until("init")
            while not engine.steps:
                time.sleep(0.01)
            caller.send(user("mind the gap", steer=True))
            assert caller.end() == 0
        assert "mind the gap" in engine.steps[1].json["messages"][-1]["content"]
    assert len(results(caller)) == 1


def test_steering_that_comes_too_late_becomes_the_next_message(headless: Headless) -> None:
    with FakeEngine([Reply(text="one", delay=1.0), Reply(text="two"), Reply(text="3")]) as engine:
        with Caller(headless, engine) as caller:
            caller.send(user("go"))
            caller.until("init")
            while not engine.steps:
                time.sleep(0.01)
            caller.send(user("and then", steer=True), user("last"))
            assert caller.end() == 0
        said = [m["content"] for m in engine.steps[-1].json["messages"] if m["role"] == "user"]
    assert said[1:] == ["and then", "last"]


def test_steering_in_the_words_of_the_message_itself_is_not_lost(headless: Headless) -> None:
    with FakeEngine([Reply(text="one", delay=1.0), Reply(text="two")]) as engine:
        with Caller(headless, engine) as caller:
            caller.send(user("go on"))
            caller.until("init")
            while not engine.steps:
                time.sleep(0.01)
            caller.send(user("go on", steer=True), request("1", "interrupt"))
            assert caller.end() == 0
        assert [line["result"] for line in caller.said if line["type"] == "result"][-1] == "two"


def test_the_permission_mode_can_be_changed(headless: Headless) -> None:
    with FakeEngine(JOB) as engine, Caller(headless, engine) as caller:
        caller.send(request("1", "set_permission_mode", mode="acceptEdits"), user("go"))
        assert caller.until("control_response")["response"]["response"]["mode"] == "acceptEdits"
        assert caller.end() == 0
    assert (headless.work / "a.py").read_bytes() == b"x = 2\n"


BAD = [
    (b"no json\n", "not_json"),
    (b'"text"\n', "wrong_shape"),
    (b'{"type":"assistant"}\n', "wrong_shape"),
    (b'{"type":"user","message":{"role":"user","content":""}}\n', "wrong_shape"),
    (b'{"type":"user","message":{"role":"user","content":"\xff"}}\n', "not_utf8"),
    (b"[" * 100_000 + b"\n", "not_json"),
    (b'{"type":"user","n":' + b"9" * 5000 + b"}\n", "not_json"),
    (b'{"type":"user","message":{"role":"user","content":NaN}}\n', "not_json"),
    (json.dumps(user("x" * (16 << 20))).encode() + b"\n", "too_long"),
    (json.dumps(answer("ask_9", behavior="allow")).encode() + b"\n", "unknown_id"),
]


def test_a_bad_line_is_answered_with_its_number_and_the_run_goes_on(headless: Headless) -> None:
    with FakeEngine([Reply(text="one")]) as engine, Caller(headless, engine) as caller:
        for number, (line, code) in enumerate(BAD, 1):
            caller.send(line)
            told = caller.until("input_error")
            assert (told["code"], told["line"]) == (code, number), told
        caller.send(user("go"))
        assert caller.end() == 0
    assert "Traceback" not in caller.errors() and results(caller)[-1]["result"] == "one"


@pytest.mark.parametrize("subtype", ["set_model", "mcp_message", 5, None])
def test_a_request_that_there_is_not_is_refused_under_its_id(
    headless: Headless, subtype: object
) -> None:
    with FakeEngine([Reply(text="one")]) as engine, Caller(headless, engine) as caller:
        caller.send({"type": "control_request", "request_id": "r", "request": {"subtype": subtype}})
        told = caller.until("control_response")["response"]
        assert (told["subtype"], told["request_id"]) == ("error", "r") and told["error"]
        caller.send(user("go"))
        assert caller.end() == 0


def test_a_byte_order_mark_crlf_empty_lines_and_a_missing_last_newline_are_forgiven(
    headless: Headless,
) -> None:
    lines = b"\xef\xbb\xbf" + json.dumps(user("a")).encode() + b"\r\n\r\n\n"
    script = [Reply(text="one"), Reply(text="two")]
    with FakeEngine(script) as engine, Caller(headless, engine) as caller:
        caller.send(lines + json.dumps(user("b")).encode())
        assert caller.end() == 0
    assert "input_error" not in [line.get("subtype") for line in caller.said]
    assert len(results(caller)) == 2


def test_an_input_without_a_message_is_wrong_use_with_a_closing_result(headless: Headless) -> None:
    with FakeEngine([]) as engine, Caller(headless, engine) as caller:
        caller.send(b"nonsense\n")
        assert caller.end() == 2
    assert caller.kinds() == ["system", "system", "result"]
    assert caller.said[-1]["closing"] is True and caller.said[-1]["is_error"] is True


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_between_turns_ends_the_run_with_a_closing_result(
    headless: Headless, number: signal.Signals, code: int
) -> None:
    with FakeEngine([Reply(text="one")]) as engine, Caller(headless, engine) as caller:
        caller.send(user("go"))
        caller.until("result")
        caller.process.send_signal(number)
        assert caller.wait() == code
    last = caller.said[-1]
    assert (last["subtype"], last["exit_code"], last["closing"]) == ("interrupted", code, True)
    assert last["num_turns"] == 0 and last["usage"]["output_tokens"] == 0


def test_a_signal_in_a_turn_ends_the_run_with_that_turns_result(headless: Headless) -> None:
    partial = "--include-partial-messages"
    script = [Reply(text="one"), HANGS]
    with FakeEngine(script) as engine, Caller(headless, engine, partial) as caller:
        caller.send(user("a"), user("b"), user("c"))
        caller.until("result")
        caller.until("stream_event")
        caller.process.send_signal(signal.SIGINT)
        assert caller.wait() == 130
    last = caller.said[-1]
    assert (last["turn"], last["subtype"]) == (2, "interrupted") and "closing" not in last
    assert last["result"] != "one"


def test_the_time_limit_ends_a_run_that_waits_for_its_caller(headless: Headless) -> None:
    limit = "--time-limit=3"
    with FakeEngine([Reply(text="one")]) as engine, Caller(headless, engine, limit) as caller:
        caller.send(user("go"))
        assert caller.wait() == 53
    assert caller.said[-1]["subtype"] == "error_time_limit"


def test_a_failed_turn_does_not_end_the_conversation(headless: Headless) -> None:
    script = [Reply(status=400), Reply(text="two")]
    with FakeEngine(script) as engine, Caller(headless, engine) as caller:
        caller.send(user("a"), user("b"))
        assert caller.end() == 0
    first, second = results(caller)
    assert (first["is_error"], first["exit_code"]) == (True, 1)
    assert (second["is_error"], second["result"]) == (False, "two")


@pytest.mark.parametrize(
    "words",
    [
        ["-p"],
        ["-p", "--output-format", "json"],
        ["--output-format", "stream-json"],
        ["-p", "-", "--output-format", "stream-json"],
    ],
)
def test_a_conversation_needs_print_mode_and_lines_on_both_sides(words: list[str]) -> None:
    with pytest.raises(UsageError, match="stream-json"):
        parse_arguments([*words, "--input-format", "stream-json"])


WRITE = {"name": "Write", "arguments": {"file_path": "b.py", "content": "y = 1\n"}}
ECHO = {"name": "Bash", "arguments": {"command": "echo > made by-the-model"}}


@pytest.mark.parametrize(
    ("call", "said", "file", "content"),
    [
        (EDIT, {"edited": "x = 3\n"}, "a.py", b"x = 3\n"),
        (WRITE, {"updatedInput": {**WRITE["arguments"], "content": "y = 2"}}, "b.py", b"y = 2"),
        (ECHO, {"updatedInput": {"command": "printf ok > made"}}, "made", b"ok"),
    ],
)
def test_what_the_caller_edited_is_done_and_the_model_is_told(
    headless: Headless, call: dict[str, Any], said: dict[str, Any], file: str, content: bytes
) -> None:
    script = [Reply(calls=[READ]), Reply(calls=[call]), Reply(text="done")]
    with FakeEngine(script) as engine, Caller(headless, engine) as caller:
        caller.send(GREET, user("go"))
        number = caller.until("control_request")["request_id"]
        caller.send(answer(number, behavior="allow", **said))
        assert caller.end() == 0, caller.errors()
        assert "The user" in engine.steps[-1].json["messages"][-1]["content"]
    assert (headless.work / file).read_bytes() == content


@pytest.mark.parametrize(
    "said",
    [
        {"updatedInput": {**EDIT["arguments"], "new_string": "x = 3"}},
        {"edited": "x = 1\n"},
        {"edited": "x = 3\n", "remember": "session"},
    ],
)
def test_an_edit_that_cannot_be_done_is_told_and_the_question_stays_open(
    headless: Headless, said: dict[str, Any]
) -> None:
    with FakeEngine(ASKS) as engine, Caller(headless, engine) as caller:
        caller.send(GREET, user("go"))
        number = caller.until("control_request")["request_id"]
        caller.send(answer(number, behavior="allow", **said))
        wrong = caller.until("input_error")
        assert (wrong["code"], wrong["line"]) == ("wrong_shape", 3)
        caller.send(answer(number, behavior="allow"))
        assert caller.end() == 0
    assert (headless.work / "a.py").read_bytes() == b"x = 2\n"


def test_the_example_of_a_conversation_asks_and_goes_on(headless: Headless) -> None:
    with FakeEngine([*ASKS, Reply(text="it is two")]) as engine:
        words = headless.command(engine)[4:]
        done = subprocess.run(
            [sys.executable, str(EXAMPLE), "go", *words],
            input="a\nwhat is it now?\n\n",
            capture_output=True,
            encoding="utf-8",
            cwd=headless.work,
            env=headless.environment,
            timeout=60,
        )
    assert done.returncode == 0, done.stderr
    assert "+x = 2" in done.stdout and done.stdout.rstrip().endswith("it is two\n>")
    assert (headless.work / "a.py").read_bytes() == b"x = 2\n"
