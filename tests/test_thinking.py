from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from glmcode.agent import Agent, AgentOptions
from glmcode.agent_thinking import set_thinking
from glmcode.base.settings import EngineSettings
from glmcode.base.thinking import parse_thinking, thinking_words
from glmcode.core.events import Event, Notice, RequestFinished
from glmcode.core.messages import AssistantMessage
from glmcode.engine.client import connect
from glmcode.glm.pieces import text_pieces
from glmcode.glm.tokenizer import GlmTokenizer
from glmcode.opening import open_agent
from glmcode.sessions import fold, open_session
from glmcode.tools.specs import load_specs
from tests.engine.client_kit import ask_once, chat, new_transcript, tokens
from tests.fake_engine import FakeEngine, Reply

TOKENIZER = Path(__file__).resolve().parent.parent / "models" / "tiny" / "tokenizer.json"
GLM = GlmTokenizer.load(TOKENIZER)
READ = {"name": "Read", "arguments": {"file_path": "a.txt"}}


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLMCODE_HOME", str(tmp_path / "home"))


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = (tmp_path / "work").resolve()
    folder.mkdir()
    (folder / "a.txt").write_text("é\n")
    return folder


def raw(text: str) -> list[int]:
    return GLM.encode(text_pieces(text, GLM.control_names))


def until_asked(engine: FakeEngine) -> None:
    end = time.monotonic() + 30
    while not engine.steps and time.monotonic() < end:
        time.sleep(0.01)


def options(engine: FakeEngine, work: Path, thinking: str = "on") -> AgentOptions:
    settings = EngineSettings(
        base_url=engine.base_url,
        protocol="tokens",
        model="glm",
        tokenizer=str(TOKENIZER),
        thinking=thinking,
    )
    return AgentOptions(workspace=work, engine=settings, mode="bypassPermissions")


def prompts(engine: FakeEngine) -> list[list[int]]:
    return [seen.json["token_ids"] for seen in engine.steps]


def only_grow(asked: list[list[int]]) -> bool:
    return all(now[: len(then)] == then for then, now in pairwise(asked))


CLOSED = raw("<|assistant|>\n<think></think>")


def test_switching_thinking_in_a_session_only_appends_and_survives_a_resume(work: Path) -> None:
    unthought = Reply(ids=raw("\nshort"), stop="end")
    script = [
        Reply(reasoning="hm", calls=[READ]),
        Reply(reasoning="ah", text="one"),
        unthought,
        Reply(reasoning="oh", text="three"),
        unthought,
        unthought,
    ]
    with FakeEngine(script, tokenizer=TOKENIZER) as engine:

        async def main() -> Path:
            agent = await open_agent(options(engine, work), lambda event: None)
            await agent.submit("first")
            assert set_thinking(agent, 0) == "thinking: off"
            await agent.submit("second /nothink")
            assert set_thinking(agent, None) == "thinking: on"
            await agent.submit("third")
            set_thinking(agent, 0)
            await agent.submit("fourth")
            path = agent.journal.path
            await agent.close()
            return path

        path = asyncio.run(main())
        asked = prompts(engine)
        assert only_grow(asked)
        assert [one[-len(CLOSED) :] == CLOSED for one in asked] == [
            False, False, True, False, True,
        ]  # fmt: skip
        assert asked[2][-len(CLOSED) - 1] == raw("/nothink")[0]
        spoken = fold(path).messages
        assert [m.text for m in spoken if isinstance(m, AssistantMessage)][2] == "short"

        async def again() -> None:
            stored = open_session(path)
            given = replace(options(engine, work, "off"), stored=stored)
            agent = await open_agent(given, lambda event: None)
            await agent.submit("fifth")
            await agent.close()

        asyncio.run(again())
        assert only_grow(prompts(engine))
        assert prompts(engine)[-1][-len(CLOSED) :] == CLOSED


def budgeted(engine: FakeEngine, work: Path, thinking: str) -> tuple[Agent, list[Event]]:
    events: list[Event] = []

    async def main() -> Agent:
        agent = await open_agent(options(engine, work, thinking), events.append)
        await agent.submit("go")
        await agent.close()
        return agent

    return asyncio.run(main()), events


@pytest.mark.parametrize("chunk", [1, 5, 64])
def test_a_budget_closes_thinking_and_the_answer_goes_on_from_the_same_tokens(
    work: Path, chunk: int
) -> None:
    long = Reply(reasoning="one two three four five six seven eight nine", text="x", chunk=chunk)
    rest = Reply(ids=raw("\nHere it is."), chunk=chunk)
    with FakeEngine([long, rest], tokenizer=TOKENIZER) as engine:
        agent, events = budgeted(engine, work, "4")
        first, second = prompts(engine)
    thought = GLM.encode_text("one two three four five six seven eight nine")[:4]
    opening, closing = raw("\n<think>"), raw("</think>")
    assert second == [*first, *opening, *thought, *closing]
    reply = agent.transcript.messages[-1]
    assert isinstance(reply, AssistantMessage)
    assert reply.text == "Here it is." and reply.stop == "end"
    assert list(reply.token_ids or ()) == [*second[len(first) :], *raw("\nHere it is.")]
    kinds = [event.kind for event in events if isinstance(event, RequestFinished)]
    assert kinds == ["step", "go_on"]
    shown = "".join(getattr(e, "text", "") for e in events if getattr(e, "kind", "") == "reasoning")
    assert shown == reply.reasoning and "five" not in shown


