"""A call while the model writes it: its tool, the file or command, the lines so far, in one row.

Over `tokens` a piece says which argument it belongs to; over `chat` the pieces are JSON that is
not whole yet, of which the strings of the outermost object are read as they grow. What is shown
is provisional, and odd JSON just shows less. Pure. Must not judge a call.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from glmcode.core.events import Delta
from glmcode.repl.clean import one_line
from glmcode.repl.columns import columns, cut, cut_path
from glmcode.repl.paint import Painter

SHOWN_KEYS = ("file_path", "command", "pattern", "path", "task_id")
FILE_KEYS = ("file_path", "path")
SUBJECT_CHARS = 500
KEY_CHARS = 100
WORDY_FROM = 60
"""Columns of a screen that has room for whole words."""
LINES_FROM = 2
_PLAIN = re.compile(r'[^"\\]*')
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}


class Growing:
    """A call that is being written. index: which one of its message."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.name = ""
        self.lines = 0
        self._subject = ""
        self._key = ""
        self._counted = ""
        self._strings = _Strings()

    def feed(self, delta: Delta) -> None:
        """Take a piece of this call."""
        self.name = delta.name or self.name
        if delta.argument:
            self._take(delta.argument, delta.text)
            return
        for key, text in self._strings.feed(delta.text):
            self._take(key, text)

    def row(self, painter: Painter) -> list[str]:
        """How it stands, in one row."""
        wordy = painter.width >= WORDY_FROM
        lead = f"{painter.marks[2]} {'writing a call: ' if wordy else ''}{one_line(self.name, 40)}"
        so_far = " so far" if wordy else ""
        count = f" ({self.lines:,} lines{so_far})" if self.lines >= LINES_FROM else ""
        room = max(10, painter.width) - 2 - columns(lead) - columns(count) - 1
        subject = one_line(_whole(self._subject), SUBJECT_CHARS)
        if subject and room > 3:
            shown = cut_path(subject, room) if self._key in FILE_KEYS else cut(subject, room)
            lead += f" {shown}"
        return painter.spans([("dim", cut(lead + count, max(8, painter.width - 2)))], indent=2)[:1]

    def _take(self, key: str, text: str) -> None:
        if key != self._counted:
            self._counted, self.lines = key, 0
        self.lines += text.count("\n")
        if key in SHOWN_KEYS and self._key in ("", key):
            self._key = key
            self._subject = (self._subject + text)[:SUBJECT_CHARS]


class _Strings:
    """The strings of a JSON object, key by key, as their text comes."""

    def __init__(self) -> None:
        self._depth = 0
        self._key = ""
        self._is_key = False
        self._inside = False
        self._escape = ""

    def feed(self, text: str) -> Iterator[tuple[str, str]]:
        """(key, piece) for what stands in values of the outermost object."""
        at = 0
        while at < len(text):
            if not self._inside:
                self._between(text[at])
                at += 1
                continue
            piece, at = self._string(text, at)
            if piece and self._depth == 1 and self._is_key:
                self._key = (self._key + piece)[:KEY_CHARS]
            elif piece and self._depth == 1:
                yield self._key, piece

    def _string(self, text: str, at: int) -> tuple[str, int]:
        """A piece of a string, and where the next one begins."""
        if self._escape:
            self._escape += text[at]
            return self._escaped(), at + 1
        plain = _PLAIN.match(text, at)
        assert plain is not None
        at = plain.end()
        if at < len(text):
            self._inside = text[at] != '"'
            self._escape = "\\" if self._inside else ""
        return plain.group(), at + 1

    def _escaped(self) -> str:
        """What the escape stands for, once it is whole."""
        kind = self._escape[1]
        if kind == "u" and len(self._escape) < 6:
            return ""
        digits, self._escape = self._escape[2:], ""
        if kind != "u":
            return _ESCAPES.get(kind, kind)
        try:
            return chr(int(digits, 16))
        except ValueError:
            return "\N{REPLACEMENT CHARACTER}"

    def _between(self, sign: str) -> None:
        match sign:
            case '"':
                self._inside = True
                if self._depth == 1 and self._is_key:
                    self._key = ""
            case "{" | "[":
                self._depth += 1
                self._is_key = sign == "{" and self._depth == 1
            case "}" | "]":
                self._depth -= 1
            case "," | ":" if self._depth == 1:
                self._is_key = sign == ","
            case _:
                pass


def _whole(text: str) -> str:
    """Halves of a character that JSON wrote one by one become that character."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
