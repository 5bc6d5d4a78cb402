"""Deltas: what a front end may show of an answer while it streams, always provisional.

Never half a character; white space at the beginning of reasoning and text is left out. Must
not decide what anything means.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from glmcode.core.events import Delta
from glmcode.glm.decoder import Utf8Stream

Kind: TypeAlias = Literal["reasoning", "text", "call"]


class Display:
    """Turns bytes into deltas of one kind after another. call: (index, name, argument)."""

    __slots__ = ("_begun", "_kind", "_utf8", "call")

    def __init__(self) -> None:
        self.call = (0, "", "")
        self._utf8 = Utf8Stream()
        self._kind: Kind = "text"
        self._begun = False

    def begin(self) -> None:
        """Reasoning or text begins anew."""
        self._begun = False

    def show(self, kind: Kind, data: bytes) -> list[Delta]:
        """The characters that are complete with these bytes."""
        self._kind = kind
        return self._delta(self._utf8.feed(data))

    def flush(self) -> list[Delta]:
        """A control follows: half a character before it will never be whole."""
        return self._delta(self._utf8.flush()) if self._utf8.waiting else []

    def call_begins(self) -> list[Delta]:
        """The name of a call is known."""
        index, name, argument = self.call
        return [Delta(kind="call", text="", call_index=index, name=name, argument=argument)]

    def _delta(self, text: str) -> list[Delta]:
        if self._kind == "call":
            index, name, argument = self.call
            made = Delta(kind="call", text=text, call_index=index, name=name, argument=argument)
            return [made] if text else []
        if not self._begun:
            text = text.lstrip()
        if not text:
            return []
        self._begun = True
        return [Delta(kind=self._kind, text=text)]
