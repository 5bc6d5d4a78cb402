"""Tells a person who looks elsewhere that a turn ended or a question waits; names the window.

Whether the terminal has the focus is not asked: a terminal that was told to report it goes on
doing so when glmcode is killed, and the next shell gets the reports as input. Instead, who pressed
no key for a while counts as gone. The title is the folder and a mark for what goes on. A program
that notifies is run without a shell, with the text as its last argument, one at a time and not for
long; nothing waits for it. Must not know the agent.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from glmcode.agent_options import AgentOptions
from glmcode.base.settings import UiSettings
from glmcode.repl.clean import one_line
from glmcode.repl.osc import notification
from glmcode.repl.paint import Spans
from glmcode.repl.screen import Live, Screen

PROGRAM_S = 10.0
"""How long a program that notifies may take."""
FOLDER = 60


@dataclass(slots=True)
class Attention:
    """Looks at what goes on whenever something may have changed.

    folder: its name, for title and text. waiting: whether more was typed that is not begun.
    start: runs something beside everything else. tell: says a line to the person.
    """

    ui: UiSettings
    live: Live
    screen: Screen
    folder: str
    environment: Mapping[str, str]
    waiting: Callable[[], bool]
    start: Callable[[Coroutine[Any, Any, None]], None]
    tell: Callable[[str], None]
    unicode: bool = True
    _busy: bool = False
    _asked: object = None
    _runs: bool = False
    _faulty: bool = False

    def look(self, now: float) -> None:
        """Name the window and notify, as it is due. now: on the clock of `live.keyed`."""
        question, busy = self.live.question, self.live.busy
        if self.ui.title:
            self.screen.title(self._title(busy, question is not None))
        ended, self._busy = self._busy and not busy, busy
        gone = now - self.live.keyed >= self.ui.notify_after
        if self.ui.notify == "off" or not gone:
            return
        if question is not None and question is not self._asked:
            self._asked = question
            self._notify(f"waits for your answer ({one_line(question.asked.name, 30)})")
        elif ended and not self.waiting():
            self._notify("has ended")

    def _title(self, busy: bool, asks: bool) -> str:
        mark = "? " if asks else ("● " if self.unicode else "* ") if busy else ""
        return f"{mark}{one_line(self.folder, FOLDER)} · glmcode"

    def _notify(self, what: str) -> None:
        subject = "The turn" if what.startswith("has") else "glmcode"
        text = f"{subject} in {one_line(self.folder, FOLDER)} {what}"
        if self.ui.notify != "command":
            self.screen.signal(notification(self.ui.notify, text, self.environment))
        elif not any(self.ui.notify_command):
            self._fault("names no program")
        elif not self._runs:
            self._runs = True
            self.start(self._run([*self.ui.notify_command, text]))

    async def _run(self, words: Sequence[str]) -> None:
        try:
            fault = await ran(words)
            if fault:
                self._fault(f"{one_line(words[0], 60)}: {fault}")
        finally:
            self._runs = False

    def _fault(self, why: str) -> None:
        """Said once in a session."""
        if not self._faulty:
            self._faulty = True
            self.tell(f"ui.notify_command {why}")


class Host(Protocol):
    """The conversation, as far as this needs it."""

    options: AgentOptions
    live: Live
    screen: Screen
    unicode: bool

    def say(self, spans: Spans) -> None:
        """Print a line of ours."""

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run it beside everything else."""


def attention_of(host: Host, ui: UiSettings, waiting: Sequence[str]) -> Attention:
    """The attention of a conversation; waiting: what was typed and is not begun."""
    workspace = host.options.workspace
    return Attention(
        ui=ui,
        live=host.live,
        screen=host.screen,
        folder=workspace.name or str(workspace),
        environment=os.environ,
        waiting=lambda: bool(waiting),
        start=host.start,
        tell=lambda text: host.say([("warning", text)]),
        unicode=host.unicode,
    )


async def ran(words: Sequence[str], limit: float = PROGRAM_S) -> str:
    """Run a program to its end, at most `limit` seconds: why it did not work, or ""."""
    null = asyncio.subprocess.DEVNULL
    try:
        process = await asyncio.create_subprocess_exec(
            *words, stdin=null, stdout=null, stderr=null, start_new_session=True
        )
    except (OSError, ValueError) as error:
        return getattr(error, "strerror", None) or str(error)
    try:
        code = await asyncio.wait_for(process.wait(), limit)
    except TimeoutError:
        return f"took longer than {limit:.0f} s and was ended"
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    return f"ended with {code}" if code else ""
