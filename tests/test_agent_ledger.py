from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from glmcode.agent import Agent, AgentOptions
from glmcode.agent_ledger import head_file
from glmcode.agent_prefix import Prefix
from glmcode.base.settings import ContextSettings, EngineSettings
from glmcode.context.ledger import ledger_rows
from glmcode.core.events import Delta, Event, RequestFinished, Warming
from glmcode.headless import HeadlessOptions, run_headless
from glmcode.opening import open_agent
from glmcode.sessions import open_session, read_entries
from tests.context.compaction_kit import SummingEngine
from tests.fake_engine import STEP_PATHS, FakeEngine, Reply

ROOT = Path(__file__).resolve().parent.parent
TOKENIZER = ROOT / "models" / "tiny" / "tokenizer.json"


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLMCODE_HOME", str(tmp_path / "home"))


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = (tmp_path / "work").resolve()
    folder.mkdir()
    (folder / "a.txt").write_text("one line\n")
    return folder


def reply(cached: int | None, *, mark: str = "", read: bool = False, **fields: Any) -> Reply:
    """An answer of an engine that reports so many cached tokens; mark: of our supervisor."""
    usage = {} if cached is None else {"prompt_tokens_details": {"cached_tokens": cached}}
    headers = {"x-glmcode-engine": mark} if mark else {}
    calls = [{"name": "Read", "arguments": {"file_path": "a.txt"}}] if read else []
    text = "" if read else "done"
    given = {"text": text, "calls": calls, "usage": usage, "headers": headers, **fields}
    return Reply(**given)


def options(
    engine: FakeEngine, work: Path, protocol: str = "tokens", **fields: Any
) -> AgentOptions:
    settings = EngineSettings(
        base_url=engine.base_url, protocol=protocol, model="glm", tokenizer=str(TOKENIZER)
    )
    return AgentOptions(workspace=work, engine=settings, mode="bypassPermissions", **fields)


def converse(options: AgentOptions, prompts: Sequence[str]) -> tuple[Agent, list[RequestFinished]]:
    seen: list[RequestFinished] = []

    def emit(event: Event) -> None:
        if isinstance(event, RequestFinished):
            seen.append(event)

    async def main() -> Agent:
        agent = await open_agent(options, emit)
        for prompt in prompts:
            await agent.submit(prompt)
        await agent.close()
        return agent

    return asyncio.run(main()), seen


def lines(agent: Agent) -> list[dict[str, Any]]:
    return [entry for entry in read_entries(agent.journal.path) if entry["t"] == "ledger"]


@pytest.mark.parametrize("protocol", ["tokens", "chat"])
def test_three_turns_ask_the_engine_for_their_steps_and_for_nothing_else(
    work: Path, protocol: str
) -> None:
    script = [reply(None, read=True), reply(None)] * 3
    with FakeEngine(script, tokenizer=TOKENIZER, window=100_000) as engine:
        agent, seen = converse(options(engine, work, protocol), ["one", "two", "three"])
    asked = [request.path for request in engine.requests]
    first = next(at for at, path in enumerate(asked) if path in STEP_PATHS)
    assert set(asked[:first]) <= {"/v1/models", "/tokenize"}
    assert len(asked[first:]) == 6 and set(asked[first:]) <= set(STEP_PATHS)
    assert [entry["kind"] for entry in lines(agent)] == ["step"] * 6
    assert len(seen) == 6


def test_every_request_is_a_line_that_says_what_was_expected_and_what_came(work: Path) -> None:
    def mark(number: int, engine: str = "1-1") -> str:
        return f"{engine} served={number} block=16"

    script = [
        reply(0, mark=mark(1), read=True),
        reply(1_600, mark=mark(2)),
        reply(0, mark=mark(9)),
        reply(0, mark=mark(1, "2-2")),
    ]
    with FakeEngine(script, tokenizer=TOKENIZER, window=100_000) as engine:
        agent, seen = converse(options(engine, work), ["one", "two", "three"])
        prompts = [len(step.json["token_ids"]) for step in engine.steps]
    stored = lines(agent)
    assert [line["prompt"] for line in stored] == prompts
    assert [line["cached"] for line in stored] == [0, 1_600, 0, 0]
    assert [line["new"] for line in stored] == [line["prompt"] - line["cached"] for line in stored]
    assert stored[0]["expected"] == 0 and stored[0]["cause"] == "new preamble"
    assert stored[2]["cause"] == "evicted by another session"
    assert stored[3]["cause"] == "the engine restarted"
    for before, line in itertools.pairwise(stored):
        assert before["prompt"] < before["held"] <= line["prompt"]
        assert line["expected"] == before["held"] // 16 * 16
    assert len(ledger_rows(read_entries(agent.journal.path))) == 1 + 4 + 1
    assert [event.cause for event in seen] == [line["cause"] for line in stored]


