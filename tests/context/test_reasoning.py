from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from glmcode.agent import Agent
from glmcode.agent_context import Holdings, holdings
from glmcode.base.settings import ContextSettings
from glmcode.repl.context import BAR, context_rows
from tests.context.compaction_kit import SummingEngine, Talk, read
from tests.fake_engine import Reply

THOUGHT = "I look into f1.txt."


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLMCODE_HOME", str(tmp_path / "home"))


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = (tmp_path / "work").resolve()
    folder.mkdir()
    (folder / "f1.txt").write_text("one\n")
    (folder / "AGENTS.md").write_text("Keep lines short.\n")
    return folder


def script() -> list[Reply]:
    last = Reply(text="seen", reasoning="Now I know.")
    return [read("f1.txt"), last, read("f1.txt"), Reply(text="again")]


@pytest.mark.parametrize("protocol", ["tokens", "chat"])
@pytest.mark.parametrize("policy", ["keep", "template"])
def test_reasoning_of_earlier_turns_leaves_with_the_next_message_only_under_template(
    work: Path, policy: str, protocol: str
) -> None:
    with SummingEngine(script(), [Reply(text="x")], window=16_384) as engine:
        talk = Talk(engine, work, protocol, ContextSettings(reasoning=policy))
        talk.say("look", "again")
        texts = []
        for step in engine.steps:
            ids = step.json.get("token_ids", [])
            spelled = b"".join(map(engine.tokenizer.token_bytes, ids)).decode()
            texts.append(spelled or json.dumps(step.json["messages"]))
        grows = [step.grows for step in engine.steps]
    assert [text.count(THOUGHT) for text in texts] == (
        [0, 1, 1, 2] if policy == "keep" else [0, 1, 0, 1]
    )
    assert [text.count("Now I know.") for text in texts][2:] == [1, 1] if policy == "keep" else True
    if protocol == "tokens":
        assert grows == [None, True, policy == "keep", True]


def held(work: Path, policy: str, protocol: str = "tokens") -> tuple[Holdings, int]:
    with SummingEngine(script(), [Reply(text="x")], window=16_384) as engine:
        talk = Talk(engine, work, protocol, ContextSettings(reasoning=policy), trusted=True)

        async def main(agent: Agent) -> Holdings:
            await agent.submit("look")
            await agent.submit("again")
            return holdings(agent)

        found = talk.run(main)
        assert isinstance(found, Holdings) and talk.agent is not None
        sent = engine.steps[-1].json
        return found, len(sent["token_ids"]) if protocol == "tokens" else 0


def test_the_kinds_of_what_the_window_holds_add_up_to_the_prompt(work: Path) -> None:
    for policy in ("keep", "template"):
        found, sent = held(work, policy)
        assert sum(tokens for _, tokens in found.parts) == found.used - 1 > sent
        names = [name for name, _ in found.parts]
        assert names[:3] == ["tool specs", "system prompt", "instructions"]
        assert {"user messages", "answers and calls", "reasoning", "tool results"} <= set(names)
        assert found.exact and found.window == 16_384


def test_what_the_other_policy_would_cost_is_told(work: Path) -> None:
    keep, template = held(work, "keep")[0], held(work, "template")[0]
    assert keep.earlier == template.earlier > 0
    assert keep.used - template.used == keep.earlier
    assert 0 < keep.again < keep.used
    said = dict(context_rows(keep, unicode=True))["reasoning"]
    assert f"{keep.earlier:,} tokens of earlier turns" in said and f"{keep.again:,}" in said
    assert "are cut" in dict(context_rows(template, unicode=True))["reasoning"]


def test_the_bar_has_one_length_and_says_what_is_free(work: Path) -> None:
    found, _ = held(work, "keep")
    by_hand = dict(context_rows(replace(found, automatic=False), unicode=True))
    assert "nothing fits any more" in by_hand["free"] and "last answer" in by_hand["reserved"]
    for unicode, marks in ((True, "█▒·░"), (False, "#=.-")):
        rows = dict(context_rows(found, unicode=unicode))
        bar = rows["window"]
        assert len(bar) == BAR + 2 and set(bar[1:-1]) == set(marks)
        assert list(bar[1:-1]) == sorted(bar[1:-1], key=marks.index)
        free = found.window - found.used - found.reserved
        assert rows["free"].startswith(f"{free:,} until")


def test_a_chat_server_s_numbers_are_called_estimates(work: Path) -> None:
    found, _ = held(work, "keep", "chat")
    assert not found.exact
    assert dict(context_rows(found, unicode=True))["used"].startswith("about ")
