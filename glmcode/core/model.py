"""What the loop needs from a model: one function, and one error.

engine/client.py serves it over two protocols; tests/scripted.py serves it from a list.
This module must not know either.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias

from glmcode.core.events import Event
from glmcode.core.faults import ModelError
from glmcode.core.messages import AssistantMessage
from glmcode.core.transcript import Transcript

__all__ = ["Emit", "Keep", "Model", "ModelError"]

Emit: TypeAlias = Callable[[Event], None]
"""Take an event; must neither block nor raise."""

Keep: TypeAlias = Callable[[AssistantMessage], None]
"""Take what was generated before an answer broke off."""


class Model(Protocol):
    """Ask for the next assistant message of a transcript.

    Streams Delta events through `emit` (and Waiting, Retrying, DeltasDiscarded,
    EngineProgress). When it is cancelled or the stream breaks after something was
    generated, it hands what can be kept to `keep` (at most once, stop="interrupted")
    and then raises CancelledError or ModelError. Must not change the transcript.
    """

    async def __call__(
        self, transcript: Transcript, emit: Emit, keep: Callable[[AssistantMessage], None]
    ) -> AssistantMessage: ...
