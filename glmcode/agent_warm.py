"""What the first calls need is got ready while the model is at work, piece by piece.

Python runs one thread at a time: a module that is imported while a call is answered is paid for
by that call. So a piece begins only while an answer is awaited that takes its time. Must not be
needed: what was not got ready is fetched where it is used, and what cannot be had (no more
descriptors, no more threads) is said there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from threading import Event, Thread

from glmcode.agent_setup import pieces
from glmcode.core.messages import AssistantMessage
from glmcode.core.model import Emit, Keep, Model
from glmcode.core.transcript import Transcript

PATIENCE_S = 0.05
"""Seconds that an answer must have been awaited: one that comes at once leaves no time."""

_NO_FAULT = (OSError, ImportError, MemoryError, RuntimeError)


class Warmer:
    """One conversation's; `watched` is what tells it when an answer is awaited."""

    def __init__(self) -> None:
        self._awaited = Event()
        self._answered = Event()
        self._begun = False
        self._closed = False

    def close(self) -> None:
        """The conversation is over: nothing more is got ready, and the thread ends."""
        self._closed = True
        self._answered.clear()
        self._awaited.set()

    def watched(self, model: Model) -> Model:
        """The same model, whose answers are used to get things ready."""

        async def watching(transcript: Transcript, emit: Emit, keep: Keep) -> AssistantMessage:
            self._begin()
            self._answered.clear()
            self._awaited.set()
            try:
                return await model(transcript, emit, keep)
            finally:
                self._awaited.clear()
                self._answered.set()

        return watching

    def _begin(self) -> None:
        if not self._begun:
            self._begun = True
            with suppress(*_NO_FAULT):
                Thread(target=self._run, args=(pieces(),), name="warm", daemon=True).start()

    def _run(self, work: Sequence[Callable[[], object]]) -> None:
        for piece in work:
            while self._awaited.wait() and not self._closed and self._answered.wait(PATIENCE_S):
                pass
            if self._closed:
                return
            with suppress(*_NO_FAULT):
                piece()
