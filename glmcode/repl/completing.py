"""What can be typed next: commands after a `/`, what follows them, paths after an `@`.

A list below the input, looked up in a thread for the newest text alone: a keystroke never waits
for it, and what comes too late is dropped. Nothing is chosen until a key says so, so
Enter sends what stands there; but of sessions, typing chooses the first that fits. Only typing
opens it: a text from the history does not. Must not draw, and must not know the conversation.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from prompt_toolkit.buffer import Buffer
from prompt_toolkit.document import Document
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.utils import get_cwidth

from glmcode.repl.clean import one_line
from glmcode.repl.columns import cut
from glmcode.repl.offers import PICKERS, Facts, Item, Offers, command_of
from glmcode.repl.paths import Paths
from glmcode.repl.slash_table import ALIASES, COMMANDS

MOST = 8
WIDE = 60
"""Columns from which on what is told of the items stands in a column of its own."""
COLUMN = 24
_COMMAND = re.compile(r"/[\w?-]*")
_ARGUMENT = re.compile(r"(/[\w?-]+) +([^\n]*)")
_PATH = re.compile(r"(?:^|[\s(\[{,])@(?:\"([^\"\n]*)|([^\s\"]*))$")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be completed: `typed` before the cursor, of which `query` counts. kind: "path",
    "command", or the command whose argument it is."""

    kind: str
    typed: str
    query: str


class Menu:
    """The list of one input. changed is called, in the loop, when there is another list."""

    def __init__(
        self, buffer: Buffer, workspace: Path, changed: Callable[[], None], facts: Facts
    ) -> None:
        self.items: list[Item] = []
        self.chosen: int | None = None
        self._buffer = buffer
        self._offers = Offers(workspace, facts)
        self._changed = changed
        self._wanted: Wanted | None = None
        self._finder: Finder | None = None
        buffer.on_text_insert += lambda _: self.look()
        buffer.on_text_changed += lambda _: self._look_again()
        buffer.on_cursor_position_changed += lambda _: self._look_again()

    @property
    def open(self) -> bool:
        """Whether there is something to choose from. (A reset of the input tells nobody.)"""
        return bool(self.items) and self._wanted == wanted_in(self._buffer.document)

    def look(self) -> None:
        """Ask for what fits before the cursor; the list is there a moment later."""
        wanted = wanted_in(self._buffer.document)
        if wanted is None:
            self.close()
        elif wanted != self._wanted:
            self._wanted, self.chosen = wanted, None
            if self._finder is None:
                self._finder = Finder(self._offers)
            self._finder.ask(wanted, self._found)

    def close(self) -> None:
        """Nothing is to be chosen any more."""
        before, self.items = self.items, []
        self._wanted, self.chosen = None, None
        if before:
            self._changed()

    def choose(self, step: int) -> None:
        """The next one, or the one before; round at the ends."""
        if self.chosen is None:
            self.chosen = 0 if step > 0 else len(self.items) - 1
        else:
            self.chosen = (self.chosen + step) % len(self.items)

    def take(self) -> bool:
        """Insert the chosen one, or the first; whether the line is complete with it."""
        wanted, item = self._wanted, self.items[self.chosen or 0]
        self.close()
        if wanted is None:
            return False
        self._buffer.delete_before_cursor(len(wanted.typed))
        self._buffer.insert_text(item.text)
        return item.whole

    def shown(self, columns: int, rows: int) -> StyleAndTextTuples:
        """At most so many lines, the chosen one among them."""
        if not self.open:
            return []
        count = max(1, min(MOST, rows))
        first = max(0, min((self.chosen or 0) - count + 1, len(self.items) - count))
        lines: StyleAndTextTuples = []
        column = max(len(item.text.strip()) for item in self.items) if columns >= WIDE else 0
        for number, item in enumerate(self.items[first : first + count], first):
            chosen = number == self.chosen
            room = columns - 3
            text = cut(item.shown, room) if item.shown else _cut(item.text.strip(), room)
            lines.append(("class:key" if chosen else "", f"{'> ' if chosen else '  '}{text}"))
            aligned = not item.shown and column <= COLUMN
            gap = "  " + " " * (column - len(text) if aligned else 0)
            room = columns - 4 - len(text) - len(gap)
            if item.about and room > 10:
                lines.append(("class:dim", gap + one_line(item.about, room)))
            lines.append(("", "\n"))
        return lines[:-1]

    def _look_again(self) -> None:
        if self._wanted is not None:
            self.look()

    def _found(self, wanted: Wanted, items: list[Item]) -> None:
        if wanted == self._wanted == wanted_in(self._buffer.document):
            self.items, self.chosen = items, None
            if items and wanted.kind in PICKERS and wanted.query:
                self.chosen = 0
            self._changed()


