"""An engine that answers each conversation by a word in its first message, whoever comes first.

    python nested_engine.py SCRIPT.json SOCKET

SCRIPT.json: {"[word]": [replies of fake_engine.Reply, one for each step of that conversation]}.
Started by the supervisor as `engine_command`. Which words were asked and answered, in what order,
is beside the script (.words), as lines "ask [word] STEP" and "end [word] STEP".
"""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.fake_engine import FakeEngine, Reply, Seen


class NestedEngine(FakeEngine):
    def __init__(self, script: Path, socket: Path) -> None:
        super().__init__([], socket=socket)
        given: dict[str, list[dict[str, Any]]] = json.loads(script.read_text())
        self._by_word = {word: [Reply(**one) for one in steps] for word, steps in given.items()}
        self._words = script.with_suffix(".words")

    def _route(self, seen: Seen) -> Reply:
        if seen.method == "POST":
            return super()._route(seen)
        reply = Reply(body="{}") if seen.path == "/health" else super()._route(seen)
        return replace(reply, framing="close")

    def _step(self, seen: Seen) -> Reply:
        messages = seen.json["messages"]
        first = next(json.dumps(m["content"]) for m in messages if m["role"] == "user")
        word = next(word for word in self._by_word if word in first)
        step = sum(m["role"] == "assistant" for m in messages)
        with self._words.open("a") as file:
            file.write(f"{word} {step}\n")
        return self._by_word[word][step]


async def main() -> None:
    engine = NestedEngine(Path(sys.argv[1]), Path(sys.argv[2]))
    async with await engine.listen() as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
