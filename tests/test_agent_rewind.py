from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from glmcode.agent import Agent, AgentOptions
from glmcode.base.settings import ContextSettings, EngineSettings
from glmcode.checkpoints.undo import Undo
from glmcode.core.messages import AssistantMessage, ToolCall, ToolMessage, UserMessage
from glmcode.core.transcript import Preamble, Transcript, TranscriptError
from glmcode.glm.prompt import TokenPrompt
from glmcode.glm.tokenizer import GlmTokenizer
from glmcode.opening import open_agent
from glmcode.sessions import fold, open_session
from tests.fake_engine import FakeEngine, Reply

ROOT = Path(__file__).resolve().parent.parent
TOKENIZER = ROOT / "models" / "tiny" / "tokenizer.json"


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLMCODE_HOME", str(tmp_path / "home"))


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = (tmp_path / "work").resolve()
    folder.mkdir()
    (folder / "a.txt").write_text("one\n")
    return folder


def options(engine: FakeEngine, work: Path, protocol: str, **fields: Any) -> AgentOptions:
    settings = EngineSettings(
        base_url=engine.base_url,
        protocol=protocol,
        model="glm",
        tokenizer=str(TOKENIZER) if protocol == "tokens" else "",
    )
    return AgentOptions(workspace=work, engine=settings, mode="bypassPermissions", **fields)


def bash(command: str) -> Reply:
    return Reply(reasoning="now", calls=[{"name": "Bash", "arguments": {"command": command}}])


READ = Reply(calls=[{"name": "Read", "arguments": {"file_path": "a.txt"}}])


def rewind(agent: Agent, count: int) -> None:
    mark = agent.marks.known()[-count]
    undo = Undo(agent.past.checkpoints)
    plan = undo.plan_since(mark.at)
    earlier = agent.past.pending()
    if plan is not None:
        undo.apply(plan)
    fresh = [number for number in agent.past.pending() if number not in earlier]
    agent.rewind(mark)
    agent.past.tell_not(fresh)


def prompts(engine: FakeEngine) -> list[list[int]]:
    return [step.json["token_ids"] for step in engine.steps]


@pytest.mark.parametrize("reasoning", ["keep", "template"])
def test_the_prompt_after_a_rewind_is_the_one_that_was_sent_before_it(
    work: Path, reasoning: str
) -> None:
    script = [READ, Reply(reasoning="so", text="It says one."), bash("echo two > a.txt"),
              Reply(text="Done."), bash("echo three > b.txt"), Reply(text="Done."),
              Reply(text="Again.")]  # fmt: skip
    with FakeEngine(script, tokenizer=TOKENIZER, window=200_000) as engine:

        async def main() -> Path:
            context = ContextSettings(reasoning=reasoning)
            given = options(engine, work, "tokens", context=context)
            agent = await open_agent(given, lambda event: None)
            for text in ("look", "change it", "and more"):
                await agent.submit(text)
            await agent.past.settled()
            rewind(agent, 2)
            assert agent.context_tokens()[0] <= len(prompts(engine)[2])
            await agent.submit("change it")
            await agent.close()
            return agent.journal.path

        path = asyncio.run(main())
        sent = prompts(engine)
    assert sent[6] == sent[2], "the same words in the same place make the same prompt"
    assert (work / "a.txt").read_text() == "one\n" and not (work / "b.txt").exists()
    texts = [m.text for m in fold(path).messages if isinstance(m, UserMessage)]
    assert texts[-1] == "change it" and len(texts) == 2


def test_a_rewind_in_chat_sends_the_messages_that_are_left(work: Path) -> None:
    script = [
        Reply(text="One."),
        bash("echo two > a.txt"),
        Reply(text="Two."),
        Reply(text="Three."),
    ]
    with FakeEngine(script) as engine:

        async def main() -> None:
            agent = await open_agent(options(engine, work, "chat"), lambda event: None)
            await agent.submit("first")
            await agent.submit("second")
            await agent.past.settled()
            rewind(agent, 1)
            await agent.submit("third")
            await agent.close()

        asyncio.run(main())
        sent = [step.json["messages"] for step in engine.steps]
    assert sent[3][:-1] == sent[1][:-1] and sent[3][-1]["content"] == "third"


