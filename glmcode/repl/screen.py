"""What a screen is: prints lines for good, shows a live part, and hands over what a person does.

Two screens serve it: terminal.py (prompt_toolkit) and plain.py (lines alone). The live part is
read from Live whenever it is drawn, so a screen keeps no state of the conversation. A screen
must not talk to the agent.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from glmcode.repl.offers import Facts
from glmcode.repl.theme import Theme, theme_of

if TYPE_CHECKING:
    from glmcode.repl.paint import Spans
    from glmcode.repl.question import Question

NEXT_MODE = "/mode next"
"""What Shift-Tab says."""


@dataclass(slots=True)
class Live:
    """The moving part. `tail(height)` gives finished lines, `status(width)` the status line.

    busy: a turn runs, so Esc and Ctrl-C stop it. queued: messages for when it has ended;
    steering: handed to it, and not yet read by the model. theme: in whose colours it is drawn.
    facts: what completions may tell.
    keyed: when the person last pressed a key.
    """

    tail: Callable[[int], list[str]]
    status: Callable[[int], Spans]
    queued: list[str] = field(default_factory=list)
    steering: list[str] = field(default_factory=list)
    question: Question | None = None
    busy: bool = False
    keyed: float = field(default_factory=time.monotonic)
    facts: Facts = field(default_factory=Facts)
    theme: Theme = field(default_factory=lambda: theme_of("ansi", {}))


class Hands(Protocol):
    """What a person does; every method returns at once and never raises."""

    def submit(self, text: str) -> None:
        """Enter: a message, or a slash command."""

    def submit_other(self, text: str) -> None:
        """Ctrl-S: what Enter does not do while a turn runs: steer it, or queue."""

    def take_back(self) -> str:
        """The message that was sent last and is not read yet, which is then not sent; else ""."""

    def hint(self, text: str) -> None:
        """Say for a moment, in the status line, what a key would do now."""

    def stop(self) -> bool:
        """Stop the turn that runs; False when it is being stopped already."""

    def interrupt(self) -> None:
        """Ctrl-C where there is nothing to clear and nothing left to stop."""

    def leave(self, code: int) -> None:
        """End the session with this exit code."""

    def show_all(self) -> None:
        """Ctrl-O: the whole of what is folded or cut: a preview, reasoning, a result."""


class Screen(Protocol):
    """Where it is shown."""

    @property
    def size(self) -> tuple[int, int]:
        """Columns and rows now."""

    async def run(self) -> None:
        """Take keys until `close`; the terminal is as it was before when this returns."""

    def commit(self, lines: Sequence[str]) -> None:
        """Print lines for good, above the live part."""

    def refresh(self) -> None:
        """The live part has changed."""

    def put_back(self, text: str) -> None:
        """Return text to the input, before what stands there."""

    def offer(self, text: str) -> bool:
        """Begin a line whose rest is chosen from a list; False where that can't be."""

    async def lend(self, name: str, data: bytes) -> tuple[bytes, str]:
        """The person's editor on a file of that name: its bytes then, what went wrong or ""."""

    def copy(self, text: str) -> tuple[bool, str]:
        """Hand text to the terminal's clipboard: whether that was tried, and what to say of it."""

    def title(self, text: str) -> None:
        """Name the window, until `run` returns."""

    def signal(self, sequence: str) -> None:
        """Write what changes nothing on the screen: a bell, a notification."""

    def edit(self, text: str = "") -> None:
        """Open the person's editor on the draft, or on another text in its place."""

    def switch_keys(self) -> str:
        """Change between emacs' and vi's keys; the name of those that count now, "" for none."""

    def ctrl_c(self) -> None:
        """The interrupt signal came from outside: do as the key does."""

    def close(self) -> None:
        """Make `run` return."""