class Finder:
    """Looks up in one thread of its own, the newest question alone."""

    def __init__(self, offers: Offers) -> None:
        self._offers = offers
        self._paths = Paths(offers.workspace)
        self._asked: queue.SimpleQueue[tuple[Wanted, Callable[[list[Item]], None]]]
        self._asked = queue.SimpleQueue()
        threading.Thread(target=self._work, name="completion", daemon=True).start()

    def ask(self, wanted: Wanted, found: Callable[[Wanted, list[Item]], None]) -> None:
        """found is called in this loop with the answer, unless another question came since."""
        loop = asyncio.get_running_loop()

        def answer(items: list[Item]) -> None:
            with contextlib.suppress(RuntimeError):  # the session has ended meanwhile
                loop.call_soon_threadsafe(found, wanted, items)

        self._asked.put((wanted, answer))

    def _work(self) -> None:
        while True:
            wanted, answer = self._asked.get()
            while not self._asked.empty():
                wanted, answer = self._asked.get()
            items = self._found(wanted)
            if self._asked.empty():
                answer(items)

    def _found(self, wanted: Wanted) -> list[Item]:
        match wanted.kind:
            case "command":
                return commands(wanted.query)
            case "path":
                return self._files(wanted)
            case command:
                return self._offers.find(command, wanted.query)

    def _files(self, wanted: Wanted) -> list[Item]:
        found = self._paths.find(wanted.query, MOST, lambda: not self._asked.empty())
        return [Item(_mention(path)) for path in found]


def wanted_in(document: Document) -> Wanted | None:
    """What there is to complete before the cursor."""
    before = document.text_before_cursor
    if _COMMAND.fullmatch(before):
        return Wanted("command", before, before[1:])
    match = _PATH.search(before)
    if match is None:
        return _argument(before, document)
    quoted, plain = match.groups()
    typed = f'@"{quoted}' if quoted is not None else f"@{plain}"
    return Wanted("path", typed, quoted if quoted is not None else plain)


def _argument(before: str, document: Document) -> Wanted | None:
    match = _ARGUMENT.fullmatch(before)
    command = command_of(match[1]) if match is not None and not document.text_after_cursor else None
    return Wanted(command, match[2], match[2]) if match is not None and command else None


def commands(query: str) -> list[Item]:
    """The commands that fit, those that begin so first; all of them for an empty query."""
    query = query.lower()
    about = {name: command.about for name, command in COMMANDS.items()}
    about |= {name: f"as {other}" for name, other in ALIASES.items()}
    begin = [name for name in about if name[1:].startswith(query)]
    if not query:
        begin = [*COMMANDS]
    letters = re.compile(".*?".join(map(re.escape, query)))
    others = [name for name in about if query and name not in begin and letters.search(name[1:])]
    return [Item(f"{name} ", about[name]) for name in (*begin, *others)]


def _mention(path: str) -> str:
    if path.endswith("/"):
        return f'@"{path}' if " " in path else f"@{path}"
    return f'@"{path}" ' if " " in path else f"@{path} "


def _cut(text: str, room: int) -> str:
    """The end of a text that is too wide: names end with what tells them apart."""
    return text if get_cwidth(text) <= room else "…" + text[len(text) - max(1, room // 2) :]
