"""What the tests of the model client share: one call that asks a fake engine and looks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from glmcode.core.events import DeltasDiscarded, Event, Retrying
from glmcode.core.messages import AssistantMessage, Message, ToolMessage, UserMessage
from glmcode.core.model import ModelError
from glmcode.core.transcript import Preamble, Transcript
from glmcode.engine.client import Client, Endpoint, connect
from glmcode.tools.specs import load_specs
from tests.fake_engine import FakeEngine

TOKENIZER = Path(__file__).resolve().parents[2] / "models" / "tiny" / "tokenizer.json"


@dataclass
class Asked:
    """What came of asking: exactly one of message and error is set, unless cancelled."""

    message: AssistantMessage | None = None
    error: ModelError | None = None
    cancelled: bool = False
    events: list[Event] = field(default_factory=list)
    kept: list[AssistantMessage] = field(default_factory=list)
    seconds: float = 0.0

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    def shown(self, kind: str) -> str:
        """The deltas of a kind that are still valid, joined."""
        text = ""
        for event in self.events:
            if isinstance(event, DeltasDiscarded):
                text = ""
            elif getattr(event, "kind", "") == kind:
                text += event.text  # type: ignore[union-attr]
        return text

    @property
    def reply(self) -> AssistantMessage:
        assert self.message is not None, f"no message but {self.error!r}"
        return self.message

    @property
    def fault(self) -> ModelError:
        assert self.error is not None, f"no error but {self.message!r}"
        return self.error

    @property
    def retries(self) -> int:
        return len(self.of(Retrying))


def new_transcript(*messages: Message) -> Transcript:
    transcript = Transcript(Preamble(specs=load_specs(), system="You help."))
    for message in messages or (UserMessage(text="hello"),):
        transcript.append(message)
    return transcript


def chat(engine: FakeEngine, **fields: Any) -> Endpoint:
    """The endpoint of a chat server; over the engine's Unix socket where it has one."""
    if engine.socket is not None:
        fields["socket"] = engine.socket
    else:
        fields.setdefault("base_url", engine.base_url)
    return Endpoint(**{"model": "glm", "protocol": "chat", **fields})


def tokens(engine: FakeEngine, **fields: Any) -> Endpoint:
    """The endpoint of our own engine: nothing is asked at connect."""
    given = {"model": "glm", "protocol": "tokens", "tokenizer": TOKENIZER, "window": engine.window}
    if engine.socket is not None:
        given["socket"] = engine.socket
    else:
        given["base_url"] = engine.base_url
    return Endpoint(**{**given, **fields})


async def ask(client: Client, transcript: Transcript, watch: Any = None) -> Asked:
    """One reply. watch(event) sees each event as it comes."""
    asked = Asked()

    def emit(event: Event) -> None:
        asked.events.append(event)
        if watch is not None:
            watch(event)

    began = time.monotonic()
    try:
        asked.message = await client(transcript, emit, asked.kept.append)
    except ModelError as error:
        asked.error = error
    except asyncio.CancelledError:
        asked.cancelled = True
    asked.seconds = time.monotonic() - began
    return asked


def ask_once(endpoint: Endpoint, transcript: Transcript | None = None) -> Asked:
    """Connect, ask, close."""

    async def run() -> Asked:
        asked = Asked()
        try:
            client = await connect(endpoint, load_specs(), asked.events.append)
        except ModelError as error:
            asked.error = error
            return asked
        try:
            return await ask(client, transcript or new_transcript())
        finally:
            await client.close()

    return asyncio.run(run())


def converse(
    endpoint: Endpoint,
    steps: int,
    answer: Callable[[str], str] = lambda call_id: f"result of {call_id}",
    transcript: Transcript | None = None,
) -> tuple[Transcript, Sequence[Asked], Client]:
    """Ask `steps` times; each call is answered, each message without calls is replied to."""
    spoken = transcript or new_transcript()

    async def run() -> tuple[list[Asked], Client]:
        client = await connect(endpoint, load_specs(), lambda event: None)
        seen = []
        try:
            for number in range(steps):
                asked = await ask(client, spoken)
                seen.append(asked)
                spoken.append(asked.reply)
                for call_id in asked.reply.call_ids():
                    spoken.append(ToolMessage(call_id=call_id, name="x", text=answer(call_id)))
                if not asked.reply.call_ids():
                    spoken.append(UserMessage(text=f"more {number}"))
        finally:
            await client.close()
        return seen, client

    seen, client = asyncio.run(run())
    return spoken, seen, client
