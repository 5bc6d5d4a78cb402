"""Joins the pieces of an answer that came in one read, so that each of them is no event.

Neighbouring pieces of the same stream (text, reasoning, one argument of a call) are one Delta when
it is told. Must not hold anything back between two reads: who reads calls `flush`.
"""

from __future__ import annotations

from typing import Any

from glmcode.core.events import Delta
from glmcode.core.model import Emit


class Joined:
    """Takes pieces, emits Deltas."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._of: tuple[Any, ...] = ()
        self._texts: list[str] = []
        self._tokens = 0

    def add(self, kind: str, text: str) -> None:
        """More text or reasoning."""
        of = self._of
        if not of or of[0] != kind or kind == "call":
            self._begin((kind, 0, "", ""))
        self._texts.append(text)

    def take(self, delta: Delta) -> None:
        """A piece that is a Delta already."""
        of = (delta.kind, delta.call_index, delta.name, delta.argument)
        if self._of != of:
            self._begin(of)
        self._texts.append(delta.text)
        self._tokens += delta.tokens

    def flush(self) -> None:
        """Tell what has come."""
        self._begin(())

    def _begin(self, of: tuple[Any, ...]) -> None:
        if self._of:
            kind, index, name, argument = self._of
            texts, tokens = self._texts, self._tokens
            self._texts, self._tokens = [], 0
            self._emit(
                Delta(
                    kind=kind,
                    text="".join(texts),
                    call_index=index,
                    name=name,
                    argument=argument,
                    tokens=tokens,
                )
            )
        self._of = of