def test_a_rewound_session_goes_on_elsewhere_as_if_the_turns_had_not_been(work: Path) -> None:
    edit = {"file_path": "a.txt", "old_string": "one", "new_string": "1"}
    script = [READ, Reply(text="One."), bash("echo two > a.txt"), Reply(text="Two."),
              Reply(calls=[{"name": "Edit", "arguments": edit}]), Reply(text="Ok.")]  # fmt: skip
    with FakeEngine(script, tokenizer=TOKENIZER, window=200_000) as engine:

        async def first() -> Path:
            agent = await open_agent(options(engine, work, "tokens"), lambda event: None)
            await agent.submit("look")
            await agent.submit("change it")
            await agent.past.settled()
            rewind(agent, 1)
            await agent.close()
            return agent.journal.path

        path = asyncio.run(first())

        async def second() -> Agent:
            given = replace(options(engine, work, "tokens"), stored=open_session(path))
            agent = await open_agent(given, lambda event: None)
            await agent.submit("go on")
            await agent.close()
            return agent

        agent = asyncio.run(second())
        sent = prompts(engine)
    kept = sent[2][: len(sent[1])]
    assert sent[4][: len(kept)] == kept == sent[1]
    assert (work / "a.txt").read_text() == "1\n", "what was read before the rewind is still known"
    said = [m.text for m in agent.transcript.messages if isinstance(m, UserMessage)]
    assert said[-1] == "go on", "the turn that was undone is gone: nobody needs to hear of it"


def test_an_undo_that_was_told_in_a_turn_that_goes_is_told_again(work: Path) -> None:
    script = [bash("echo two > a.txt"), Reply(text="Two."), Reply(text="Ok."), Reply(text="Ok.")]
    with FakeEngine(script, tokenizer=TOKENIZER, window=200_000) as engine:

        async def main() -> Agent:
            agent = await open_agent(options(engine, work, "tokens"), lambda event: None)
            await agent.submit("change it")
            await agent.past.settled()
            undo = Undo(agent.past.checkpoints)
            undo.apply(undo.plan())
            await agent.submit("heard it?")
            rewind(agent, 1)
            await agent.submit("and now?")
            await agent.close()
            return agent

        agent = asyncio.run(main())
    said = [m.text for m in agent.transcript.messages if isinstance(m, UserMessage)]
    note = "[The user undid the changes of the last turn: files a.txt]"
    assert said[-1] == f"{note}\n\nand now?"


def test_a_transcript_goes_back_only_where_no_call_is_left_open() -> None:
    transcript = Transcript(Preamble(specs=(), system=""))
    call = ToolCall(id="call_1_1", name="Read", arguments={})
    messages = [
        UserMessage(text="a"),
        AssistantMessage(calls=(call,)),
        ToolMessage(call_id="call_1_1", name="Read", text="r"),
        AssistantMessage(text="b"),
    ]
    for message in messages:
        transcript.append(message)
    lines: list[int] = []
    for wrong in (2, 5, -1):
        with pytest.raises(TranscriptError):
            transcript.rewind(wrong, lambda: lines.append(wrong))  # noqa: B023
    assert lines == [] and len(transcript) == 4
    transcript.rewind(1, lambda: lines.append(1))
    assert transcript.messages == tuple(messages[:1]) and lines == [1] and transcript.cuts == [1]
    assert transcript.replies == 2, "ids of calls are never used twice"


def test_what_cannot_be_recorded_is_not_rewound() -> None:
    transcript = Transcript(Preamble(specs=(), system=""))
    transcript.append(UserMessage(text="a"))

    def full() -> None:
        raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        transcript.rewind(0, full)
    assert len(transcript) == 1 and transcript.cuts == []


def test_a_prompt_that_goes_back_has_the_ids_and_the_text_that_it_had() -> None:
    tokenizer = GlmTokenizer.load(TOKENIZER)
    preamble = Preamble(specs=(), system="Be brief.")
    prompt = TokenPrompt(tokenizer, preamble)
    messages = [
        UserMessage(text="one é"),
        AssistantMessage(token_ids=(5, 6, 7)),
        ToolMessage(call_id="c", name="n", text="result"),
        ToolMessage(call_id="d", name="n", text="another"),
        UserMessage(text="two"),
    ]
    states = [(prompt.ids, prompt.request_ids_json())]
    for message in messages:
        prompt.extend([message])
        states.append((prompt.ids, prompt.request_ids_json()))
    for keep in (4, 3, 2, 0):
        prompt.rewind(keep)
        assert (prompt.ids, b"".join(prompt.request_ids_json())) == (
            states[keep][0],
            b"".join(states[keep][1]),
        )
        prompt.extend(messages[keep:])
        assert prompt.ids == states[-1][0]
