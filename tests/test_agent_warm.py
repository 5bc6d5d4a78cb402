from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, cast

import pytest

from glmcode import agent_warm
from glmcode.agent_warm import PATIENCE_S, Warmer
from glmcode.core.messages import AssistantMessage
from glmcode.core.model import Keep, Model
from glmcode.core.transcript import Preamble, Transcript
from tests.scripted import says

Piece = Callable[[], object]
EMPTY = Preamble(specs=(), system="")


class Talk:
    """A model whose answers take as long as they are told to; pieces note when they begin."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, pieces: Sequence[Piece]) -> None:
        monkeypatch.setattr(agent_warm, "pieces", lambda: list(pieces))
        self.awaited: list[tuple[float, float]] = []

    def run(self, *seconds: float, pause: float = 0.0) -> None:
        async def model(transcript: Transcript, emit: Any, keep: Keep) -> AssistantMessage:
            began = time.monotonic()
            try:
                await asyncio.sleep(left.pop(0))
            finally:
                self.awaited.append((began, time.monotonic()))
            return says("ok")

        async def main() -> None:
            watched = Warmer().watched(cast(Model, model))
            for _ in seconds:
                await watched(Transcript(EMPTY), lambda event: None, lambda message: None)
                await asyncio.sleep(pause)

        left = list(seconds)
        asyncio.run(main())


def noting(begun: list[float], count: int, takes: float = 0.0) -> list[Piece]:
    def piece() -> None:
        begun.append(time.monotonic())
        time.sleep(takes)

    return [piece] * count


def test_a_piece_begins_only_when_an_answer_has_been_awaited_for_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun: list[float] = []
    talk = Talk(monkeypatch, noting(begun, 40))
    talk.run(0.3, 0.0, 0.0, 0.3, pause=0.12)
    assert len(begun) >= 4
    slack = 0.05  # the thread may be scheduled late
    for at in begun:
        assert any(
            first + PATIENCE_S - 0.005 <= at <= last + slack for first, last in talk.awaited
        ), (at, talk.awaited)
    for first, last in (talk.awaited[0], talk.awaited[3]):
        assert any(first <= at <= last for at in begun)


def test_answers_that_come_at_once_leave_no_time_for_anything(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun: list[float] = []
    Talk(monkeypatch, noting(begun, 3)).run(*[0.0] * 30, pause=0.01)
    assert begun == []


def test_time_between_answers_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[float] = []
    Talk(monkeypatch, noting(begun, 3)).run(0.0, pause=4 * PATIENCE_S)
    assert begun == []


@pytest.mark.parametrize("error", [OSError, ImportError, MemoryError, RuntimeError])
def test_a_piece_that_cannot_be_had_is_no_fault_and_the_next_is_got_ready(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    faults: list[object] = []
    monkeypatch.setattr(threading, "excepthook", faults.append)
    begun: list[float] = []

    def broken() -> None:
        raise error("no more")

    Talk(monkeypatch, [broken, *noting(begun, 1)]).run(6 * PATIENCE_S)
    assert len(begun) == 1 and faults == []


def test_an_answer_that_fails_ends_the_waiting_and_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[float] = []
    monkeypatch.setattr(agent_warm, "pieces", lambda: noting(begun, 1))

    async def model(transcript: Transcript, emit: Any, keep: Keep) -> AssistantMessage:
        raise ValueError("of the model")

    async def main() -> None:
        watched = Warmer().watched(cast(Model, model))
        with pytest.raises(ValueError, match="of the model"):
            await watched(Transcript(EMPTY), lambda event: None, lambda message: None)
        await asyncio.sleep(4 * PATIENCE_S)

    asyncio.run(main())
    assert begun == []


def test_an_answer_comes_where_no_thread_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    class NoThread(threading.Thread):
        def start(self) -> None:
            raise RuntimeError("can't start new thread")

    monkeypatch.setattr(agent_warm, "Thread", NoThread)
    talk = Talk(monkeypatch, [])
    talk.run(0.0)
    assert len(talk.awaited) == 1


def test_the_thread_ends_with_its_conversation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent_warm, "pieces", lambda: [lambda: None] * 3)
    before = set(threading.enumerate())
    warmer = Warmer()

    async def model(transcript: Transcript, emit: Any, keep: Keep) -> AssistantMessage:
        return says("ok")

    async def main() -> None:
        watched = warmer.watched(cast(Model, model))
        await watched(Transcript(EMPTY), lambda event: None, lambda message: None)

    asyncio.run(main())
    made = [one for one in threading.enumerate() if one not in before and one.name == "warm"]
    assert made, "it waits for an answer that takes its time"
    warmer.close()
    made[0].join(5.0)
    assert not made[0].is_alive()
