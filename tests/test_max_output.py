"""--max-output-tokens: what the model may generate in a run, over all its requests."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from glmcode.core.model import ModelError
from glmcode.engine.client import connect
from tests.engine.client_kit import TOKENIZER, new_transcript, tokens
from tests.fake_engine import FakeEngine, Reply
from tests.talk_kit import Caller, user
from tests.test_headless import EDIT, READ, Headless


@pytest.fixture
def headless(tmp_path: Path) -> Headless:
    return Headless(tmp_path)


def made(count: int) -> dict[str, int]:
    return {"completion_tokens": count}


def asked(engine: FakeEngine) -> list[int]:
    return [step.json["max_tokens"] for step in engine.steps]


def ended(headless: Headless, engine: FakeEngine, *words: str) -> tuple[int, dict[str, Any]]:
    done = headless.run(engine, "go", "-y", "--output-format", "json", *words)
    return done.returncode, json.loads(done.stdout)


def test_an_answer_that_is_cut_by_it_is_kept_and_ends_the_run_with_53(headless: Headless) -> None:
    with FakeEngine([Reply(text="one two", finish="length", usage=made(30))]) as engine:
        code, result = ended(headless, engine, "--max-output-tokens", "30")
        assert asked(engine) == [30]
    assert (code, result["subtype"]) == (53, "error_max_output_tokens")
    assert (result["result"], result["usage"]["output_tokens"]) == ("one two", 30)
    assert "--max-output-tokens" in result["error"]


def test_each_request_asks_for_what_is_left(headless: Headless) -> None:
    script = [Reply(calls=[READ], usage=made(20)), Reply(text="done", usage=made(10))]
    with FakeEngine(script) as engine:
        code, result = ended(headless, engine, "--max-output-tokens", "30")
        assert asked(engine) == [30, 10]
    assert (code, result["result"]) == (0, "done")


def test_nothing_is_asked_when_nothing_is_left_and_what_was_asked_for_is_done(
    headless: Headless,
) -> None:
    script = [Reply(calls=[READ], usage=made(10)), Reply(calls=[EDIT], usage=made(20))]
    with FakeEngine(script) as engine:
        code, result = ended(headless, engine, "--max-output-tokens", "30")
        assert len(engine.steps) == 2
    assert (code, result["subtype"]) == (53, "error_max_output_tokens")
    assert (headless.work / "a.py").read_bytes() == b"x = 2\n"


def test_the_calls_of_an_answer_that_is_cut_are_not_run(headless: Headless) -> None:
    script = [Reply(calls=[READ]), Reply(calls=[EDIT], finish="length", usage=made(20))]
    with FakeEngine(script) as engine:
        code, _ = ended(headless, engine, "--max-output-tokens", "30")
    assert code == 53
    assert (headless.work / "a.py").read_bytes() == b"x = 1\n"


def test_a_server_that_counts_nothing_is_counted_by_bytes(headless: Headless) -> None:
    script = [Reply(text="x" * 90, calls=[READ], usage=made(0)), Reply(text="not asked for")]
    with FakeEngine(script) as engine:
        code, _ = ended(headless, engine, "--max-output-tokens", "20")
        assert len(engine.steps) == 1
    assert code == 53


def test_the_answer_to_a_schema_counts_too(headless: Headless) -> None:
    schema = headless.work / "schema.json"
    schema.write_text('{"type": "integer"}')
    script = [Reply(text="done", usage=made(25)), Reply(text="1", finish="length", usage=made(5))]
    with FakeEngine(script) as engine:
        words = ("--max-output-tokens", "30", "--output-schema", str(schema))
        code, result = ended(headless, engine, *words)
        assert asked(engine)[-1] == 5
    assert (code, result["subtype"]) == (53, "error_max_output_tokens")


def test_a_conversation_ends_with_the_turn_that_used_it_up(headless: Headless) -> None:
    script = [Reply(text="a", usage=made(20)), Reply(text="b", finish="length", usage=made(10))]
    limit = "--max-output-tokens=30"
    with FakeEngine(script) as engine, Caller(headless, engine, limit) as caller:
        caller.send(user("first"), user("second"), user("third"))
        assert caller.wait() == 53
    told = [line for line in caller.said if line["type"] == "result"]
    assert [line["subtype"] for line in told] == ["success", "error_max_output_tokens"]


def test_ids_are_never_gone_on_with_beyond_it() -> None:
    cut = Reply(text="one two three four", finish="length")
    kept: list[Any] = []

    async def go(engine: FakeEngine) -> None:
        client = await connect(tokens(engine), (), lambda event: None)
        client.allowance.limit = 12
        with pytest.raises(ModelError) as caught:
            await client(new_transcript(), lambda event: None, kept.append)
        assert caught.value.kind == "allowance"
        await client.close()

    with FakeEngine([cut, cut, cut], tokenizer=TOKENIZER) as engine:
        asyncio.run(go(engine))
        wanted = [step.json["sampling_params"]["max_tokens"] for step in engine.steps]
    assert len(wanted) == 2 and wanted[0] == 12 and 0 < wanted[1] < 12
    assert [len(message.token_ids) - 12 for message in kept] in ([0], [1], [2])  # closing tags
    assert kept[0].text.startswith(cut.text)