def test_what_an_answer_needs_to_go_on_after_its_length_is_a_request_of_its_own(work: Path) -> None:
    cut = reply(0, text="first part", finish="length")
    with FakeEngine([cut, reply(1_024)], tokenizer=TOKENIZER, window=100_000) as engine:
        agent, _ = converse(options(engine, work), ["one"])
    first, second = lines(agent)
    assert (first["kind"], second["kind"]) == ("step", "go_on")
    assert second["prompt"] == first["held"]
    assert second["expected"] == (second["prompt"] - 1) // 128 * 128


def test_an_answer_that_was_stopped_is_a_line_without_a_cost(work: Path) -> None:
    slow = Reply(reasoning="a long thought", text="never whole", chunk=1, gap=0.02)
    with FakeEngine([slow, reply(0)], tokenizer=TOKENIZER, window=100_000) as engine:

        async def main() -> Agent:
            agent: Agent

            def emit(event: Event) -> None:
                if isinstance(event, Delta) and event.kind == "text":
                    agent.cancel()

            agent = await open_agent(options(engine, work), emit)
            await agent.submit("one")
            await agent.submit("two")
            await agent.close()
            return agent

        agent = asyncio.run(main())
    broken, then = lines(agent)
    assert broken["cached"] is None and broken["cause"] == "" and broken["output"] > 0
    assert then["expected"] == broken["held"] // 128 * 128 > 0


def test_a_compaction_asks_on_a_fork_and_the_request_after_it_says_compacted(work: Path) -> None:
    def mark(number: int) -> str:
        return f"1-1 served={number} block=16"

    (work / "a.txt").write_text("a long story\n" * 200)
    script = [reply(4_000, mark=mark(number), read=True) for number in range(1, 7)]
    script += [reply(9_000, mark=mark(7)), reply(0)]
    summary = reply(0, text="## Request\nTo read it.", mark=mark(8))
    with SummingEngine(script, [summary], window=40_000) as engine:

        async def main() -> Agent:
            agent = await open_agent(options(engine, work), lambda event: None)
            await agent.submit("read a.txt")
            held = agent.client.prompt_tokens(agent.transcript) // 16 * 16
            engine.summaries[0] = replace(summary, usage=reply(held).usage)
            assert await agent.compact()
            head = agent.client.head_tokens(agent.transcript) // 16 * 16
            engine.replies[7] = reply(head, mark=mark(9))
            await agent.submit("and now?")
            await agent.close()
            return agent

        agent = asyncio.run(main())
        sent = [step.json["token_ids"] for step in engine.steps]
    story, question, then = lines(agent)[-3:]
    assert [story["kind"], question["kind"], then["kind"]] == ["step", "compaction", "step"]
    assert question["expected"] == story["held"] // 16 * 16 and question["cause"] == ""
    assert sent[7][: len(sent[6])] == sent[6] != sent[8][: len(sent[6])]
    assert then["cause"] == "compacted" and then["again"] == then["new"] > 0
    assert 1_000 < then["expected"] == then["cached"] < story["prompt"]


def test_reasoning_that_the_policy_cuts_is_told_as_the_cause(work: Path) -> None:
    thought = " ".join(f"thought {number}" for number in range(400))
    script = [reply(0, reasoning=thought), reply(2_048)]
    with FakeEngine(script, tokenizer=TOKENIZER, window=100_000) as engine:
        template = ContextSettings(reasoning="template")
        agent, _ = converse(options(engine, work, context=template), ["one", "two"])
    before, line = lines(agent)
    assert line["cause"] == "reasoning of earlier turns left out"
    assert before["prompt"] // 128 * 128 <= line["expected"] < before["held"] - 400