def test_what_was_cached_of_a_prompt_whose_thinking_was_closed_counts_as_far_as_it_is_known(
    work: Path,
) -> None:
    found = {"prompt_tokens_details": {"cached_tokens": 100}}
    long = Reply(reasoning="one two three four five six seven", text="x", chunk=1)
    script = [Reply(ids=raw("\nshort")), long, Reply(ids=raw("\nrest"), usage=found)]
    with FakeEngine(script, tokenizer=TOKENIZER) as engine:

        async def main() -> AssistantMessage:
            agent = await open_agent(options(engine, work, "3"), lambda event: None)
            await agent.submit("first")
            await agent.submit("second")
            await agent.close()
            reply = agent.transcript.messages[-1]
            assert isinstance(reply, AssistantMessage)
            return reply

        reply = asyncio.run(main())
    assert (reply.text, reply.usage.cached_tokens) == ("rest", 100)


def test_reasoning_within_the_budget_is_not_touched(work: Path) -> None:
    words = "one two three"
    size = len(GLM.encode_text(words))
    with FakeEngine([Reply(reasoning=words, text="x")], tokenizer=TOKENIZER) as engine:
        agent, _ = budgeted(engine, work, str(size))
        assert len(engine.steps) == 1
    reply = agent.transcript.messages[-1]
    assert isinstance(reply, AssistantMessage) and (reply.reasoning, reply.text) == (words, "x")


def test_an_answer_without_thinking_that_is_stopped_at_once_keeps_nothing(work: Path) -> None:
    with FakeEngine([Reply(text="x", stall=60)], tokenizer=TOKENIZER) as engine:

        async def main() -> Agent:
            agent = await open_agent(options(engine, work, "off"), lambda event: None)
            turn = asyncio.ensure_future(agent.submit("go"))
            await asyncio.to_thread(until_asked, engine)
            agent.cancel()
            await turn
            await agent.close()
            return agent

        agent = asyncio.run(main())
    assert len(agent.transcript) == 1


def test_in_chat_the_server_is_asked_and_a_refusal_is_said() -> None:
    refusal = json.dumps({"error": {"message": "chat_template_kwargs: extra fields"}})
    script = [Reply(text="a"), Reply(status=400, body=refusal), Reply(text="b")]
    with FakeEngine(script) as engine:
        ask_once(chat(engine, thinking=0))
        asked = ask_once(chat(engine, thinking=0))
        bodies = [seen.json for seen in engine.steps]
    assert bodies[0]["chat_template_kwargs"] == {"enable_thinking": False}
    assert "chat_template_kwargs" not in bodies[2] and asked.reply.text == "b"
    assert any("left out" in notice.text for notice in asked.of(Notice))


def test_a_budget_in_chat_is_said_to_be_impossible() -> None:
    told: list[Event] = []
    with FakeEngine([Reply(text="a")]) as engine:

        async def main() -> None:
            client = await connect(chat(engine, thinking=100), load_specs(), told.append)
            await client(new_transcript(), told.append, lambda message: None)
            await client.close()

        asyncio.run(main())
        assert "chat_template_kwargs" not in engine.steps[0].json
    assert any(isinstance(one, Notice) and "protocol tokens" in one.text for one in told)


def test_thinking_off_keeps_the_generated_answer_when_it_goes_on_after_a_limit() -> None:
    script = [Reply(ids=raw("\nab"), finish="length"), Reply(ids=raw("cd"))]
    with FakeEngine(script, tokenizer=TOKENIZER) as engine:
        asked = ask_once(tokens(engine, thinking=0))
        first, second = prompts(engine)
    assert second == [*first, *raw("\nab")]
    assert asked.reply.text == "abcd"
    assert list(asked.reply.token_ids or ()) == [*CLOSED[1:], *raw("\nab"), *raw("cd")]


@pytest.mark.parametrize(
    ("text", "value", "words"),
    [
        ("on", None, "on"),
        ("OFF", 0, "off"),
        ("0", 0, "off"),
        ("2,000", 2000, "at most 2,000 tokens a step"),
    ],
)
def test_thinking_is_said_in_words_or_tokens(text: str, value: Any, words: str) -> None:
    assert parse_thinking(text) == value
    assert thinking_words(value) == words


@pytest.mark.parametrize("text", ["", "yes", "-1", "1.5", "٣", "9" * 12])
def test_what_is_no_thinking_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="thinking is on, off"):
        parse_thinking(text)


def test_a_run_without_a_terminal_takes_a_budget_and_tells_what_was_thought(
    work: Path, tmp_path: Path
) -> None:
    long = Reply(reasoning="one two three four five six seven", text="x", chunk=1)
    with FakeEngine([long, Reply(ids=raw("\nrest"))], tokenizer=TOKENIZER) as engine:
        words = ["-p", "--verbose", "--thinking", "3", "--base-url", engine.base_url]
        words += ["-m", "glm", "--protocol", "tokens", "--set", f"engine.tokenizer={TOKENIZER}"]
        ran = subprocess.run(
            [sys.executable, "-m", "glmcode", *words, "go"],
            cwd=work,
            env=os.environ | {"GLMCODE_HOME": str(tmp_path / "home")},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert (ran.returncode, ran.stdout) == (0, "rest\n")
    assert "(5 of them thinking)" in ran.stderr, "with the tag and the line before it"


def test_a_wrong_word_for_thinking_is_a_usage_error(work: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "glmcode", "-p", "--thinking", "lots", "go"],
        cwd=work,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == 2 and "on, off or the most tokens" in ran.stderr
