from __future__ import annotations

import asyncio
import json
import re
import time
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import pytest

from glmcode.agent import Agent, AgentOptions
from glmcode.base.settings import ContextSettings
from glmcode.core.events import Appended, Compacted, Compacting, Event
from glmcode.core.messages import AssistantMessage, ToolMessage, UserMessage
from glmcode.core.model import ModelError
from glmcode.engine.client import Client
from glmcode.sessions import Journal, JournalError, fold_messages, open_session
from tests.context.compaction_kit import SummingEngine, Talk, bash, read
from tests.fake_engine import Reply
from tests.scripted import ScriptedModel, calls

SUMMARY = Reply(
    text="## Request\nWrite out.txt.\n## Done\nRead files.\n## Files\nf1.txt\n## Left\nWrite."
)
PROTOCOLS = ("tokens", "chat")


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLMCODE_HOME", str(tmp_path / "home"))


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = (tmp_path / "work").resolve()
    folder.mkdir()
    for number in range(1, 31):
        lines = [f"line {row} of file {number}: value = {row * number}" for row in range(40)]
        (folder / f"f{number}.txt").write_text("\n".join(lines) + "\n")
    return folder


def long_task() -> list[Reply]:
    script = [read(f"f{number}.txt") for number in range(1, 25)]
    write = {"file_path": "out.txt", "content": "done\n"}
    script.append(Reply(calls=[{"name": "Write", "arguments": write}]))
    return [*script, Reply(text="Written.")]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_turn_that_runs_into_the_window_several_times_finishes_its_task(
    work: Path, protocol: str
) -> None:
    with SummingEngine(long_task(), [SUMMARY]) as engine:
        talk = Talk(engine, work, protocol)
        (end,) = talk.say("Read all files, then write out.txt")
    assert end.reason == "done" and end.text == "Written." and end.steps == 26
    assert (work / "out.txt").read_bytes() == b"done\n"
    assert len(talk.compacted) >= 2 and len(engine.questions) == len(talk.compacted)
    for seen, done in zip(engine.questions, talk.compacted, strict=True):
        assert seen.grows is True
        assert done.after < done.before and done.why == "automatic" and done.summary
    if protocol == "tokens":
        for step in engine.steps:
            wanted = step.json["sampling_params"]["max_tokens"]
            assert wanted > 0 and len(step.json["token_ids"]) + wanted <= 8_192


def test_after_a_compaction_the_prompt_begins_with_the_ids_of_the_preamble(work: Path) -> None:
    with SummingEngine(long_task(), [SUMMARY]) as engine:
        talk = Talk(engine, work)
        talk.say("Read all files, then write out.txt")
        assert talk.agent is not None
        head = talk.agent.client.head_tokens(talk.agent.transcript)
        prompts = engine.prompts()
    assert len({tuple(prompt[:head]) for prompt in prompts}) == 1
    falls = [n for n in range(1, len(prompts)) if len(prompts[n]) < len(prompts[n - 1])]
    assert [prompts[n - 1] for n in falls] == [q.json["token_ids"] for q in engine.questions]


def test_a_segment_holds_the_request_the_summary_the_files_and_whole_last_steps(
    work: Path,
) -> None:
    with SummingEngine(long_task(), [SUMMARY]) as engine:
        talk = Talk(engine, work)
        talk.say("Read all files, then write out.txt")
        assert talk.agent is not None
        first, *tail = talk.agent.transcript.messages
    assert isinstance(first, UserMessage) and first.origin == "glmcode"
    assert "Read all files, then write out.txt" in first.text
    assert "## Left\nWrite." in first.text and "f1.txt (read)" in first.text
    assert first.text.index("(read)") < first.text.index("Read all files, then")
    assert isinstance(tail[0], AssistantMessage) and tail[0].token_ids
    open_calls: list[str] = []
    for message in tail:
        if isinstance(message, ToolMessage):
            assert message.call_id == open_calls.pop(0)
        else:
            assert not open_calls
            open_calls = list(message.call_ids()) if isinstance(message, AssistantMessage) else []


