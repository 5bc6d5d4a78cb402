"""How much of a long output the model reads, and where the rest of it lies.

A result may hold `ctx.result_limit()` characters, the note about the cut included. What does
not fit is spilled whole to a private file that Read can open, so that nothing is lost and
nothing has to be run again. Saving may fail (a full disk): then the note says so; nothing
here raises for it. This module must not know which tool produced the text.
"""

from __future__ import annotations

import os
import re
import secrets
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Literal, TypeAlias

from glmcode.base.paths import private_folder
from glmcode.tools.context import ToolContext

SPILL_LIMIT = 64 * 1024 * 1024
"""The most bytes of one output that are saved."""

Keep: TypeAlias = Literal["head", "tail", "both"]


def bounded(ctx: ToolContext, text: str, *, name: str, keep: Keep = "both") -> str:
    """`text` within ctx.result_limit() characters; what was cut is said, the whole is saved.

    The cut is at line ends where that costs less than half of a side. `name` is part of the
    name of the file in ctx.spill_folder. Never raises for a file that cannot be written.
    """
    limit = ctx.result_limit()
    if len(text) <= limit:
        return text
    spill = Spill(ctx.spill_folder, name)
    spill.write(text)
    spill.close()
    return _clip(text, text, len(text), text.count("\n"), limit, keep, spill.where())


def recut(folder: Path, text: str, name: str) -> Callable[[int], str]:
    """A result that is still too long, cut to a number of characters; saved once, whole."""
    spill: list[Spill] = []

    def cut(limit: int) -> str:
        if limit >= len(text):
            return text
        if not spill:
            spill.append(Spill(folder, name))
            spill[0].write(text)
            spill[0].close()
        lines = text.count("\n")
        return _clip(text, text, len(text), lines, limit, "both", spill[0].where())

    return cut


class Spill:
    """An output as it comes, in a file of its own (0600, in a 0700 folder).

    Made at the first write; at most SPILL_LIMIT bytes; no method raises for a failing disk.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._name = re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip("._")[:60] or "output"
        self._fd: int | None = None
        self._written = 0
        self._fault = ""
        self._full = False
        self.path: Path | None = None

    @property
    def saving(self) -> bool:
        """Whether what is written is still saved (or will be, once there is something)."""
        return not (self._full or self._fault)

    def open(self) -> None:
        """Make the file now, so that its path can be told before anything is written."""
        if self.path is not None or self._fault:
            return
        try:
            path = private_folder(self._folder) / f"{self._name}-{secrets.token_hex(4)}.txt"
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            self.path = path
        except OSError as error:
            self._fault = error.strerror or str(error)

    def write(self, text: str) -> None:
        """Append; lone surrogates become `?`. What is beyond the limit is dropped and said."""
        self.open()
        if self._fd is None or self._full or self._fault:
            return
        data = text.encode("utf-8", "replace")
        room = SPILL_LIMIT - self._written
        if len(data) > room:
            data = data[:room].decode("utf-8", "ignore").encode()
            self._full = True
        view = memoryview(data)
        try:
            while view:
                count = os.write(self._fd, view)
                self._written += count
                view = view[count:]
        except OSError as error:
            self._fault = error.strerror or str(error)

    def close(self) -> None:
        """Close the file; writing afterwards does nothing."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def where(self) -> str:
        """Where the output lies, as the note to the model says it."""
        if self.path is None:
            return f"the rest could not be saved ({self._fault or 'nothing was written'})"
        how = "Read it with offset and limit"
        if self._fault:
            size = f"the first {self._written} bytes"
            return f"saving it failed ({self._fault}): {size} are in {self.path}; {how}"
        if self._full:
            mib = SPILL_LIMIT // (1024 * 1024)
            return f"only the first {mib} MiB of the output are in {self.path}; {how}"
        return f"the whole output is in {self.path}; {how}"


class Kept:
    """An output of any length in flat memory: its head, its tail, and a Spill of all of it.

    `size` is the characters kept at either end; nothing is spilled until more than that came,
    unless the spill was opened before.
    """

    def __init__(self, spill: Spill, size: int) -> None:
        self.spill = spill
        self._size = max(size, 1)
        self._head: list[str] = []
        self._tail: deque[str] = deque()
        self._head_length = self._tail_length = 0
        self._spilled = spill.path is not None
        self.characters = 0
        self.newlines = 0

    def add(self, text: str) -> None:
        """Take the next piece of the output."""
        self.characters += len(text)
        self.newlines += text.count("\n")
        if self._spilled or self.characters > self._size:
            if not self._spilled:
                self.spill.write("".join(self._head))
                self._spilled = True
            self.spill.write(text)
        if room := self._size - self._head_length:
            self._head.append(text[:room])
            self._head_length += len(self._head[-1])
        self._tail.append(text[-self._size :])
        self._tail_length += len(self._tail[-1])
        while self._tail_length - len(self._tail[0]) >= self._size:
            self._tail_length -= len(self._tail.popleft())

    def skip(self, characters: int, newlines: int) -> None:
        """Count a piece that is not kept: the tail begins after it. Only when not saving."""
        self.characters += characters
        self.newlines += newlines
        self._tail.clear()
        self._tail_length = 0

    def renew(self) -> Kept:
        """A new, empty one that goes on with the same file, which then holds all of it."""
        if not self._spilled:
            self.spill.write("".join(self._head))
        self.spill.open()
        return Kept(self.spill, self._size)

    def text(self, limit: int) -> str:
        """All of it when it fits into `limit` characters, else head, note and tail."""
        head, tail = "".join(self._head), "".join(self._tail)
        if self.characters <= min(limit, 2 * self._size):
            return head + tail[len(tail) - (self.characters - len(head)) :]
        if not self._spilled:
            self.spill.write(head)
            self._spilled = True
        where = self.spill.where()
        return _clip(head, tail, self.characters, self.newlines, limit, "both", where)


def _clip(
    head: str, tail: str, characters: int, newlines: int, limit: int, keep: Keep, where: str
) -> str:
    """Head and tail of a text of `characters` characters with a note between, within limit.

    `head` begins and `tail` ends the text; each is at least as long as it can be shown.
    """
    room = limit - len(_note(characters, newlines + 1, where)) - 2
    if room <= 0:
        return _note(characters, newlines + 1, where)[: max(limit, 0)]
    whole_lines = tail.endswith("\n")
    if keep == "head":
        head, tail = _head_of(head, room), ""
    elif keep == "tail":
        head, (tail, whole_lines) = "", _tail_of(tail, room)
    else:
        head, (tail, whole_lines) = _head_of(head, room // 2), _tail_of(tail, room - room // 2)
    cut = newlines - head.count("\n") - tail.count("\n") + (not whole_lines)
    note = _note(characters - len(head) - len(tail), cut, where)
    before = head if not head or head.endswith("\n") else head + "\n"
    return f"{before}{note}\n{tail}" if tail else f"{before}{note}"


def _note(characters: int, lines: int, where: str) -> str:
    amount = f"{lines} line{'s' if lines != 1 else ''}, {characters} characters"
    return f"[{amount} cut here; {where}]"


def _head_of(text: str, room: int) -> str:
    head = text[:room]
    end = head.rfind("\n") + 1
    return head[:end] if end > room // 2 else head


def _tail_of(text: str, room: int) -> tuple[str, bool]:
    """The tail, and whether it begins with a whole line."""
    tail = text[-room:]
    start = tail.find("\n") + 1
    return (tail[start:], True) if 0 < start <= room // 2 else (tail, False)
