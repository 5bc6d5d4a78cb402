"""`--output-schema`: the loop runs free, then one step on a fork is bound to a schema."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from glmcode import agent_structured
from glmcode.agent_structured import (
    SchemaError,
    ask_structured,
    check_schema,
    faults_of,
    judge,
    judge_in_time,
)
from glmcode.core.messages import UserMessage
from glmcode.engine.client import Endpoint, connect
from glmcode.tools.specs import load_specs
from tests.conftest import TinyEngine
from tests.engine.client_kit import TOKENIZER, chat, new_transcript, tokens
from tests.fake_engine import FakeEngine, Reply
from tests.test_headless import EDIT, READ, Headless, lines

SCHEMA = {
    "type": "object",
    "properties": {"files": {"type": "integer", "minimum": 0}, "verdict": {"enum": ["ok", "bad"]}},
    "required": ["files", "verdict"],
    "additionalProperties": False,
}
GOOD = {"files": 1, "verdict": "ok"}
JOB = [Reply(reasoning="look", calls=[READ]), Reply(calls=[EDIT]), Reply(text="Done: é.")]


@pytest.fixture
def headless(tmp_path: Path) -> Headless:
    (tmp_path / "schema.json").write_text(json.dumps(SCHEMA))
    return Headless(tmp_path)


def schema(headless: Headless) -> tuple[str, str, str]:
    return ("-y", "--output-schema", str(headless.work.parent / "schema.json"))


def test_the_answer_is_the_json_value_and_the_work_is_done(headless: Headless) -> None:
    with FakeEngine([*JOB, Reply(text=json.dumps(GOOD, indent=2))]) as engine:
        ran = headless.run(engine, *schema(headless), "go")
        asked = engine.steps[-1].json
    assert (ran.returncode, json.loads(ran.stdout)) == (0, GOOD)
    assert len(ran.stdout.splitlines()) == 1
    assert (headless.work / "a.py").read_bytes() == b"x = 2\n"
    assert asked["response_format"]["json_schema"]["schema"] == SCHEMA
    assert asked["chat_template_kwargs"] == {"enable_thinking": False}
    assert json.dumps(SCHEMA, separators=(",", ":")) in asked["messages"][-1]["content"]


def test_the_session_holds_the_free_answer_and_neither_the_question_nor_the_value(
    headless: Headless,
) -> None:
    with FakeEngine([*JOB, Reply(text=json.dumps(GOOD))]) as engine:
        headless.run(engine, *schema(headless), "go")
    (journal,) = headless.journals()
    text = journal.read_text()
    assert "Done: é." in text and "JSON Schema" not in text and '"verdict"' not in text


def test_json_and_stream_json_carry_the_value_beside_the_text(headless: Headless) -> None:
    for form in ("json", "stream-json"):
        with FakeEngine([Reply(text="Done."), Reply(text=json.dumps(GOOD))]) as engine:
            ran = headless.run(engine, *schema(headless), "--output-format", form, "go")
        last = lines(ran.stdout)[-1]
        assert (last["type"], last["subtype"], last["is_error"]) == ("result", "success", False)
        assert last["structured_output"] == GOOD and json.loads(last["result"]) == GOOD


def test_null_is_a_value(headless: Headless) -> None:
    (headless.work.parent / "schema.json").write_text('{"type": "null"}')
    with FakeEngine([Reply(text="Done."), Reply(text="null")]) as engine:
        ran = headless.run(engine, *schema(headless), "--output-format", "json", "go")
    last = lines(ran.stdout)[-1]
    assert ran.returncode == 0 and last["structured_output"] is None and last["result"] == "null"


def test_a_wrong_answer_is_asked_for_once_more_with_what_was_wrong(headless: Headless) -> None:
    script = [Reply(text="Done."), Reply(text='{"files": -1}'), Reply(text=json.dumps(GOOD))]
    with FakeEngine(script) as engine:
        ran = headless.run(engine, *schema(headless), "go")
        question = engine.steps[-1].json["messages"][-1]["content"]
    assert (ran.returncode, json.loads(ran.stdout)) == (0, GOOD)
    assert "files: -1 is less than the minimum of 0" in question and '{"files": -1}' in question


def test_two_wrong_answers_are_exit_1_that_says_what_was_wrong(headless: Headless) -> None:
    script = [*JOB, Reply(text="no idea"), Reply(text='{"files": "x", "verdict": "ok"}')]
    with FakeEngine(script) as engine:
        ran = headless.run(engine, *schema(headless), "--output-format", "json", "go")
        assert len(engine.steps) == len(script)
    last = lines(ran.stdout)[-1]
    assert (ran.returncode, last["subtype"]) == (1, "error_during_execution")
    assert "files: 'x' is not of type 'integer'" in last["error"]
    assert "structured_output" not in last and last["result"] == '{"files": "x", "verdict": "ok"}'
    assert (headless.work / "a.py").read_bytes() == b"x = 2\n"


def test_a_server_that_knows_no_schemas_is_asked_without(headless: Headless) -> None:
    body = json.dumps({"error": {"message": "unknown field response_format", "code": 400}})
    refused = Reply(status=400, body=body)
    with FakeEngine([Reply(text="Done."), refused, Reply(text=json.dumps(GOOD))]) as engine:
        ran = headless.run(engine, *schema(headless), "go")
        assert "response_format" not in engine.steps[-1].json
    assert (ran.returncode, json.loads(ran.stdout)) == (0, GOOD)


@pytest.mark.parametrize("protocol", ["chat", "tokens"])
def test_a_schema_that_the_server_refuses_without_naming_it_is_asked_without(
    tmp_path: Path, protocol: str
) -> None:
    body = json.dumps({"error": {"message": "The grammar has features that are not supported."}})
    script = [Reply(status=400, body=body), Reply(text=json.dumps(GOOD))]
    with FakeEngine(script, tokenizer=TOKENIZER) as engine:
        make = chat if protocol == "chat" else tokens

        async def ask() -> Any:
            client = await connect(make(engine), load_specs(), lambda event: None)
            try:
                talk = new_transcript(UserMessage(text="hello"))
                return await ask_structured(
                    client, talk, SCHEMA, lambda event: None, max_tokens=200
                )
            finally:
                await client.close()

        told = asyncio.run(ask())
        first, second = (json.dumps(step.json) for step in engine.steps)
    assert told.value == GOOD
    name = "response_format" if protocol == "chat" else "structured_outputs"
    assert name in first and name not in second


def test_an_engine_that_dies_before_the_last_step_is_exit_75(headless: Headless) -> None:
    gone = Reply(status=503, times=20)
    with FakeEngine([Reply(text="Done."), gone]) as engine:
        ran = headless.run(engine, *schema(headless), "--output-format", "json", "go", timeout=120)
    assert (ran.returncode, lines(ran.stdout)[-1]["is_error"]) == (75, True)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "no JSON"),
        ("[]", "must be a JSON object"),
        ('{"type": "objekt"}', "no JSON Schema"),
        ('{"properties": 3}', "no JSON Schema"),
        ("[" * 100_000, "no JSON"),
        ('{"$schema": 7}', "its $schema is no text"),
        ('{"$ref": "#/$defs/no"}', "refers to what is not in it: #/$defs/no"),
        pytest.param(" " * (1 << 21), "(2,097,152 bytes; at most 1,048,576)", id="large"),
        (None, "cannot be read"),
    ],
)
def test_a_schema_that_is_none_is_a_usage_error_before_anything_starts(
    headless: Headless, text: str | None, said: str
) -> None:
    file = headless.work.parent / "schema.json"
    file.unlink()
    if text is not None:
        file.write_text(text)
    ran = headless.run(None, *schema(headless), "--output-format", "json", "go")
    assert ran.returncode == 2 and said in ran.stderr and "Traceback" not in ran.stderr
    assert lines(ran.stdout)[-1]["type"] == "result"


def test_without_p_it_is_a_usage_error(headless: Headless) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "glmcode", *schema(headless), "go"],
        capture_output=True, text=True, env=headless.environment, cwd=headless.work,
    )  # fmt: skip
    assert ran.returncode == 2 and "add -p" in ran.stderr


@pytest.mark.parametrize(
    ("text", "value"),
    [("```json\n[1]\n```", [1]), (" {}\n", {}), ("\u00e9", None), ("NaN", None), ("1 2", None)],
)
def test_an_answer_is_read_as_json_with_a_fence_forgiven(text: str, value: Any) -> None:
    told = judge(text, {})
    assert told.value == value and bool(told.faults) == (value is None)


def test_faults_name_where_and_what_and_are_few() -> None:
    told = faults_of({"a": [1, "x"]}, {"properties": {"a": {"items": {"type": "integer"}}}})
    assert told == ("a/1: 'x' is not of type 'integer'",)
    many = faults_of(["x"] * 50, {"items": {"type": "integer"}})
    assert len(many) == 6 and many[-1] == "and 45 more"


def test_a_reference_to_elsewhere_is_a_fault_and_no_request() -> None:
    schema = {"$ref": "http://localhost:9/none.json"}
    assert "refers to what is not in it" in faults_of(1, schema)[0]
    for wrong in (schema, {"items": {"$ref": "#/$defs/no"}}, {"allOf": [{"$ref": "#/allOf/1"}]}):
        with pytest.raises(SchemaError, match="refers to what is not in it"):
            check_schema(wrong, "x")
    check_schema({"$defs": {"a/b": {}}, "anyOf": [{"$ref": "#/$defs/a~1b"}, {"$ref": "#"}]}, "x")
    check_schema({"enum": [{"$ref": "#/no"}], "properties": {"$ref": {"type": "null"}}}, "x")
    check_schema({"$id": "http://x/y", "items": {"$ref": "http://x/y#/items"}}, "x")


@pytest.mark.parametrize("text", ["1e999", '{"a": [-1e999]}', "NaN", "-Infinity"])
def test_a_number_that_json_cannot_say_is_no_answer(text: str) -> None:
    told = judge(text, {})
    assert told.value is None and "no JSON" in told.faults[0]


def test_a_pattern_that_takes_for_ever_is_a_fault_and_others_run_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(agent_structured, "PATTERNS_S", 1.0)
    slow = {"properties": {"a": {"type": "string", "pattern": "^(a+)+$"}}}

    async def go() -> tuple[Any, int]:
        work = asyncio.ensure_future(judge_in_time(json.dumps({"a": "a" * 28 + "b"}), slow))
        beats = 0
        while not work.done():
            await asyncio.sleep(0.02)
            beats += 1
        return work.result(), beats

    told, beats = asyncio.run(go())
    assert told.faults == ("its patterns took longer than 1 s",) and beats > 5


def test_patterns_are_judged_as_all_else_is() -> None:
    wanted = {"type": "string", "pattern": "^v[0-9]+$"}
    good, bad = (asyncio.run(judge_in_time(text, wanted)) for text in ('"v1"', '"é"'))
    assert (good.value, good.faults) == ("v1", ())
    assert bad.faults == ("the value: 'é' does not match '^v[0-9]+$'",)


@pytest.mark.engine
@pytest.mark.xdist_group("engine")
def test_the_real_engine_keeps_to_a_schema_that_the_tiny_model_never_saw(
    tiny_engine: TinyEngine,
) -> None:
    small = {
        "type": "object",
        "properties": {"verdict": {"enum": ["pass", "block"]}, "count": {"enum": [1, 2, 3]}},
        "required": ["verdict", "count"],
        "additionalProperties": False,
    }

    async def ask() -> Any:
        endpoint = Endpoint(
            socket=tiny_engine.address.socket,
            model=tiny_engine.address.model,
            protocol="tokens",
            tokenizer=tiny_engine.address.tokenizer,
            window=tiny_engine.address.window,
        )
        client = await connect(endpoint, load_specs(), lambda event: None)
        try:
            talk = new_transcript(UserMessage(text="hello"))
            before = client.prompt_tokens(talk)
            told = await ask_structured(client, talk, small, lambda event: None, max_tokens=200)
            assert client.prompt_tokens(talk) == before
            return told
        finally:
            await client.close()

    told = asyncio.run(ask())
    assert told.faults == (), told.text
    assert set(told.value) == {"verdict", "count"} and " " not in told.text
