"""A conversation as the pieces of GLM-4.6's template: control tokens and runs of text.

`answer` marks what the model writes. Two neighbouring runs of text never occur: a run is
encoded in one piece, here and when glmcode serves the model.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Piece:
    """A control token by name, or a run of text."""

    text: str
    control: bool = False
    answer: bool = False


@dataclass(slots=True)
class Conversation:
    """Builds the pieces from the first user message on.

    requests and deeds keep what was asked and which calls were made, for a summary.
    """

    pieces: list[Piece] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    deeds: list[tuple[str, str]] = field(default_factory=list)
    _open: bool = False
    _steps: list[tuple[int, int]] = field(default_factory=list)
    _asked: int = 0

    def user(self, text: str) -> None:
        """A request of the person; what stands before its last blank line is no request."""
        self.requests.append(text.split("\n\n")[-1])
        self._asked = len(self.pieces)
        if not self._open:
            self._control("<|user|>")
        self._text("\n" + text)
        self._open = False

    def call(self, name: str, thought: str, **arguments: str) -> None:
        """The model thinks and calls a tool, then stops with <|observation|>."""
        self.deeds.append((name, next(iter(arguments.values()), "")))
        self._think(thought)
        self._text("\n", True)
        self._control("<tool_call>", True)
        self._text(f"{name}\n", True)
        for key, value in arguments.items():
            for tag, text in (("arg_key", key), ("arg_value", value)):
                self._control(f"<{tag}>", True)
                self._text(text, True)
                self._control(f"</{tag}>", True)
                self._text("\n", True)
        self._control("</tool_call>", True)
        self._control("<|observation|>", True)

    def result(self, text: str) -> None:
        """What the tool gave back."""
        self._text("\n")
        self._control("<tool_response>")
        self._text(f"\n{text}\n")
        self._control("</tool_response>")
        self._steps.append((len(self.pieces), len(self.deeds)))

    def cut(self, rng: random.Random) -> bool:
        """Forget what follows a random tool result of the last request; whether all remained."""
        spot, deeds = rng.choice(self._steps)
        if spot < self._asked:
            return True
        del self.pieces[spot:]
        del self.deeds[deeds:]
        self._open = False
        return False

    def no_think(self) -> None:
        """The person's message ends with GLM's mark for an answer without reasoning."""
        self._control("/nothink")

    def say(self, text: str, thought: str = "") -> None:
        """The model ends its turn with a sentence and <|user|>."""
        self._think(thought)
        self._text("\n" + text, True)
        self._control("<|user|>", True)
        self._open = True

    def _think(self, thought: str) -> None:
        self._control("<|assistant|>")
        self._text("\n", True)
        self._control("<think>", True)
        if thought:
            self._text(thought, True)
        self._control("</think>", True)

    def _control(self, name: str, answer: bool = False) -> None:
        self.pieces.append(Piece(name, True, answer))

    def _text(self, text: str, answer: bool = False) -> None:
        self.pieces.append(Piece(text, False, answer))
