"""The screen of lines alone: --plain (for screen readers), TERM=dumb, an editor's shell window.

The terminal stays as it was: its own line editing, its own echo, Ctrl-C as a signal. Lines
are printed in order; a question is answered by a line of its own, and a line that was typed
before it appeared is a message, never an answer. Must not write an escape.
"""

from __future__ import annotations

import asyncio
import os
import sys
import termios
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

from glmcode.exits import Exit
from glmcode.repl.clean import one_line, visible
from glmcode.repl.clipboard import osc52
from glmcode.repl.editor import edited, edited_file
from glmcode.repl.question import GRACE_S, Question
from glmcode.repl.screen import Hands, Live

BACK = "."
BELL = "\a"
CHUNK = 4_096
PASTED_S = 0.03
"""Lines that follow each other sooner were not typed: they are one message."""
CALM_S = 0.05
"""So long after the last news the prompt is printed: it is read out, and should be so once."""


class Plain:
    """screen.Screen for a terminal without cursor movement."""

    def __init__(self, live: Live, hands: Hands) -> None:
        self._live = live
        self._hands = hands
        self._typed = b""
        self._lines: list[str] = []
        self._soon: asyncio.TimerHandle | None = None
        self._column = 0
        self._asked: Question | None = None
        self._asked_at = 0.0
        self._shown = ""
        self._closed = asyncio.Event()
        self._calm: asyncio.TimerHandle | None = None
        self._away = False
        self._withheld: list[str] = []
        self._work: asyncio.Future[None] | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Columns and rows now."""
        try:
            size = os.get_terminal_size(1)
        except OSError:
            return 80, 24
        return size.columns or 80, size.lines or 24

    async def run(self) -> None:
        """Read lines until closed or until the input ends."""
        loop = asyncio.get_running_loop()
        loop.add_reader(0, self._read)
        try:
            self.refresh()
            await self._closed.wait()
        finally:
            loop.remove_reader(0)

    def commit(self, lines: Sequence[str]) -> None:
        """Print lines."""
        if self._away:
            self._withheld += lines
            return
        start = "\n" if self._shown else ""
        self._shown = ""
        self._write(start + "".join(f"{line}\n" for line in lines))

    def refresh(self) -> None:
        """Show the question or the prompt, when there is a new one."""
        if self._away:
            return
        question = self._live.question
        if question is not None and question is not self._asked:
            self._asked, self._asked_at = question, time.monotonic()
        if question is not None or self._live.busy:
            self._show()
        elif self._calm is None:
            self._calm = asyncio.get_running_loop().call_later(CALM_S, self._show)

    def _show(self) -> None:
        """What the last line is to be, once nothing is about to be printed after it."""
        if self._calm is not None:
            self._calm.cancel()
            self._calm = None
        prompt = self._prompt(self._live.question)
        if prompt != self._shown and not self._away and not self._closed.is_set():
            self._write(("\n" if self._shown and prompt else "") + prompt)
            self._shown = prompt

    def put_back(self, text: str) -> None:
        """There is no input to put it back into: say it, so that it is not lost."""
        self.commit(["not sent:", *(f"  {line}" for line in visible(text).split("\n"))])

    def offer(self, text: str) -> bool:
        """There are no lists here to choose from."""
        return False

    def copy(self, text: str) -> tuple[bool, str]:
        """No escape is written here."""
        return False, osc52(text, {})[1]

    def title(self, text: str) -> None:
        """Nor here."""

    def signal(self, sequence: str) -> None:
        """A bell is no escape, and who hears the screen needs it most."""
        if sequence == BELL:
            self._write(sequence)

    def edit(self, text: str = "") -> None:
        """The editor on a message, which is sent when that ends well."""
        if not self._away:
            self._away = True
            self._work = asyncio.ensure_future(self._edit(text))

    async def _edit(self, text: str) -> None:
        async with self._lent():
            text, told = await edited(text, os.environ)
        if told:
            self.commit([one_line(told)])
        if text.strip() and not told:
            self._hands.submit(text)
        self.refresh()

    async def lend(self, name: str, data: bytes) -> tuple[bytes, str]:
        """The person's editor on a file of that name: its bytes then, what went wrong or ""."""
        if self._away:
            return data, "the editor is open already"
        self._away = True
        async with self._lent():
            return await edited_file(name, data, os.environ)

    @asynccontextmanager
    async def _lent(self) -> AsyncIterator[None]:
        """Another program has the lines; what is printed meanwhile waits."""
        loop, modes = asyncio.get_running_loop(), termios.tcgetattr(0)
        loop.remove_reader(0)
        try:
            yield
        finally:
            with suppress(termios.error):  # the terminal may be gone
                termios.tcsetattr(0, termios.TCSADRAIN, modes)
            self._away = False
            if not self._closed.is_set():
                loop.add_reader(0, self._read)
        withheld, self._withheld = self._withheld, []
        self.commit(withheld)

    def switch_keys(self) -> str:
        """The terminal edits the lines."""
        return ""

    def ctrl_c(self) -> None:
        """Stop what runs, else it is the conversation's."""
        if self._away:
            return  # it was meant for the editor
        self._typed = b""
        self._lines.clear()
        if self._live.busy or self._live.question is not None:
            if not self._hands.stop():
                self._hands.interrupt()
        else:
            self._hands.interrupt()

    def close(self) -> None:
        """Make `run` return."""
        if self._shown:
            self._write("\n")
            self._shown = ""
        self._closed.set()

    def _prompt(self, question: Question | None) -> str:
        if question is None:
            return "" if self._live.busy else "> "
        if question.advising:
            return "no. What instead? (an empty line: just no) "
        if question.chosen.done():
            return ""
        if question.editing:
            wrong = f"{one_line(question.wrong)}\n" if question.wrong else ""
            return f"{wrong}always, in this folder (an empty line takes it, {BACK} goes back): "
        if question.count > 1:
            return f"{question.ask} 1 yes, 2 one by one, 4 no: "
        edits = ", 5 edit it" if question.editable else ""
        if not question.rule:
            return f"{question.ask} 1 yes, 4 no{edits}: "
        rule = one_line(question.rule)
        return f"{question.ask} 1 yes, 2 for this session, 3 always {rule}, 4 no{edits}: "

    def _read(self) -> None:
        try:
            data = os.read(0, CHUNK)
        except OSError:
            data = b""
        if not data:
            self._said()
            self._hands.leave(Exit.DONE)
            return
        self._live.keyed = time.monotonic()
        *lines, self._typed = (self._typed + data).split(b"\n")
        for line in lines:
            self._shown = ""
            self._line(line.decode("utf-8", "replace").rstrip("\r"))

    def _line(self, line: str) -> None:
        question = self._live.question
        if question is None or (question.chosen.done() and not question.advising):
            self._gather(line)
        elif question.advising:
            question.advise(line.strip())
        elif question.editing and line.strip() == BACK:
            question.back()
        elif question.editing:
            question.accept(line.strip() or question.rule)
        elif time.monotonic() - self._asked_at < GRACE_S:
            if line.strip():
                self._hands.submit(line)
        elif (choice := question.meant(line.strip())) is not None:
            question.choose(choice)
        elif line.strip():
            self._hands.submit(line)
        self.refresh()

    def _gather(self, line: str) -> None:
        """A message of one line, or of several that were pasted or end with a backslash."""
        if not self._lines and line.lstrip().startswith(("/", "!")):
            self._hands.submit(line)
            return
        if self._soon is not None:
            self._soon.cancel()
            self._soon = None
        if line.endswith("\\"):
            self._lines.append(line[:-1])
            return
        self._lines.append(line)
        self._soon = asyncio.get_running_loop().call_later(PASTED_S, self._said)

    def _said(self) -> None:
        lines, self._lines = self._lines, []
        if any(line.strip() for line in lines):
            self._hands.submit("\n".join(lines))

    def _write(self, text: str) -> None:
        if not text:
            return
        encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
        data = text.encode(encoding, "replace")
        try:
            while data:
                data = data[os.write(1, data) :]
        except OSError:
            self._hands.leave(Exit.TERMINATED)