def test_an_answer_that_we_break_off_because_it_repeats_itself_has_no_known_cost(
    work: Path,
) -> None:
    again = Reply(text="the same again " * 400, chunk=1, headers={"x-glmcode-engine": "1-1"})
    with FakeEngine([reply(0), again, reply(0)], tokenizer=TOKENIZER, window=100_000) as engine:
        agent, _ = converse(options(engine, work), ["one", "two"])
    first, broken, then = lines(agent)
    assert first["cached"] == 0
    assert broken["cached"] is None and broken["cause"] == ""
    assert broken["held"] <= then["prompt"] and then["expected"] == broken["held"] // 128 * 128


def test_a_chat_server_without_cached_tokens_is_said_to_report_none(work: Path) -> None:
    with FakeEngine([reply(None), reply(None)], window=100_000) as engine:
        agent, _ = converse(options(engine, work, "chat"), ["one", "two"])
    assert [line["cached"] for line in lines(agent)] == [None, None]
    assert {line["cause"] for line in lines(agent)} == {"the server does not report cached tokens"}


def test_a_second_session_in_a_folder_expects_the_head_of_the_first_until_it_changes(
    work: Path,
) -> None:
    def mark(number: int) -> str:
        return f"1-1 served={number} block=16"

    script = [reply(0, mark=mark(number)) for number in (1, 2, 3)]
    with FakeEngine(script, tokenizer=TOKENIZER, window=100_000) as engine:
        first, _ = converse(options(engine, work), ["one"])
        second, _ = converse(options(engine, work), ["one"])
        head = lines(second)[0]["expected"]
        engine.replies[2] = reply(head, mark=mark(3))
        (work / "AGENTS.md").write_text("Be brief.\n")
        told = options(engine, work, trusted=True)
        third, _ = converse(told, ["one"])
    assert lines(first)[0]["cause"] == "new preamble"
    assert lines(second)[0]["cause"] == "unknown" and head > 1_000
    assert lines(third)[0]["cause"] == "instructions changed"
    assert lines(third)[0]["expected"] in (head, head - 16)
    stored = json.loads(head_file(first.journal.path.parent.name).read_text())
    assert stored["served"] == 3 and len(stored["ids"]) > 1_000


def test_a_resumed_session_expects_what_its_last_request_held(work: Path) -> None:
    script = [reply(0, mark="1-1 served=1 block=16"), reply(0, mark="2-2 served=1 block=16")]
    with FakeEngine(script, tokenizer=TOKENIZER, window=100_000) as engine:
        first, _ = converse(options(engine, work), ["one"])
        stored = open_session(first.journal.path)
        again, _ = converse(options(engine, work, stored=stored), ["two"])
    before, line = lines(again)
    assert line["expected"] == before["held"] // 16 * 16 > 1_000
    assert line["cause"] == "the engine restarted"


def test_the_result_of_a_headless_run_holds_the_sums(
    work: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    script = [reply(0, read=True), reply(0)]
    with FakeEngine(script, tokenizer=TOKENIZER, window=100_000) as engine:
        run = HeadlessOptions(prompt="one", output_format="json", verbose=True)
        run_headless(options(engine, work), run)
    out, err = capfd.readouterr()
    found = json.loads(out)["engine"]
    assert {"queue_s", "prefill_s", "decode_s", "cache_hit"} <= found.keys()
    assert found["requests"] == 2 and found["cached_tokens"] == 0
    assert found["again_tokens"] == found["expected_tokens"] > 1_000
    causes = {entry["cause"]: entry["again_tokens"] for entry in found["causes"]}
    assert causes == {"new preamble": 0, "unknown": found["again_tokens"]}
    assert f"{found['again_tokens']:,} tokens computed again" in err


@pytest.mark.parametrize(
    ("before", "after", "cause"),
    [
        ("keep", "keep", "resumed"),
        ("keep", "template", "reasoning of earlier turns left out"),
        ("template", "template", "reasoning of earlier turns left out"),
        ("template", "keep", "reasoning of earlier turns left out"),
    ],
)
def test_a_resumed_prompt_that_is_another_one_under_the_policy_names_the_policy(
    work: Path, before: str, after: str, cause: str
) -> None:
    script = [reply(0, reasoning="hm " * 50), reply(1_024), reply(None)]
    with FakeEngine(script, tokenizer=TOKENIZER) as engine:
        first = options(engine, work, context=ContextSettings(reasoning=before))
        agent, _ = converse(first, ["one"])
        stored = open_session(agent.journal.path)
        again = options(engine, work, context=ContextSettings(reasoning=after), stored=stored)
        agent, [seen] = converse(again, ["two"])
    assert seen.cause == cause and seen.again > 128
    assert lines(agent)[-1]["cause"] == cause


def warmed(
    work: Path, warming: Reply, *, wait_s: float = 10.0, wanted: bool = True
) -> tuple[FakeEngine, list[dict[str, Any]], list[Event]]:
    """A session is resumed and warmed, and something is said when that is over or after wait_s."""
    seen: list[Event] = []
    script = [
        reply(0, mark="1-1 served=1 block=16"),
        warming,
        reply(1_024, mark="1-1 served=3 block=16"),
    ]
    with FakeEngine(script, tokenizer=TOKENIZER, window=100_000) as engine:
        first, _ = converse(options(engine, work), ["one"])
        stored = open_session(first.journal.path)
        again = options(engine, work, stored=stored)
        again = replace(again, engine=replace(again.engine, warm=wanted))

        async def main() -> Agent:
            over = asyncio.Event()

            def emit(event: Event) -> None:
                seen.append(event)
                if isinstance(event, Warming) and not event.tokens:
                    over.set()

            agent = await open_agent(again, emit)
            agent.client._spoken.address = replace(agent.client._spoken.address, ours=True)
            agent.client._spoken.exchange._introduction.known = True
            agent._prefix = Prefix(agent.client, agent._observe, wanted=again.engine.warm)
            agent.warm()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), wait_s)
            await agent.submit("two")
            await agent.close()
            return agent

        return engine, lines(asyncio.run(main())), seen


