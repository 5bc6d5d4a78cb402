from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import cast

import pytest

from glmcode import agent_undo
from glmcode.agent import Agent, AgentOptions, Approval
from glmcode.checkpoints.entries import unpack_delta
from glmcode.checkpoints.recorder import Checkpoints
from glmcode.core.events import ApprovalAsked, Event, Notice, TurnFinished
from glmcode.core.messages import ToolMessage
from glmcode.engine.client import Client
from tests.scripted import Entry, ScriptedModel, calls, says

READ = ("Read", {"file_path": "a.py"})
READ_B = ("Read", {"file_path": "b.py"})


def edit(name: str, old: str, new: str) -> tuple[str, dict[str, object]]:
    return ("Edit", {"file_path": name, "old_string": old, "new_string": new})


FIRST = edit("a.py", "x = 1", "x = 2")
SECOND = edit("b.py", "y = 1", "y = 2")


@pytest.fixture(autouse=True)
def _slow_to_look_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an edit changed is still to be looked at when the next action begins."""
    monkeypatch.setenv("GLMCODE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(agent_undo, "LATER_S", 1.0)


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = (tmp_path / "work").resolve()
    folder.mkdir()
    (folder / "a.py").write_text("x = 1\n")
    (folder / "b.py").write_text("y = 1\n")
    return folder


class Told:
    """An agent that asks `answer` before the second edit; all else is allowed."""

    def __init__(
        self, work: Path, script: list[Entry], answer: Callable[[Agent], Awaitable[bool]]
    ) -> None:
        self.events: list[Event] = []

        async def asked(question: ApprovalAsked) -> Approval:
            allowed = "b.py" not in str(question.subject) or await answer(self.agent)
            return Approval(allowed=allowed)

        model = ScriptedModel(script)
        options = AgentOptions(workspace=work)
        self.agent = Agent(options, cast(Client, model), self.events.append, asked)

    def run(self) -> TurnFinished:
        async def main() -> TurnFinished:
            end = await self.agent.submit("change both")
            await self.agent.close()
            return end

        return asyncio.run(main())

    def last(self) -> str:
        return [m.text for m in self.agent.transcript.messages if isinstance(m, ToolMessage)][-1]

    def said(self) -> list[str]:
        return [event.text for event in self.events if isinstance(event, Notice)]


def story(*last: Entry) -> list[Entry]:
    return [calls(READ, READ_B), calls(FIRST, step=2), calls(SECOND, step=3), *last]


def steps(work: Path) -> Iterator[tuple[str, str, list[str]]]:
    """Subject, state and changed paths of every step in the log."""
    kept = Checkpoints(work, "reader")
    for subject, state, delta in kept.store.rows("SELECT subject, state, delta FROM step"):
        changed = list(unpack_delta(delta)) if isinstance(delta, bytes) else []
        yield str(subject), str(state), changed
    kept.close()


async def yes(agent: Agent) -> bool:
    return True


def test_the_step_before_is_closed_by_the_next_edit(work: Path) -> None:
    told = Told(work, story(says("done")), yes)
    assert told.run().reason == "done"
    assert list(steps(work)) == [("a.py", "done", ["a.py"]), ("b.py", "done", ["b.py"])]


def test_the_step_before_an_edit_that_is_refused_because_of_the_file_is_closed(
    work: Path,
) -> None:
    async def saves(agent: Agent) -> bool:
        (work / "b.py").write_text("y = 1 # mine\n")
        return True

    told = Told(work, story(says("done")), saves)
    assert told.run().reason == "done"
    assert "Read it again" in told.last()
    assert (work / "b.py").read_text() == "y = 1 # mine\n"
    assert next(steps(work)) == ("a.py", "done", ["a.py"])
    assert all(state == "done" for _, state, _ in steps(work))


def test_the_step_before_an_edit_that_a_person_denies_is_closed(work: Path) -> None:
    async def no(agent: Agent) -> bool:
        return False

    told = Told(work, story(says("done")), no)
    told.run()
    assert list(steps(work)) == [("a.py", "done", ["a.py"])]
    assert (work / "b.py").read_text() == "y = 1\n"


def test_the_step_before_an_edit_that_is_cancelled_is_closed(work: Path) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()

        async def cancelled(agent: Agent) -> bool:
            lock = agent.past.checkpoints.lock
            await asyncio.to_thread(lock.acquire)  # the look waits
            loop.call_later(0.2, turn.cancel)
            loop.call_later(0.4, lock.release)
            return True

        told = Told(work, story(says("not reached")), cancelled)
        turn = asyncio.ensure_future(told.agent.submit("change both"))
        await asyncio.wait({turn})
        await told.agent.close()

    asyncio.run(main())
    assert (work / "b.py").read_text() == "y = 1\n"
    assert list(steps(work)) == [("a.py", "done", ["a.py"]), ("b.py", "done", [])]


def test_where_the_store_is_lost_the_edit_does_not_happen_and_what_came_before_is_said(
    work: Path,
) -> None:
    async def loses(agent: Agent) -> bool:
        agent.past.checkpoints.close()
        return True

    told = Told(work, story(says("not reached")), loses)
    end = told.run()
    assert end.reason == "error" and (work / "b.py").read_text() == "y = 1\n"
    assert any("was not recorded, so undo can't take it back" in text for text in told.said())


def test_where_only_the_next_checkpoint_fails_the_step_before_is_recorded(work: Path) -> None:
    text = f"y = 1\n{random.randbytes(200_000).hex(' ', 40)}\n"
    (work / "b.py").write_text(text)
    (work / ".gitignore").write_text("b.py\n")  # no look at the workspace has it

    async def fills(agent: Agent) -> bool:
        store = agent.past.checkpoints.store
        (pages,) = store.rows("PRAGMA page_count")
        assert isinstance(pages[0], int)
        store.rows(f"PRAGMA max_page_count = {pages[0] + 12}")
        return True

    told = Told(work, story(says("not reached")), fills)
    end = told.run()
    assert end.reason == "error" and "disk is full" in end.detail
    assert (work / "b.py").read_text() == text
    assert list(steps(work)) == [("a.py", "done", ["a.py"])]
    assert told.said() == []
