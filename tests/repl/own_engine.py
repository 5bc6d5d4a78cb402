"""An engine for a profile of its own: loads for a while, then answers from a script.
What it was asked is beside the script (.seen), a line for each request.

    python own_engine.py SCRIPT.json SOCKET

Started by the supervisor as `engine_command`; says what vLLM says while it loads.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.fake_engine import FakeEngine, Reply, Seen

TOKENIZER = Path(__file__).resolve().parents[2] / "models" / "tiny" / "tokenizer.json"


class OwnEngine(FakeEngine):
    def _route(self, seen: Seen) -> Reply:
        if seen.method == "POST":
            return super()._route(seen)
        reply = Reply(body="{}") if seen.path == "/health" else super()._route(seen)
        return replace(reply, framing="close")


def load() -> None:
    for shard in range(4):
        print(f"Loading safetensors checkpoint shards: 25% {shard}/4", flush=True)
        time.sleep(0.4)


async def main() -> None:
    script = Path(sys.argv[1])
    engine = OwnEngine(
        json.loads(script.read_text()),
        socket=Path(sys.argv[2]),
        tokenizer=TOKENIZER,
        record=script.with_suffix(".seen"),
    )
    server = await engine.listen()
    print("the last words of the engine", flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    load()
    asyncio.run(main())
