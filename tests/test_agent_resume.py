"""An agent that begins from a stored session, on real tools and a scripted model."""

from __future__ import annotations

import asyncio
import resource
import signal
from pathlib import Path
from typing import Any, cast

import pytest

from glmcode.agent import INTERRUPTED, Agent, AgentOptions, Approval
from glmcode.agent_resume import UNFINISHED, preamble_from_json, preamble_to_json
from glmcode.core.events import ApprovalAsked, Event, Notice
from glmcode.core.messages import AssistantMessage, ToolMessage
from glmcode.core.transcript import Preamble
from glmcode.engine.client import Client
from glmcode.sessions import SessionError, fold, open_session, read_entries
from glmcode.tools.specs import load_specs
from tests.scripted import Entry, ScriptedModel, calls, says

READ = ("Read", {"file_path": "a.py"})
EDIT = ("Edit", {"file_path": "a.py", "old_string": "x = 1", "new_string": "x = 2"})
BACK = ("Edit", {"file_path": "a.py", "old_string": "x = 2", "new_string": "x = 1"})


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLMCODE_HOME", str(tmp_path / "home"))


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = (tmp_path / "work").resolve()
    folder.mkdir()
    (folder / "a.py").write_text("x = 1\n")
    return folder


class Run:
    """One process' worth of a conversation."""

    def __init__(
        self, work: Path, script: list[Entry], *prompts: str, path: Path | None = None, **given: Any
    ) -> None:
        self.asked: list[ApprovalAsked] = []
        self.events: list[Event] = []
        self.model = ScriptedModel(script, **given)
        stored = None if path is None else open_session(path)
        options = AgentOptions(workspace=work, stored=stored)
        client = cast(Client, self.model)
        self.agent = Agent(options, client, self.events.append, self._answer)
        self.path = self.agent.journal.path

        async def main() -> None:
            for prompt in prompts:
                await self.agent.submit(prompt)
            await self.agent.close()

        asyncio.run(main())

    async def _answer(self, asked: ApprovalAsked) -> Approval:
        self.asked.append(asked)
        return Approval(allowed=True, session="Edit(**)")

    def notices(self) -> list[str]:
        return [event.text for event in self.events if isinstance(event, Notice)]


def test_what_a_person_allowed_for_the_session_holds_again_and_is_said(work: Path) -> None:
    first = Run(work, [calls(READ), calls(EDIT, step=2), says("ok")], "go")
    assert len(first.asked) == 1
    second = Run(work, [calls(BACK, step=3), says("ok")], "back", path=first.path)
    assert second.asked == []
    assert (work / "a.py").read_text() == "x = 1\n"
    assert second.notices() == ["allowed earlier in this session, and still: Edit(**)"]


def test_the_messages_come_back_as_they_were(work: Path) -> None:
    first = Run(work, [calls(READ, token_ids=(1, 2)), says("ok", token_ids=(3,))], "go")
    second = Run(work, [says("more")], "on", path=first.path)
    before = first.agent.transcript.messages
    assert second.model.asked[0][: len(before)] == before
    assert second.agent.transcript.preamble == first.agent.transcript.preamble
    assert second.agent.session_id == first.agent.session_id
    assert second.notices() == []


def test_after_an_interrupted_answer_the_next_message_says_so_in_a_new_process_too(
    work: Path,
) -> None:
    first = Run(work, [says("half", stop="interrupted")], "go")
    second = Run(work, [says("ok")], "on", path=first.path)
    assert second.agent.transcript.messages[2].text == f"{INTERRUPTED}on"


def test_after_a_turn_that_never_ended_the_next_message_says_so_once(work: Path) -> None:
    first = Run(work, [calls(READ), says("never stored")], "go")
    lines = first.path.read_bytes().splitlines(keepends=True)
    first.path.write_bytes(b"".join(lines[:-1]))
    second = Run(work, [says("ok"), says("ok")], "on", "and on", path=first.path)
    texts = [m.text for m in second.agent.transcript.messages]
    assert texts[3] == f"{UNFINISHED}on" and texts[5] == "and on"


def test_results_that_a_full_disk_swallowed_are_recorded_as_soon_as_there_is_room(
    work: Path,
) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    def full(transcript: Any, emit: Any, keep: Any) -> AssistantMessage:
        message = calls(("TodoWrite", {"todos": []}), ("Read", {"file_path": "a.py"}))
        size = next((work.parent / "home").rglob("*.jsonl")).stat().st_size
        room = size + 600  # for the message with the calls, not for what follows
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
        return message

    def freed(transcript: Any, emit: Any, keep: Any) -> AssistantMessage:
        return says("back")

    async def main() -> Agent:
        agent = Agent(
            AgentOptions(workspace=work), cast(Client, ScriptedModel([full, freed])), events.append
        )
        first = await agent.submit("go")
        assert first.reason == "error" and "cannot be written" in first.detail
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        second = await agent.submit("again")
        assert second.reason == "done"
        await agent.close()
        return agent

    events: list[Event] = []
    try:
        agent = asyncio.run(main())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    live = agent.transcript.messages
    assert any(isinstance(m, ToolMessage) for m in live)
    assert tuple(fold(agent.journal.path).messages) == live


def test_a_todo_list_and_file_hashes_ride_on_the_lines_of_results(work: Path) -> None:
    todos = [{"content": "a", "status": "pending"}]
    first = Run(
        work, [calls(READ), calls(("TodoWrite", {"todos": todos}), step=2), says("ok")], "go"
    )
    entries = [e for e in read_entries(first.path) if e["t"] == "message"]
    assert list(entries[2]["state"]["seen"]) == [str(work / "a.py")]
    assert entries[4]["state"] == {"todos": todos}
    assert [("state" in entry) for entry in entries] == [False, False, True, False, True, False]
    second = Run(work, [], path=first.path)
    assert second.agent.context.todos == todos
    assert second.agent.context.seen == first.agent.context.seen


def test_a_preamble_comes_back_from_its_json_with_every_key_in_its_place() -> None:
    preamble = Preamble(specs=load_specs(), system="s\u2028é")
    again = preamble_from_json(preamble_to_json(preamble))
    assert again == preamble
    assert [str(spec.function()) for spec in again.specs] == [
        str(spec.function()) for spec in preamble.specs
    ]


def test_a_header_without_a_preamble_is_a_session_error(work: Path) -> None:
    first = Run(work, [says("ok")], "go")
    header, rest = first.path.read_bytes().split(b"\n", 1)
    first.path.write_bytes(header.replace(b'"preamble"', b'"p"') + b"\n" + rest)
    with pytest.raises(SessionError, match="line 1 is damaged"):
        Run(work, [], path=first.path)
