"""A front end that asks one question after the other until it is told to stop.

    python -m tests.engine.asker PROFILE NAME [CLASS]

Each question is asked until it is answered: what fails is told with its reason and sent again,
over an engine that is started if need be, as a session does it. One JSON object a line on stdout:
asked, failed (why), answered (the ids). A line on stdin, or its end, stops it after the answer.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from glmcode.core.messages import UserMessage
from glmcode.core.model import ModelError
from glmcode.engine.attach import EngineUnavailable, attach
from glmcode.engine.client import Client, Endpoint, connect
from glmcode.engine.lane import Lane, QueueClass, new_lane
from glmcode.engine.profile import load_profile
from glmcode.tools.specs import load_specs
from tests.engine.client_kit import TOKENIZER, ask, new_transcript

QUESTIONS = 4
STEP_CAP = 8


async def _client(name: str, lane: Lane) -> Client:
    address = await attach(load_profile(name), lambda event: None)
    endpoint = Endpoint(
        socket=address.socket,
        model=address.model,
        protocol="tokens",
        tokenizer=address.tokenizer or TOKENIZER,
        window=9000,
        step_cap=STEP_CAP,
        sampling=address.profile.sampling,
        headers=lane.headers(),
    )
    return await connect(endpoint, load_specs(), lambda event: None)


def _tell(**what: Any) -> None:
    print(json.dumps({**what, "at": time.time()}), flush=True)


async def main(profile: str, name: str, kind: QueueClass = "scripted") -> None:
    stop = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.readline(), stop.set()), daemon=True).start()
    client: Client | None = None
    number = 0
    while not stop.is_set():
        # Each question is a run of its own: the next step of the same one would go first.
        lane = replace(new_lane(kind, Path(f"/src/{name}"), {}), resumes=True)
        _tell(asked=number)
        while True:
            try:
                client = client or await _client(profile, lane)
                question = new_transcript(UserMessage(text=f"question {number % QUESTIONS}"))
                asked = await ask(client, question)
                if asked.error is None:
                    break
                raise asked.error
            except (ModelError, EngineUnavailable) as error:
                _tell(failed=number, why=str(error))
                if client is not None:
                    await client.close()
                client = None
                await asyncio.sleep(0.1)
        _tell(answered=number, ids=asked.reply.token_ids)
        number += 1
        await client.close()
        client = None


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:3], *cast("list[QueueClass]", sys.argv[3:4])))
