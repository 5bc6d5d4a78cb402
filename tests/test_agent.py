"""The agent on real tools and a scripted model: permission, journal, files by their bytes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import pytest

from glmcode.agent import Agent, AgentOptions, Approval
from glmcode.base.settings import EngineSettings
from glmcode.core.events import (
    Appended,
    ApprovalAnswered,
    ApprovalAsked,
    CallStarted,
    Event,
    TurnFinished,
)
from glmcode.core.messages import AssistantMessage, ToolMessage, UserMessage
from glmcode.core.model import ModelError
from glmcode.engine.client import Client
from glmcode.permissions import parse_rules
from glmcode.sessions import fold_messages, read_entries
from tests.scripted import Entry, ScriptedModel, calls, says

Ask = Callable[[ApprovalAsked], Awaitable[Approval | None]]


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLMCODE_HOME", str(tmp_path / "home"))


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = (tmp_path / "work").resolve()
    folder.mkdir()
    (folder / "a.py").write_text("x = 1\n")
    return folder


class Held:
    """An agent with its events."""

    def __init__(
        self,
        work: Path,
        script: list[Entry],
        answers: list[Approval | None] | None = None,
        window: int = 16_384,
        **options: Any,
    ) -> None:
        self.model = ScriptedModel(script, window=window)
        self.events: list[Event] = []
        self.asked: list[ApprovalAsked] = []
        given = AgentOptions(workspace=work, **options)

        async def answer(asked: ApprovalAsked) -> Approval | None:
            self.asked.append(asked)
            return answers.pop(0) if answers else None

        self.agent = Agent(given, cast(Client, self.model), self.events.append, answer)

    def run(self, *prompts: str) -> list[TurnFinished]:
        async def main() -> list[TurnFinished]:
            ends = [await self.agent.submit(prompt) for prompt in prompts]
            await self.agent.close()
            return ends

        return asyncio.run(main())

    def results(self) -> list[str]:
        return [m.text for m in self.agent.transcript.messages if isinstance(m, ToolMessage)]


READ = ("Read", {"file_path": "a.py"})
EDIT = ("Edit", {"file_path": "a.py", "old_string": "x = 1", "new_string": "x = 2"})


def test_an_approved_edit_changes_the_file_and_says_so(work: Path) -> None:
    held = Held(work, [calls(READ), calls(EDIT, step=2), says("done")], [Approval(allowed=True)])
    (end,) = held.run("make x 2")
    assert end.reason == "done"
    assert (work / "a.py").read_bytes() == b"x = 2\n"
    assert held.results()[1] == "edited a.py: 1 replacement at line 1 (+1 -1)"
    assert held.asked[0].preview.kind == "diff" and "+x = 2" in held.asked[0].preview.body


def test_nothing_is_committed_before_permission_and_a_no_reaches_the_model(work: Path) -> None:
    answers: list[Approval | None] = [Approval(allowed=False, advice="use x = 3")]
    held = Held(work, [calls(READ), calls(EDIT, step=2), says("ok")], answers)
    held.run("make x 2")
    assert (work / "a.py").read_bytes() == b"x = 1\n"
    assert held.results()[1] == "not run: the user said no: use x = 3"
    names = [type(event).__name__ for event in held.events]
    assert names.index("ApprovalAsked") < names.index("ApprovalAnswered")
    started = [event for event in held.events if isinstance(event, CallStarted)]
    assert [event.name for event in started] == ["Read"]


def test_where_nobody_can_answer_the_action_is_denied_and_counted(work: Path) -> None:
    held = Held(work, [calls(READ), calls(EDIT, step=2), says("ok")])
    held.run("make x 2")
    assert (work / "a.py").read_bytes() == b"x = 1\n"
    assert held.agent.approvals.unanswered == 1
    assert held.agent.approvals.denials[0]["tool_name"] == "Edit"
    assert held.agent.approvals.denials[0]["tool_input"]["new_string"] == "x = 2"
    assert "nobody can answer" in held.results()[1]


def test_an_explicit_deny_rule_is_told_but_not_counted_as_unanswered(work: Path) -> None:
    held = Held(
        work, [calls(READ), says("ok")], mode="bypassPermissions", deny=parse_rules(["Read"])
    )
    held.run("look")
    assert held.agent.approvals.unanswered == 0 and len(held.agent.approvals.denials) == 1
    assert held.results() == ["not run: the rule Read denies it"]


def test_what_is_allowed_for_the_session_is_not_asked_again_and_is_journaled(work: Path) -> None:
    second = ("Edit", {"file_path": "a.py", "old_string": "x = 2", "new_string": "x = 3"})
    script: list[Entry] = [calls(READ), calls(EDIT, step=2), calls(second, step=3), says("ok")]
    held = Held(work, script, [Approval(allowed=True, session="Edit(**)")])
    held.run("go")
    assert (work / "a.py").read_bytes() == b"x = 3\n"
    assert len(held.asked) == 1
    entries = list(read_entries(held.agent.journal.path))
    assert [e["rule"] for e in entries if e["t"] == "grant"] == ["Edit(**)"]


def test_the_intent_of_a_change_stands_in_the_journal_before_the_result(work: Path) -> None:
    held = Held(work, [calls(READ), calls(EDIT, step=2), says("ok")], mode="bypassPermissions")
    held.run("go")
    entries = list(read_entries(held.agent.journal.path))
    kinds = [entry["t"] for entry in entries]
    intent = entries[kinds.index("intent")]
    assert intent["tool"] == "Edit"
    assert intent["changes"][0]["before"] != intent["changes"][0]["after"]
    results = [
        number
        for number, entry in enumerate(entries)
        if entry["t"] == "message" and entry["message"].get("name") == "Edit"
    ]
    assert kinds.index("intent") < results[0]


def test_every_message_is_in_the_journal_before_it_is_shown(work: Path) -> None:
    held = Held(work, [calls(READ), says("ok")])
    seen: list[bool] = []
    path = held.agent.journal.path

    def emit(event: Event) -> None:
        if isinstance(event, Appended):
            seen.append(fold_messages(path)[-1] == event.message)

    held.agent._emit = emit
    held.run("look")
    assert seen and all(seen)


def test_the_first_message_carries_folder_and_date_and_the_second_does_not(work: Path) -> None:
    held = Held(work, [says("one"), says("two")])
    held.run("first", "second")
    users = [m.text for m in held.agent.transcript.messages if isinstance(m, UserMessage)]
    assert users[0].startswith(f"Working directory: {work}\n") and users[0].endswith("\n\nfirst")
    assert users[1] == "second"


def test_the_head_of_the_prompt_is_the_same_for_every_session(work: Path) -> None:
    one, two = Held(work, [says("a")], mode="plan"), Held(work, [says("b")], mode="default")
    assert one.agent.transcript.preamble == two.agent.transcript.preamble
    assert str(work) not in one.agent.transcript.preamble.system


def test_cancelling_keeps_what_was_said_and_the_next_message_tells_it(work: Path) -> None:
    async def slow(transcript: Any, emit: Any, keep: Any) -> AssistantMessage:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            keep(AssistantMessage(text="half", stop="interrupted"))
            raise
        return says("never")

    held = Held(work, [slow, says("again")])

    async def main() -> list[TurnFinished]:
        turn = asyncio.ensure_future(held.agent.submit("one"))
        await asyncio.sleep(0.05)
        assert held.agent.cancel()
        first = await turn
        second = await held.agent.submit("two")
        await held.agent.close()
        return [first, second]

    first, second = asyncio.run(main())
    assert (first.reason, second.reason) == ("cancelled", "done")
    texts = [m.text for m in held.agent.transcript.messages]
    assert texts[1] == "half"
    assert texts[2] == "[The previous turn was interrupted by the user.]\n\ntwo"


def test_a_dead_engine_is_brought_back_by_the_next_turn(work: Path) -> None:
    held = Held(work, [ModelError("the engine died", kind="unavailable"), says("hello again")])
    revived: list[int] = []

    async def ready() -> None:
        revived.append(1)

    held.agent._ready = ready
    first, second = held.run("one", "two")
    assert (first.reason, first.retryable) == ("error", True)
    assert second.reason == "done" and revived == [1]


def test_the_key_of_the_server_never_reaches_a_command(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_KEY_FOR_TEST", "s3cr3t")
    held = Held(
        work,
        [calls(("Bash", {"command": "env"})), says("ok")],
        mode="bypassPermissions",
        engine=EngineSettings(api_key_env="SECRET_KEY_FOR_TEST"),
    )
    held.run("go")
    assert "PATH=" in held.results()[0]
    assert "s3cr3t" not in held.results()[0]


def test_a_message_larger_than_the_window_is_refused_with_both_numbers(work: Path) -> None:
    held = Held(work, [says("never")], window=1_000)
    (end,) = held.run("x" * 8_000)
    assert end.reason == "context_full" and not held.model.asked
    assert "this message has about 2,0" in end.detail and "the window's 1,000" in end.detail
    assert held.agent.take_back() == ["x" * 8_000] and not held.agent.transcript.messages


def test_events_of_an_approval_are_json_by_construction(work: Path) -> None:
    held = Held(work, [calls(EDIT), says("ok")], [Approval(allowed=True)])
    held.run("go")
    answered = [e for e in held.events if isinstance(e, ApprovalAnswered)]
    for event in answered:
        json.dumps({name: getattr(event, name) for name in event.__slots__})
