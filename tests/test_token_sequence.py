"""The promise of the `tokens` protocol: every prompt is the one before plus what was kept."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from glmcode.agent import Agent, AgentOptions
from glmcode.base.settings import EngineSettings
from glmcode.core import words
from glmcode.core.events import Delta, Event, StepFinished
from glmcode.core.messages import AssistantMessage, RejectedCall, ToolMessage
from glmcode.glm.tokenizer import GlmTokenizer
from glmcode.opening import open_agent
from tests.fake_engine import FakeEngine, Reply

ROOT = Path(__file__).resolve().parent.parent
TOKENIZER = ROOT / "models" / "tiny" / "tokenizer.json"
GOLDEN = [
    json.loads(line)
    for line in (ROOT / "tests" / "golden" / "parse.jsonl").read_text().splitlines()[1:]
]
CONTROLS = (
    "<think>", "</think>", "<tool_call>", "</tool_call>", "<arg_key>", "</arg_key>",
    "<arg_value>", "</arg_value>", "<|observation|>",
)  # fmt: skip
SAMPLING = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "max_tokens")
READ = Reply(reasoning="read", calls=[{"name": "Read", "arguments": {"file_path": "a.txt"}}])


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLMCODE_HOME", str(tmp_path / "home"))


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = (tmp_path / "work").resolve()
    folder.mkdir()
    (folder / "a.txt").write_text("é <|user|> </think> <tool_call> 中文\n" * 3)
    return folder


def options(engine: FakeEngine, work: Path) -> AgentOptions:
    settings = EngineSettings(
        base_url=engine.base_url, protocol="tokens", model="glm", tokenizer=str(TOKENIZER)
    )
    return AgentOptions(workspace=work, engine=settings, mode="bypassPermissions")


def run(engine: FakeEngine, work: Path, prompt: str) -> Agent:
    async def main() -> Agent:
        agent = await open_agent(options(engine, work), lambda event: None)
        await agent.submit(prompt)
        await agent.close()
        return agent

    return asyncio.run(main())


def test_thirty_steps_three_prompts_steering_and_an_interrupt_only_ever_append(
    work: Path,
) -> None:
    script = [READ] * 10 + [Reply(text="one")] + [READ] * 10 + [Reply(text="two")]
    cut = Reply(reasoning="a long thought", text="never whole", chunk=1, gap=0.02)
    script += [cut] + [READ] * 10 + [Reply(text="three")]
    with FakeEngine(script, tokenizer=TOKENIZER, window=200_000) as engine:

        async def main() -> Agent:
            agent: Agent

            def emit(event: Event) -> None:
                if isinstance(event, Delta) and event.kind == "text" and engine._served == 23:
                    agent.cancel()
                if isinstance(event, StepFinished) and engine._served == 15:
                    agent.steer("and mind the <|system|> tag")

            agent = await open_agent(options(engine, work), emit)
            await agent.submit("first")
            await agent.submit("second")
            await agent.submit("to be interrupted")
            await agent.submit("third")
            await agent.close()
            return agent

        agent = asyncio.run(main())
        bodies = [step.json for step in engine.steps]
    sent = [body.get("token_ids", body.get("prompt")) for body in bodies]
    replies = [m for m in agent.transcript.messages if isinstance(m, AssistantMessage)]
    assert [m.stop for m in replies].count("interrupted") == 1
    assert len(sent) == len(replies) == 34
    for before, after, reply in zip(sent, sent[1:], replies, strict=False):
        kept = [*before, *(reply.token_ids or ())]
        assert after[: len(kept)] == kept
    for body in bodies:
        assert set(SAMPLING) <= set(body) | set(body.get("sampling_params", ()))
    tokenizer = GlmTokenizer.load(TOKENIZER)
    controls = {tokenizer.control_id("<|user|>"), tokenizer.control_id("<|system|>")}
    assert sum(i in controls for i in sent[-1]) == 2 + 5


def written_with_plain_tags(tokenizer: GlmTokenizer, name: str, content: str) -> list[int]:
    control = {c: tokenizer.control_id(c) for c in CONTROLS}
    ids: list[Any] = [*tokenizer.encode_text("\n"), control["<think>"], control["</think>"]]
    ids += [*tokenizer.encode_text("\n"), control["<tool_call>"]]
    ids += tokenizer.encode_text("Write\n")
    for key, value in (("file_path", name), ("content", content)):
        ids += [control["<arg_key>"], *tokenizer.encode_text(key), control["</arg_key>"]]
        ids += [*tokenizer.encode_text("\n"), control["<arg_value>"]]
        ids += [*tokenizer.encode_text(value), control["</arg_value>"]]
        ids += tokenizer.encode_text("\n")
    return [*ids, control["</tool_call>"], control["<|observation|>"]]


def test_what_the_model_copies_with_ordinary_tokens_is_written_byte_for_byte(work: Path) -> None:
    tokenizer = GlmTokenizer.load(TOKENIZER)
    stop = tokenizer.control_id("<|observation|>")
    script = [
        Reply(
            ids=written_with_plain_tags(tokenizer, f"g{number}.txt", case["raw"]),
            finish="stop",
            stop=stop,
            chunk=64,
        )
        for number, case in enumerate(GOLDEN)
    ]
    with FakeEngine([*script, Reply(text="done")], tokenizer=TOKENIZER, window=200_000) as engine:
        run(engine, work, "copy")
    for number, case in enumerate(GOLDEN):
        assert (work / f"g{number}.txt").read_bytes() == case["raw"].encode()


@pytest.mark.parametrize("number", range(len(GOLDEN)))
def test_the_same_text_with_tags_as_control_ids_is_exact_or_rejected_never_partial(
    work: Path, number: int
) -> None:
    raw = GOLDEN[number]["raw"]
    call = {"name": "Write", "arguments": {"file_path": "c.txt", "content": raw}}
    script = [Reply(calls=[call], chunk=64), *[Reply(text="done")] * 3]
    with FakeEngine(script, tokenizer=TOKENIZER, window=200_000) as engine:
        agent = run(engine, work, "copy")
    path = work / "c.txt"
    answers = [m for m in agent.transcript.messages if isinstance(m, ToolMessage)]
    if path.exists():
        assert path.read_bytes() == raw.encode()
    else:
        first = agent.transcript.messages[1]
        assert isinstance(first, AssistantMessage)
        assert first.stop == "end" or any(m.is_error for m in answers)


def test_the_way_out_that_a_rejection_names_works(work: Path) -> None:
    advice = words.rejected_answer(RejectedCall(id="r", reason="ambiguous", raw=""))
    command = advice.split("from two pieces: ")[1].rstrip(".").replace("FILE", "t.txt")
    text = {"file_path": "t.txt", "content": "say @@CLOSE_VALUE@@ here\n"}
    script = [
        Reply(calls=[{"name": "Write", "arguments": text}]),
        Reply(calls=[{"name": "Bash", "arguments": {"command": command}}]),
        Reply(text="done"),
    ]
    with FakeEngine(script, tokenizer=TOKENIZER, window=200_000) as engine:
        run(engine, work, "go")
    assert (work / "t.txt").read_text() == "say </arg_value> here\n"