def test_call_ids_stay_unique_across_segments(work: Path) -> None:
    with SummingEngine(long_task(), [SUMMARY]) as engine:
        talk = Talk(engine, work)
        talk.say("go")
    made = [e.message for e in talk.events if isinstance(e, Appended)]
    ids = [i for m in made if isinstance(m, AssistantMessage) for i in m.call_ids()]
    assert len(ids) == len(set(ids)) == 25


FAULTS = {
    "empty": (Reply(text=""), "was empty"),
    "only a call": (read("f1.txt"), "was empty"),
    "too long": (Reply(text=" ".join(str(n * 7919) for n in range(2_000))), "longer than it may"),
    "a loop": (Reply(text="again and again " * 400), "repeated itself"),
    "refused": (Reply(status=400), "no summary came"),
    "broken": (Reply(text="x" * 50, cut_after_events=2, times=1), "no summary came"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_summary_that_cannot_be_used_changes_nothing_the_first_time_and_is_said(
    work: Path, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("glmcode.engine.retry.Patience.wait_for", lambda *args: None)
    reply, said = FAULTS[fault]
    script = [read(f"f{n}.txt") for n in range(1, 6)] + [Reply(text="done")]
    with SummingEngine(script, [reply]) as engine:
        talk = Talk(engine, work)
        (end,) = talk.say("go")
        prompts = engine.prompts()
        asked = [q.json["token_ids"] for q in engine.questions]
    assert end.reason == "done" and not talk.compacted
    assert any(said in notice and "nothing was changed" in notice for notice in talk.notices)
    kept = [prompt for prompt in prompts if prompt not in asked]
    assert all(b[: len(a)] == a for a, b in pairwise(kept))


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("fault", ["empty", "too long"])
def test_at_the_hard_limit_a_mechanical_segment_keeps_the_turn_going(
    work: Path, fault: str, protocol: str
) -> None:
    with SummingEngine(long_task(), [FAULTS[fault][0]]) as engine:
        talk = Talk(engine, work, protocol)
        (end,) = talk.say("Read all files, then write out.txt")
    assert end.reason == "done" and (work / "out.txt").read_bytes() == b"done\n"
    assert talk.compacted and all(c.why == "full" and not c.summary for c in talk.compacted)
    assert talk.agent is not None
    first = talk.agent.transcript.messages[0]
    assert isinstance(first, UserMessage) and "No summary could be made" in first.text
    assert "Read all files, then write out.txt" in first.text and "f1.txt (read)" in first.text
    if protocol == "tokens":
        assert max(map(len, engine.prompts())) <= 8_192


def test_calls_in_the_answer_are_not_run_and_its_text_is_the_summary(work: Path) -> None:
    write = {"file_path": "bad.txt", "content": "x"}
    summary = Reply(text="All is known.", calls=[{"name": "Write", "arguments": write}])
    with SummingEngine([read("f1.txt"), Reply(text="done")], [summary]) as engine:
        talk = Talk(engine, work)

        async def main(agent: Agent) -> bool:
            await agent.submit("look")
            return await agent.compact()

        assert talk.run(main) is True
    assert talk.compacted[0].summary == "All is known." and not (work / "bad.txt").exists()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_compact_with_a_focus_asks_for_it_and_the_next_turn_begins_at_the_summary(
    work: Path, protocol: str
) -> None:
    script = [read("f1.txt"), Reply(text="seen"), Reply(text="yes")]
    with SummingEngine(script, [SUMMARY]) as engine:
        talk = Talk(engine, work, protocol)

        async def main(agent: Agent) -> None:
            await agent.submit("look at f1")
            assert await agent.compact("the value of line 7")
            await agent.submit("still there?")

        talk.run(main)
        question = json.dumps(engine.questions[0].json)
    if protocol == "chat":
        assert "The user asks to keep in particular: the value of line 7" in question
        assert engine.questions[0].json["tools"] == engine.steps[0].json["tools"]
    assert engine.questions[0].grows is True
    assert talk.compacted[0].why == "asked"
    assert talk.agent is not None
    texts = [m.text for m in talk.agent.transcript.messages if isinstance(m, UserMessage)]
    assert "## Request" in texts[0] and texts[-1] == "still there?"


def test_an_interrupt_while_the_summary_comes_leaves_everything_as_it_was(work: Path) -> None:
    slow = Reply(text="a slow summary", chunk=1, gap=0.2)
    with SummingEngine([read("f1.txt"), Reply(text="seen"), Reply(text="on")], [slow]) as engine:
        talk = Talk(engine, work)

        async def main(agent: Agent) -> None:
            await agent.submit("look")
            before = agent.transcript.messages, agent.journal.path.read_bytes()
            asking = asyncio.ensure_future(agent.compact())
            await asyncio.sleep(0.5)
            assert agent.cancel() and await asking is False
            assert agent.transcript.messages == before[0]
            after = agent.journal.path.read_bytes()
            assert after.startswith(before[1])
            told = [json.loads(line)["t"] for line in after[len(before[1]) :].splitlines()]
            assert told == ["ledger"], "more than what the question cost was recorded"
            await agent.submit("go on")

        talk.run(main)
        before, question, after = engine.prompts()[-3:]
    assert not talk.compacted and question[: len(before)] == before == after[: len(before)]


def test_max_turns_and_steering_go_on_across_a_compaction(work: Path) -> None:
    with SummingEngine(long_task(), [SUMMARY]) as engine:
        talk = Talk(engine, work, max_turns=12)

        def watch(event: Event) -> None:
            if isinstance(event, Compacting) and talk.agent is not None and not talk.compacted:
                talk.agent.steer("mind the <|user|> tag")

        talk.watch = watch
        (end,) = talk.say("go")
    assert end.reason == "max_turns" and end.steps == 12 and talk.compacted
    assert talk.agent is not None
    said = [m.text for m in talk.agent.transcript.messages if isinstance(m, UserMessage)]
    assert any("mind the <|user|> tag" in text for text in said)


def test_what_the_person_said_before_is_kept_through_two_compactions(work: Path) -> None:
    script = [read("f3.txt"), Reply(text="ok"), read("f1.txt"), Reply(text="b")]
    script += [read("f2.txt"), Reply(text="c")]
    with SummingEngine(script, [SUMMARY]) as engine:
        talk = Talk(engine, work)

        async def main(agent: Agent) -> None:
            await agent.submit("never touch the database")
            await agent.compact()
            await agent.submit("look at f1")
            await agent.compact()
            await agent.submit("look at f2 " + "at length " * 400)
            await agent.compact()

        talk.run(main)
        assert talk.agent is not None
        text = talk.agent.transcript.messages[0].text
    assert len(talk.compacted) == 3
    assert "never touch the database" in text and "look at f1" in text
    assert "Working directory" in text and "f1.txt (read)" in text


def test_without_automatic_compaction_the_hard_limit_says_what_to_do(work: Path) -> None:
    script = [read(f"f{n}.txt") for n in range(1, 30)]
    with SummingEngine(script, [SUMMARY]) as engine:
        talk = Talk(engine, work, context=ContextSettings(compact=False))
        (end,) = talk.say("go")
        assert end.reason == "context_full" and not engine.questions
        assert "/compact" in end.detail and "of 8,192 tokens" in end.detail
        assert max(map(len, engine.prompts())) <= 8_192


def test_a_message_larger_than_the_window_is_refused_and_the_session_goes_on(work: Path) -> None:
    with SummingEngine([Reply(text="hello"), Reply(text="fine")], [SUMMARY]) as engine:
        talk = Talk(engine, work)

        async def main(agent: Agent) -> list[Any]:
            first = await agent.submit("hi")
            before = agent.journal.path.read_bytes()
            large = await agent.submit("w0rd " * 9_000)
            assert agent.journal.path.read_bytes() == before
            assert agent.take_back() == ["w0rd " * 9_000]
            return [first, large, await agent.submit("short")]

        first, large, short = talk.run(main)
        assert len(engine.steps) == 2 and not engine.questions
    assert (first.reason, large.reason, short.reason) == ("done", "context_full", "done")
    said = r"this message has \d\d,\d\d\d tokens, and of the window's 8,192 only \d,\d\d\d"
    assert re.search(said, large.detail)


def test_instructions_that_fill_the_window_are_named_as_what_is_too_large(work: Path) -> None:
    (work / "AGENTS.md").write_text("".join(f"rule {number}\n" for number in range(4_000)))
    with SummingEngine([Reply(text="hello")], [SUMMARY], window=8_192) as engine:
        [end] = Talk(engine, work).say("hi")
        assert not engine.steps
    assert end.reason == "context_full" and "--no-instructions" in end.detail
    assert "this message" not in end.detail


def test_a_message_a_thousand_times_too_large_is_refused_without_encoding_all_of_it(
    work: Path,
) -> None:
    with SummingEngine([Reply(text="hello")], [SUMMARY]) as engine:
        talk = Talk(engine, work)
        began = time.monotonic()
        large, short = talk.say("hello world " * 1_500_000, "hi")
        assert time.monotonic() - began < 15
    assert (large.reason, short.reason) == ("context_full", "done")
    assert re.search(r"this message has about \d+,\d{3},\d{3} tokens", large.detail)


def test_where_a_summary_can_gain_nothing_none_is_asked_for(work: Path) -> None:
    script = [bash("echo 1"), Reply(text="done")]
    with SummingEngine(script, [SUMMARY], window=16_384) as engine:
        talk = Talk(engine, work)
        [end] = talk.say("x" * 9_600)
        first, second = engine.prompts()[:2]
        assert talk.agent is not None and len(first) > talk.agent.window.budget.trigger
    assert end.reason == "done"
    assert not engine.questions and not talk.compacted
    assert second[: len(first)] == first


def test_a_message_that_only_fits_into_a_compacted_window_is_sent_after_compacting(
    work: Path,
) -> None:
    script = [read("f1.txt"), read("f2.txt"), Reply(text="seen"), Reply(text="fine")]
    with SummingEngine(script, [SUMMARY]) as engine:
        talk = Talk(engine, work)
        long = "some words that are long " * 180
        first, second = talk.say("look", long)
        prompts = engine.prompts()
    assert (first.reason, second.reason) == ("done", "done") and len(talk.compacted) == 1
    assert prompts[-2] == engine.questions[0].json["token_ids"]
    assert talk.agent is not None
    said = talk.agent.transcript.messages[-2]
    assert isinstance(said, UserMessage) and said.text == long


def test_huge_results_in_one_step_fit_together_by_their_tokens_and_name_their_files(
    work: Path,
) -> None:
    for number in range(4):
        (work / f"u{number}.txt").write_text(f"{number}\U0001f389\u6f22" * 900 + "\n")
    reads = [c for n in range(4) for c in read(f"u{n}.txt").calls]
    script = [Reply(calls=reads), bash("python3 -c \"print('\U0001f389' * 9000)\"")]
    with SummingEngine([*script, Reply(text="done")], [SUMMARY]) as engine:
        talk = Talk(engine, work)
        (end,) = talk.say("go")
        prompts = engine.prompts()
    assert end.reason == "done" and max(map(len, prompts)) <= 8_192 - 512 - 512
    results = [
        e.message
        for e in talk.events
        if isinstance(e, Appended) and isinstance(e.message, ToolMessage)
    ]
    assert len(results) == 5
    for result in results:
        named = re.search(r"whole output is in (\S+\.txt)", result.text)
        assert named and Path(named[1]).stat().st_size > 3_000


def test_a_server_that_does_not_say_its_window_is_learned_from_its_refusal(work: Path) -> None:
    full = Reply(status=400, body='{"error": {"message": "maximum context length is 6000"}}')
    reads = [read(f"f{n}.txt") for n in range(1, 9)]
    script = [*reads[:6], full, *reads[6:], Reply(text="done")]
    with SummingEngine(script, [full]) as engine:
        engine.routes.discard("models")
        talk = Talk(engine, work, "chat", model="glm")
        (end,) = talk.say("go")
    assert end.reason == "done" and [c.why for c in talk.compacted] == ["full"]
    assert talk.agent is not None and 0 < talk.agent.client.window < 8_000


def test_a_file_is_read_again_before_it_is_changed_when_the_segment_no_longer_shows_it(
    work: Path,
) -> None:
    edit = {"file_path": "f1.txt", "old_string": "line 1 of", "new_string": "LINE 1 of"}
    blind = Reply(calls=[{"name": "Edit", "arguments": edit}])
    script = [read("f1.txt"), *(read(f"f{n}.txt") for n in range(2, 6)), Reply(text="seen")]
    script += [blind, read("f1.txt"), blind, Reply(text="done")]
    with SummingEngine(script, [SUMMARY]) as engine:
        talk = Talk(engine, work)

        async def main(agent: Agent) -> None:
            await agent.submit("look")
            await agent.compact()
            assert str(work / "f1.txt") not in agent.context.seen
            await agent.submit("change it")

        talk.run(main)
    assert "Read it first" in talk.results[-3] and talk.results[-1].startswith("edited f1.txt")


def test_a_session_goes_on_from_its_last_compaction_with_the_same_tokens(work: Path) -> None:
    script = [read("f1.txt"), Reply(text="seen"), Reply(text="more"), Reply(text="again")]
    with SummingEngine(script, [SUMMARY]) as engine:
        talk = Talk(engine, work)

        async def main(agent: Agent) -> None:
            await agent.submit("look at f1")
            await agent.compact()
            await agent.submit("and more")

        talk.run(main)
        assert talk.agent is not None
        path = talk.agent.journal.path
        assert fold_messages(path) == talk.agent.transcript.messages
        stored = open_session(path)
        again = Talk(engine, work, stored=stored)
        again.say("and again")
        before, after = engine.prompts()[-2:]
        assert again.agent is not None
        assert again.agent.window.carried == talk.agent.window.carried
    assert after[: len(before)] == before


def test_a_kill_before_the_line_is_whole_leaves_the_conversation_before(
    work: Path, tmp_path: Path
) -> None:
    with SummingEngine([read("f1.txt"), Reply(text="seen")], [SUMMARY]) as engine:
        talk = Talk(engine, work)
        lengths: list[tuple[int, int]] = []

        async def main(agent: Agent) -> None:
            await agent.submit("look at f1")
            before = agent.transcript.messages
            start = agent.journal.path.stat().st_size
            await agent.compact()
            data = agent.journal.path.read_bytes()
            copy = tmp_path / "copy.jsonl"
            for end in range(start, len(data), 7):
                copy.write_bytes(data[:end])
                assert fold_messages(copy) == before
            copy.write_bytes(data)
            assert fold_messages(copy) == agent.transcript.messages != before
            lengths.append((len(before), len(agent.transcript)))

        talk.run(main)
    assert lengths


def test_a_full_disk_at_the_compaction_s_line_ends_the_turn_and_changes_nothing(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with SummingEngine(long_task(), [SUMMARY]) as engine:
        talk = Talk(engine, work)
        write = Journal.write

        def full(journal: Journal, kind: str, fields: Any) -> None:
            if kind == "compaction":
                raise JournalError("the disk is full")
            write(journal, kind, fields)

        monkeypatch.setattr(Journal, "write", full)
        (end,) = talk.say("go")
        assert talk.agent is not None
        assert fold_messages(talk.agent.journal.path) == talk.agent.transcript.messages
    assert end.reason == "error" and "disk is full" in end.detail and not talk.compacted


def test_words_in_the_middle_of_a_turn_that_have_no_room_are_said_and_come_back(
    work: Path,
) -> None:
    script = [read("f1.txt"), read("f2.txt"), Reply(text="done")]
    with SummingEngine(script, [SUMMARY]) as engine:
        talk = Talk(engine, work)

        def watch(event: Event) -> None:
            if isinstance(event, Appended) and isinstance(event.message, ToolMessage):
                assert talk.agent is not None
                talk.agent.steer("much " * 9_000 if event.message.text.startswith("1") else "")
                talk.watch = lambda event: None

        talk.watch = watch
        (end,) = talk.say("go")
        assert talk.agent is not None
        assert talk.agent.take_back() == ["much " * 9_000] and talk.agent.take_back() == []
        assert max(map(len, engine.prompts())) < 8_192
    assert end.reason == "done" and any("it was not sent" in text for text in talk.notices)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("fault", ["none", "empty"])
@pytest.mark.parametrize("window", [4_096, 5_000, 12_000])
def test_whatever_the_window_the_task_is_finished_within_it(
    work: Path, window: int, fault: str, protocol: str
) -> None:
    summary = SUMMARY if fault == "none" else Reply(text="")
    with SummingEngine(long_task(), [summary], window=window) as engine:
        talk = Talk(engine, work, protocol)
        (end,) = talk.say("Read all files, then write out.txt")
        if protocol == "tokens":
            assert max(map(len, engine.prompts())) < window
    assert end.reason == "done" and (work / "out.txt").read_bytes() == b"done\n"


def test_an_engine_that_cannot_be_reached_at_the_hard_limit_ends_the_turn_and_costs_nothing(
    work: Path,
) -> None:
    gone = ModelError("the engine is gone", kind="unavailable")
    big = [calls(("Read", {"file_path": f"f{n}.txt"}), step=n) for n in range(1, 30)]
    model = ScriptedModel(big, window=8_192, summaries=[gone] * 20)
    events: list[Event] = []

    async def main() -> None:
        agent = Agent(AgentOptions(workspace=work), cast(Client, model), events.append)
        end = await agent.submit("go")
        assert (end.reason, end.retryable) == ("error", True) and "engine is gone" in end.detail
        assert not any(isinstance(event, Compacted) for event in events)
        assert agent.transcript.messages == fold_messages(agent.journal.path)
        assert len(agent.transcript) == 1 + 2 * len(model.asked)
        await agent.close()

    asyncio.run(main())
    assert len(model.questions) >= 2


def test_at_the_hard_limit_compact_works_without_automatic_compaction(work: Path) -> None:
    script = [read(f"f{n}.txt") for n in range(1, 30)]
    with SummingEngine(script, [SUMMARY]) as engine:
        talk = Talk(engine, work, context=ContextSettings(compact=False))

        async def main(agent: Agent) -> Any:
            assert (await agent.submit("go")).reason == "context_full"
            engine.replies[engine._served :] = [Reply(text="It goes on.")]
            assert await agent.compact()
            return await agent.submit("go on")

        assert talk.run(main).text == "It goes on."
    assert talk.compacted[0].why == "asked"


def test_compact_works_on_a_server_whose_window_nobody_knows(work: Path) -> None:
    with SummingEngine([read("f1.txt"), Reply(text="a"), Reply(text="b")], [SUMMARY]) as engine:
        engine.routes.discard("models")
        talk = Talk(engine, work, "chat", model="glm")

        async def main(agent: Agent) -> None:
            assert await agent.compact() is False
            await agent.submit("look")
            assert await agent.compact() is True
            await agent.submit("and?")

        talk.run(main)
    assert talk.notices == ["there is nothing to compact yet"] and len(talk.compacted) == 1