def test_what_was_warmed_after_a_resume_is_expected_of_the_next_request(work: Path) -> None:
    engine, told, seen = warmed(work, reply(512, mark="1-1 served=2 block=16"))
    before, warm, step = told
    assert [line["kind"] for line in told] == ["step", "warm", "step"]
    assert warm["expected"] == before["held"] // 16 * 16
    assert warm["cause"] == "unknown" and warm["again"] == warm["expected"] - 512
    assert warm["held"] == warm["prompt"]
    assert step["expected"] == warm["prompt"] // 16 * 16 > 1_000
    asked = [request.json["token_ids"] for request in engine.steps]
    assert asked[2][: len(asked[1])] == asked[1] and len(asked[1]) == warm["prompt"]
    assert asked[1][: before["held"]] == [*asked[0], *asked[1][len(asked[0]) : before["held"]]]
    assert engine.steps[1].json["sampling_params"]["max_tokens"] == 1
    assert engine.steps[1].headers["x-glmcode-class"] == "background"
    assert "x-glmcode-class" not in engine.steps[2].headers
    assert [type(e).__name__ for e in seen].count("TurnFinished") == 1
    assert [row[1] for row in ledger_rows(told)] == ["request", "step", "warm", "step", "all"]


def test_warming_that_was_given_up_leaves_what_was_expected_before(work: Path) -> None:
    slow = reply(0, mark="1-1 served=2 block=16", delay=30.0)
    engine, told, _ = warmed(work, slow, wait_s=0.3)
    before, warm, step = told
    assert warm["kind"] == "warm" and warm["cached"] is None and warm["held"] == 0
    assert step["expected"] == before["held"] // 16 * 16
    assert step["cause"] == "unknown", "its own request is not taken for somebody else's"
    aborted = engine.steps[1].aborted
    assert aborted is not None and aborted - engine.steps[2].at < 0.05


def test_a_session_goes_on_from_the_last_line_that_tells_what_the_engine_has(work: Path) -> None:
    slow = reply(0, mark="1-1 served=2 block=16", delay=30.0)
    _, told, _ = warmed(work, slow, wait_s=0.3)
    (path,) = (work.parent / "home").rglob("sessions/**/*.jsonl")
    entries = path.read_text().splitlines()
    at = next(n for n, line in enumerate(entries) if '"kind":"warm"' in line.replace(" ", ""))
    path.write_text("\n".join(entries[: at + 1]) + "\n")
    stored = open_session(path)
    assert stored.conversation.ledger is not None
    assert stored.conversation.ledger["held"] == told[0]["held"] > 0
    stored.journal.close()


def test_one_setting_switches_warming_off(work: Path) -> None:
    _, told, seen = warmed(work, reply(0), wait_s=0.3, wanted=False)
    assert [line["kind"] for line in told] == ["step", "step"]
    assert not any(isinstance(event, Warming) for event in seen)
