"""What the tests of the window share: an engine that knows when it is asked for a summary."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from glmcode.agent import Agent, AgentOptions
from glmcode.base.settings import ContextSettings, EngineSettings
from glmcode.core.events import Compacted, Event, Notice
from glmcode.core.messages import ToolMessage
from glmcode.opening import open_agent
from tests.fake_engine import FakeEngine, Reply, Seen

TOKENIZER = Path(__file__).resolve().parents[2] / "models" / "tiny" / "tokenizer.json"
QUESTION = "The conversation up to here will be removed to make room."


class SummingEngine(FakeEngine):
    """Answers questions for a summary from `summaries` (the last again and again), else the
    script. `questions` are the requests that asked for one."""

    def __init__(
        self, script: Sequence[Reply], summaries: Sequence[Reply], *, window: int = 8_192
    ) -> None:
        super().__init__(script, tokenizer=TOKENIZER, window=window)
        self.summaries = list(summaries)
        self.questions: list[Seen] = []

    def _step(self, seen: Seen) -> Reply:
        if not self.asks(seen):
            return super()._step(seen)
        self.questions.append(seen)
        seen.grows = self._check_growth(seen)
        reply = self.summaries.pop(0) if len(self.summaries) > 1 else self.summaries[0]
        if self.is_chat(seen) or reply.ids is not None or reply.status != 200:
            return reply
        text = reply.text and f"\n{reply.text}"
        ids = self._encode(text + raw_calls(reply.calls))
        stop = self.tokenizer.control_id("<|observation|>" if reply.calls else "<|user|>")
        return Reply(**{**vars(reply), "ids": [*ids, stop], "stop": stop})

    def is_chat(self, seen: Seen) -> bool:
        return seen.path.endswith("/chat/completions")

    def asks(self, seen: Seen) -> bool:
        if self.is_chat(seen):
            return str(seen.json["messages"][-1]["content"]).startswith(QUESTION)
        closed = [self.tokenizer.control_id(name) for name in ("<think>", "</think>")]
        return bool(seen.json["token_ids"][-2:] == closed)

    def prompts(self) -> list[list[int]]:
        """The ids of every request for a reply, questions included."""
        return [step.json["token_ids"] for step in self.steps]


def raw_calls(calls: Sequence[Mapping[str, Any]]) -> str:
    made = ""
    for call in calls:
        pairs = "".join(
            f"<arg_key>{key}</arg_key>\n<arg_value>{value}</arg_value>\n"
            for key, value in call["arguments"].items()
        )
        made += f"\n<tool_call>{call['name']}\n{pairs}</tool_call>"
    return made


def read(path: str) -> Reply:
    return Reply(
        reasoning=f"I look into {path}.",
        calls=[{"name": "Read", "arguments": {"file_path": path}}],
    )


def bash(command: str) -> Reply:
    return Reply(calls=[{"name": "Bash", "arguments": {"command": command}}])


class Talk:
    """An agent on an engine, with its events."""

    def __init__(
        self,
        engine: FakeEngine,
        work: Path,
        protocol: str = "tokens",
        context: ContextSettings | None = None,
        model: str | None = None,
        **options: Any,
    ) -> None:
        settings = EngineSettings(
            base_url=engine.base_url,
            protocol=protocol,
            model=("glm" if protocol == "tokens" else "") if model is None else model,
            tokenizer=str(TOKENIZER) if protocol == "tokens" else "",
        )
        self.options = AgentOptions(
            workspace=work,
            engine=settings,
            mode="bypassPermissions",
            context=context or ContextSettings(),
            **options,
        )
        self.events: list[Event] = []
        self.watch: Callable[[Event], None] = lambda event: None
        self.agent: Agent | None = None

    def run(self, work: Callable[[Agent], Awaitable[Any]]) -> Any:
        async def main() -> Any:
            self.agent = await open_agent(self.options, self._take)
            try:
                return await work(self.agent)
            finally:
                await self.agent.close()

        return asyncio.run(main())

    def say(self, *texts: str) -> list[Any]:
        async def work(agent: Agent) -> list[Any]:
            return [await agent.submit(text) for text in texts]

        return list(self.run(work))

    def _take(self, event: Event) -> None:
        self.events.append(event)
        self.watch(event)

    @property
    def compacted(self) -> list[Compacted]:
        return [event for event in self.events if isinstance(event, Compacted)]

    @property
    def notices(self) -> list[str]:
        return [event.text for event in self.events if isinstance(event, Notice)]

    @property
    def results(self) -> list[str]:
        assert self.agent is not None
        return [m.text for m in self.agent.transcript.messages if isinstance(m, ToolMessage)]
