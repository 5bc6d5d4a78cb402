from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import glmcode
from glmcode.agent import Agent, AgentOptions
from glmcode.base.settings import EngineSettings
from glmcode.core.events import Event, StepStarted
from glmcode.core.messages import AssistantMessage, Message, ToolCall, ToolMessage, UserMessage
from glmcode.core.transcript import Preamble
from glmcode.glm import prompt as prompt_module
from glmcode.glm.prompt import SEALED_BYTES, TokenPrompt
from glmcode.glm.tokenizer import GlmTokenizer
from glmcode.opening import open_agent
from glmcode.sessions import Journal
from tests.fake_engine import FakeEngine, Reply

ROOT = Path(__file__).resolve().parent.parent
TOKENIZER = ROOT / "models" / "tiny" / "tokenizer.json"
OURS = str(Path(glmcode.__file__).parent)
READ = Reply(reasoning="read", calls=[{"name": "Read", "arguments": {"file_path": "a.txt"}}])
NOISE = ("http.py", "sdk.py", "sse.py", "exchange.py")
"""Read a stream in as many pieces as come; whatever they do depends on the answer alone."""


class Work:
    """What one step does: lines of ours that run, characters encoded, bytes written."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.lines = self.encoded = self.text = self.journal = 0
        self._count(monkeypatch, GlmTokenizer, "encode_text", self._encoded)
        self._count(monkeypatch, prompt_module, "_json", self._texts)
        self._count(monkeypatch, Journal, "write", self._written)

    def emit(self, event: Event) -> None:
        match event:
            case StepStarted(number=2):
                self.encoded = self.text = self.journal = 0
                sys.settrace(self._trace)
            case StepStarted(number=3):
                sys.settrace(None)
                self.done = (self.encoded, self.text, self.journal)

    def _trace(self, frame: FrameType, kind: str, value: Any) -> Any:
        name = frame.f_code.co_filename
        if not name.startswith(OURS) or name.endswith(NOISE):
            return None
        self.lines += kind == "line"
        return self._trace

    def _count(
        self, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, note: Callable[..., None]
    ) -> None:
        real = getattr(owner, name)

        def counted(*arguments: Any) -> Any:
            note(arguments[-1])
            return real(*arguments)

        monkeypatch.setattr(owner, name, counted)

    def _encoded(self, text: str) -> None:
        self.encoded += len(text)

    def _texts(self, ids: Any) -> None:
        self.text += len(list(ids))

    def _written(self, fields: Any) -> None:
        self.journal += 1


def history(count: int) -> list[Message]:
    made: list[Message] = [UserMessage(text="go")]
    for number in range(count):
        call = ToolCall(id=f"call_{number}", name="Read", arguments={"file_path": f"{number}.py"})
        made.append(AssistantMessage(reasoning="look", calls=(call,), stop="calls"))
        text = f"{number}\tfunction_{number}(argument, other) -> value and more of it\n" * 2
        made.append(ToolMessage(call_id=call.id, name="Read", text=text))
    return [*made, AssistantMessage(text="done")]


def work_of_a_step(
    protocol: str, steps: int, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Work, int]:
    """Open an agent on a conversation of so many steps, run three, count the second."""
    folder.mkdir()
    monkeypatch.setenv("GLMCODE_HOME", str(folder / "home"))
    work = (folder / "work").resolve()
    work.mkdir()
    (work / "a.txt").write_text("one line\n")
    script = [READ, READ, Reply(text="done")]
    with FakeEngine(script, tokenizer=TOKENIZER, window=900_000) as engine:
        settings = EngineSettings(
            base_url=engine.base_url, protocol=protocol, model="glm", tokenizer=str(TOKENIZER)
        )
        options = AgentOptions(workspace=work, engine=settings, mode="bypassPermissions")

        async def main() -> tuple[Work, Agent]:
            agent = await open_agent(options, lambda event: None)
            for message in history(steps):
                agent.transcript.append_unrecorded(message)
            with monkeypatch.context() as patch:
                counted = Work(patch)
                agent._emit = counted.emit
                await agent.submit("go on")
            await agent.close()
            return counted, agent

        counted, agent = asyncio.run(main())
        assert [step.grows for step in engine.steps] == [None, True, True]
        return counted, agent.client.prompt_tokens(agent.transcript)


@pytest.mark.parametrize("protocol", ["tokens", "chat"])
def test_a_step_at_200_000_tokens_does_no_more_work_than_one_at_2_000(
    protocol: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short, few = work_of_a_step(protocol, 1, tmp_path / "short", monkeypatch)
    long, many = work_of_a_step(protocol, 3_000, tmp_path / "long", monkeypatch)
    assert few < 10_000
    assert many > 200_000 if protocol == "tokens" else many > 100_000
    assert long.done == short.done
    assert short.lines > 100
    assert long.lines < 1.1 * short.lines, (short.lines, long.lines, short.done, many)


def test_a_long_prompt_is_sent_without_being_copied() -> None:
    prompt = TokenPrompt(GlmTokenizer.load(TOKENIZER), Preamble(specs=(), system="s"))
    prompt.extend(history(3_000))
    before = prompt.request_ids_json()
    prompt.extend([UserMessage(text="and now?")])
    after = prompt.request_ids_json()
    assert sum(map(len, after)) > 10 * SEALED_BYTES
    assert all(ours is theirs for ours, theirs in zip(before[:-1], after, strict=False))
    assert len(after[-1]) < 2 * SEALED_BYTES
    fork = prompt.fork().request_ids_json()
    assert all(ours is theirs for ours, theirs in zip(after[:-1], fork, strict=False))
