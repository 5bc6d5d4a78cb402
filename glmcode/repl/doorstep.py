"""Who answers the screen from its first moment: notes what is done until the conversation is there.

Whatever is heavy is imported after the prompt stands. What a person types in that time waits
here and is handed over in order; afterwards everything is passed on. Must not import anything
heavy, and must not draw.
"""

from __future__ import annotations

import asyncio

from glmcode.exits import Exit
from glmcode.repl.screen import Hands


class Doorstep:
    """screen.Hands. `left` gets the exit code, whoever says it."""

    def __init__(self, left: asyncio.Future[int]) -> None:
        self.left = left
        self.typed: list[str] = []
        self._inside: Hands | None = None

    def let_in(self, hands: Hands) -> None:
        """The conversation is there: from now on all is its own, beginning with what was typed."""
        self._inside = hands
        typed, self.typed = self.typed, []
        for text in typed:
            hands.submit(text)

    def submit(self, text: str) -> None:
        """A text was sent."""
        if self._inside is not None:
            self._inside.submit(text)
        else:
            self.typed.append(text)

    def submit_other(self, text: str) -> None:
        """A text was sent, the other way."""
        if self._inside is not None:
            self._inside.submit_other(text)
        elif text.strip():
            self.typed.append(text)

    def take_back(self) -> str:
        """The message that was sent last, which is then not sent."""
        if self._inside is not None:
            return self._inside.take_back()
        return self.typed.pop() if self.typed else ""

    def hint(self, text: str) -> None:
        """Say for a moment what a key would do."""
        if self._inside is not None:
            self._inside.hint(text)

    def stop(self) -> bool:
        """Stop the turn that runs; False when it is being stopped already."""
        return self._inside.stop() if self._inside is not None else True

    def interrupt(self) -> None:
        """Ctrl-C where there is nothing to clear and nothing left to stop."""
        if self._inside is not None:
            self._inside.interrupt()
        else:
            self.leave(Exit.INTERRUPTED)

    def leave(self, code: int) -> None:
        """End the session; the first code counts."""
        if not self.left.done():
            self.left.set_result(code)

    def show_all(self) -> None:
        """Print the whole of what was cut."""
        if self._inside is not None:
            self._inside.show_all()
