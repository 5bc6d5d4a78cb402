"""One request of a campaign of random operations, asked in this process or in one of its own.

    python -m tests.engine.chaos_client SOCKET

takes wishes as JSON lines on stdin and tells how each ended on stdout; it can be stopped, killed
and gone on with. A request counts as answered only with the very ids that follow from its prompt,
and as failed only with a sentence.
"""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from glmcode.core.messages import UserMessage
from glmcode.core.model import ModelError
from glmcode.engine.client import Client, Endpoint, connect
from glmcode.engine.lane import Lane, QueueClass
from glmcode.tools.specs import load_specs
from tests.engine.client_kit import TOKENIZER, ask, new_transcript
from tests.engine.fake_vllm import next_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is asked for and as whom. pause: seconds between two steps of the turn, of which there
    are `steps`; tells: whether it says when the turn is over."""

    number: int
    kind: QueueClass
    run: str
    parents: tuple[str, ...] = ()
    wait_s: float | None = None
    cap: int = 10
    steps: int = 1
    pause: float = 0.0
    tells: bool = True

    def lane(self) -> Lane:
        return Lane(
            kind=self.kind,
            run=self.run,
            parents=self.parents,
            label=f"request {self.number}",
            wait_s=self.wait_s,
            resumes=True,
            turns=self.tells,
            ours=True,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """How it ended: answered, failed, cancelled, or one of the two that must not be."""

    number: int
    how: str
    why: str = ""


async def wished(socket: Path, wish: Wish) -> End:
    """Ask for all steps of a turn, or until one fails."""
    place = Endpoint(
        socket=socket,
        model="fake",
        protocol="tokens",
        tokenizer=TOKENIZER,
        window=9000,
        step_cap=wish.cap,
        headers=wish.lane().headers(),
    )
    try:
        client = await connect(place, load_specs(), lambda event: None)
    except ModelError as error:
        return _failed(wish, error)
    try:
        for step in range(wish.steps):
            if step:
                await asyncio.sleep(wish.pause)
            end = await _step(client, wish)
            if end.how != "answered":
                return end
        client.turn_over()
        return end
    finally:
        await client.close()


async def _step(client: Client, wish: Wish) -> End:
    transcript = new_transcript(UserMessage(text=f"request {wish.number}"))
    asked = await ask(client, transcript)
    if asked.error is not None:
        return _failed(wish, asked.error)
    if asked.cancelled:
        return End(number=wish.number, how="cancelled")
    prompt = client._spoken._state(transcript).prompt.request_ids()  # type: ignore[union-attr]
    ids = list(asked.reply.token_ids or ())
    right = bool(ids) and ids == follow(prompt, len(ids))
    return End(number=wish.number, how="answered" if right else "another answer")


def _failed(wish: Wish, error: ModelError) -> End:
    text = str(error)
    return End(number=wish.number, how="failed" if text.strip() else "nothing said", why=text)


def follow(prompt: list[int], count: int) -> list[int]:
    """The answer of the fake engine to a prompt."""
    ids = list(prompt)
    for _ in range(count):
        ids.append(next_id(ids))
    return ids[len(prompt) :]


async def main(socket: str) -> None:
    loop = asyncio.get_running_loop()
    tasks: set[asyncio.Task[None]] = set()

    async def one(wish: Wish) -> None:
        print(json.dumps(asdict(await wished(Path(socket), wish))), flush=True)

    while line := await loop.run_in_executor(None, sys.stdin.readline):
        wish = Wish(**json.loads(line))
        task = asyncio.ensure_future(one(replace(wish, parents=tuple(wish.parents))))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    if tasks:
        await asyncio.wait(tasks)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
