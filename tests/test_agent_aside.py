from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from glmcode.agent_aside import ask_aside
from glmcode.opening import open_agent
from tests.fake_engine import FakeEngine, Reply
from tests.test_thinking import TOKENIZER, options, prompts


def test_a_question_beside_leaves_no_byte_and_the_next_prompt_begins_with_what_is_cached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLMCODE_HOME", str(tmp_path / "home"))
    work = (tmp_path / "work").resolve()
    work.mkdir()
    script = [Reply(reasoning="hm", text="One."), Reply(text="Aside."), Reply(text="Two.")]
    with FakeEngine(script, tokenizer=TOKENIZER) as engine:

        async def main() -> None:
            agent = await open_agent(options(engine, work), lambda event: None)
            await agent.submit("first")
            before = agent.journal.path.read_bytes(), agent.context_tokens()
            assert await ask_aside(agent, "a question?", lambda event: None) == "Aside."
            assert (agent.journal.path.read_bytes(), agent.context_tokens()) == before
            await agent.submit("second")
            await agent.close()

        asyncio.run(main())
        first, aside, second = prompts(engine)
    common = next(n for n, (one, two) in enumerate(zip(aside, second, strict=False)) if one != two)
    assert second[: len(first)] == first and aside[: len(first)] == first
    assert common > len(first) + 4, "both go on behind the answer that was kept"
