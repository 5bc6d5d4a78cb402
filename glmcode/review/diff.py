"""A unified diff as files, hunks and numbered lines: what git writes, and what `diff -u` writes.

Read by the counts of each hunk, never by what a line looks like: a line of a file may look like
any header. Text around diffs (a mail, a signature) is passed over. Names are those of the file
system (git's quoting undone). Pure: bytes in, values out. Must not guess what is missing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

Kind = Literal[" ", "+", "-"]
Status = Literal["added", "deleted", "modified", "renamed", "copied", "mode"]

_HUNK = re.compile(rb"@@ -(\d{1,12})(?:,(\d{1,12}))? \+(\d{1,12})(?:,(\d{1,12}))? @@(.*)")
MOST_BYTES = 16 << 20
MOST_BYTES_OF_FILE = 4 << 20
MOST_BYTES_OF_LINE = 1 << 16
"""What is more is counted and not kept: nobody judges it, and it takes time and memory."""
_ESCAPES = {
    b"a": b"\a", b"b": b"\b", b"t": b"\t", b"n": b"\n", b"v": b"\v", b"f": b"\f", b"r": b"\r",
    b'"': b'"', b"\\": b"\\",
}  # fmt: skip


class DiffError(Exception):
    """This is no diff, or it ends in the middle; the text says where."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a hunk, without its line end. old and new: its numbers from 1, where it has
    them. ends: False where the file ends there without a newline."""

    kind: Kind
    text: str
    old: int | None
    new: int | None
    ends: bool = True


@dataclass(frozen=True, slots=True)
class Hunk:
    """Lines that changed and those around them. heading: what git writes behind the numbers."""

    old_start: int
    new_start: int
    heading: str
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class FileDiff:
    """What changed of one file. path: its name now (deleted: before). old_path: before.

    modes: (before, after) as git writes them, where they changed. binary: no lines are known.
    large: lines that were passed over, because the file or the diff is too large.
    """

    path: str
    old_path: str
    status: Status
    hunks: tuple[Hunk, ...] = ()
    modes: tuple[str, str] | None = None
    binary: bool = False
    large: int = 0

    @property
    def changed(self) -> bool:
        """Whether anything is different; git names files that were merely touched, too."""
        still = self.status == "modified" and not (self.hunks or self.modes)
        return not still or self.binary or bool(self.large)

    @property
    def shown_path(self) -> str:
        """Its name as one line of text."""
        return one_name(self.path)

    @property
    def added(self) -> int:
        """Lines that were added."""
        return sum(line.kind == "+" for hunk in self.hunks for line in hunk.lines)

    @property
    def removed(self) -> int:
        """Lines that were removed."""
        return sum(line.kind == "-" for hunk in self.hunks for line in hunk.lines)


def readable(name: str) -> str:
    """A name of the file system as text that can be sent and printed."""
    return name_bytes(name).decode("utf-8", "replace")


def one_name(name: str) -> str:
    """The same as one line, whatever is in it: no name can look like a line of ours."""
    return readable(name).replace("\n", "⏎").replace("\r", "⏎")


def name_bytes(name: str) -> bytes:
    """The bytes of a name; what no name of the file system can hold is replaced."""
    try:
        return os.fsencode(name)
    except UnicodeEncodeError:
        return name.encode("utf-8", "replace")


def parse_diff(data: bytes) -> list[FileDiff]:
    """The files of a diff, in its order. Raises DiffError."""
    return list(_Reader(data).files())


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._lines = data.split(b"\n")
        if self._lines[-1] == b"":
            self._lines.pop()
        self._at = 0
        self._room = MOST_BYTES

    def files(self) -> Iterator[FileDiff]:
        while self._at < len(self._lines):
            line = self._lines[self._at]
            if line.startswith(b"diff --git "):
                file = self._git_file()
                if file.changed:
                    yield file
            elif line.startswith((b"diff --cc ", b"diff --combined ")):
                raise DiffError(
                    "this is a combined diff of a merge: compare with one parent (--base REF)"
                )
            elif self._is_plain(self._at):
                yield self._plain_file()
            else:
                self._at += 1

    def _is_plain(self, at: int) -> bool:
        lines = self._lines
        return (
            at + 2 < len(lines)
            and lines[at].startswith(b"--- ")
            and lines[at + 1].startswith(b"+++ ")
            and lines[at + 2].startswith(b"@@ -")
        )

    def _plain_file(self) -> FileDiff:
        old, new = _plain_name(self._lines[self._at]), _plain_name(self._lines[self._at + 1])
        self._at += 2
        hunks, large = self._hunks()
        if old == b"/dev/null":
            return FileDiff(_path(new, b"b/"), _path(new, b"b/"), "added", hunks, large=large)
        if new == b"/dev/null":
            return FileDiff(_path(old, b"a/"), _path(old, b"a/"), "deleted", hunks, large=large)
        paths = _path(new, b"b/"), _path(old, b"a/")
        return FileDiff(*paths, "modified", hunks, large=large)

    def _git_file(self) -> FileDiff:
        old, new = _both_names(self._lines[self._at][len(b"diff --git ") :])
        self._at += 1
        found: dict[bytes, bytes] = {}
        binary = False
        while self._at < len(self._lines):
            line = self._lines[self._at]
            if line.startswith(b"--- ") and self._is_plain(self._at):
                sides = (line, self._lines[self._at + 1])
                names = [_plain_name(one, tabs=False) for one in sides]
                old = old if names[0] == b"/dev/null" else names[0]
                new = new if names[1] == b"/dev/null" else names[1]
                self._at += 2
                break
            if line.startswith((b"Binary files ", b"GIT binary patch")):
                binary = True
                self._at += 1
                self._skip_binary()
                break
            key = next((key for key in _HEADERS if line.startswith(key)), None)
            if key is None:
                break
            found[key] = line[len(key) :]
            self._at += 1
        hunks, large = ((), 0) if binary else self._hunks()
        return replace(_git_diff(old, new, found, hunks, binary=binary), large=large)

    def _skip_binary(self) -> None:
        """A binary patch goes on to the next diff; its lines are no text."""
        while self._at < len(self._lines):
            if self._lines[self._at].startswith(b"diff --git "):
                return
            self._at += 1

    def _hunks(self) -> tuple[tuple[Hunk, ...], int]:
        """The hunks, and how many lines were passed over since they are too many."""
        hunks: list[Hunk] = []
        large = 0
        room = min(MOST_BYTES_OF_FILE, self._room)
        while self._at < len(self._lines):
            match = _HUNK.match(self._lines[self._at])
            if match is None:
                if self._lines[self._at].startswith(b"@@ "):  # what it begins would go unseen
                    shown = _short(self._lines[self._at])
                    raise DiffError(f"line {self._at + 1} is no head of a hunk: {shown}")
                break
            self._at += 1
            old, new = int(match[1]), int(match[3])
            left = [int(match[2] or 1), int(match[4] or 1)]
            lines = []
            for line in self._hunk_lines(old, new, left) if room > 0 else ():
                lines.append(line)
                size = len(line.text) + 1
                room, self._room = room - size, self._room - size
                if room <= 0:
                    break
            large += self._pass_over(left)
            if lines:
                heading = match[5].decode("utf-8", "replace").strip()
                hunks.append(Hunk(old, new, heading, tuple(lines)))
        return tuple(hunks), large

    def _pass_over(self, left: list[int]) -> int:
        """Go to the end of the hunk; how many of its lines changed something."""
        changed = 0
        while left[0] > 0 or left[1] > 0:
            if self._at >= len(self._lines):
                raise DiffError(f"it ends in the middle of a hunk (line {self._at})")
            kind = self._lines[self._at][:1]
            self._at += 1
            left[0] -= kind != b"+"
            left[1] -= kind != b"-"
            changed += kind in (b"+", b"-")
            self._no_newline()
        return changed

    def _hunk_lines(self, old: int, new: int, left: list[int]) -> Iterator[Line]:
        while left[0] > 0 or left[1] > 0:
            if self._at >= len(self._lines):
                raise DiffError(f"it ends in the middle of a hunk (line {self._at})")
            raw = self._lines[self._at]
            self._at += 1
            kind = raw[:1] or b" "  # an empty line is context whose blank was cut off
            ends = not self._no_newline()
            text = raw[1 : 1 + MOST_BYTES_OF_LINE].decode("utf-8", "replace")
            left[0] -= kind != b"+"
            left[1] -= kind != b"-"
            match kind:
                case b" ":
                    yield Line(" ", text, old, new, ends)
                    old, new = old + 1, new + 1
                case b"+":
                    yield Line("+", text, None, new, ends)
                    new += 1
                case b"-":
                    yield Line("-", text, old, None, ends)
                    old += 1
                case _:
                    raise DiffError(f"line {self._at} is no line of a hunk: {_short(raw)}")

    def _no_newline(self) -> bool:
        if self._at < len(self._lines) and self._lines[self._at].startswith(b"\\ "):
            self._at += 1
            return True
        return False


_HEADERS = (
    b"old mode ", b"new mode ", b"deleted file mode ", b"new file mode ", b"copy from ",
    b"copy to ", b"rename from ", b"rename to ", b"similarity index ", b"dissimilarity index ",
    b"index ",
)  # fmt: skip


def _git_diff(
    old: bytes, new: bytes, found: dict[bytes, bytes], hunks: tuple[Hunk, ...], *, binary: bool
) -> FileDiff:
    path, old_path = _path(new, b"b/"), _path(old, b"a/")
    modes = None
    status: Status = "modified"
    if b"old mode " in found and b"new mode " in found:
        modes = (found[b"old mode "].decode(), found[b"new mode "].decode())
        status = "modified" if hunks or binary else "mode"
    if b"rename to " in found:
        path, old_path = _path(found[b"rename to "], b""), _path(found[b"rename from "], b"")
        status = "renamed"
    elif b"copy to " in found:
        path, old_path = _path(found[b"copy to "], b""), _path(found[b"copy from "], b"")
        status = "copied"
    elif b"new file mode " in found:
        status, old_path = "added", path
    elif b"deleted file mode " in found:
        status, path = "deleted", old_path
    return FileDiff(path, old_path, status, hunks, modes, binary)


def _both_names(rest: bytes) -> tuple[bytes, bytes]:
    """Both names of a `diff --git` line; where they hold blanks they are taken to be equal."""
    if rest.startswith(b'"'):
        end = _closing(rest)
        return rest[: end + 1], rest[end + 2 :]
    if rest.endswith(b'"'):
        begin = rest.index(b' "')
        return rest[:begin], rest[begin + 1 :]
    half = len(rest) // 2
    if (
        rest[half : half + 1] == b" "
        and rest[:half].partition(b"/")[2] == (rest[half + 1 :].partition(b"/")[2])
    ):
        return rest[:half], rest[half + 1 :]
    first, _, second = rest.partition(b" ")
    return first, second


def _closing(text: bytes) -> int:
    at = 1
    while at < len(text) and text[at : at + 1] != b'"':
        at += 2 if text[at : at + 1] == b"\\" else 1
    return at


def _plain_name(line: bytes, *, tabs: bool = True) -> bytes:
    """The name behind `--- ` or `+++ `; a date behind a tab is none of it."""
    name = line[4:].rstrip(b"\r") if tabs else line[4:]
    if name.startswith(b'"'):
        return name[: _closing(name) + 1]
    return name.partition(b"\t")[0]


def _path(name: bytes, prefix: bytes) -> str:
    """A name of the file system: quoting undone, without a/ or b/."""
    if name.startswith(b'"') and name.endswith(b'"') and len(name) > 1:
        name = re.sub(rb"\\([0-7]{3}|.)", _unescaped, name[1:-1])
    if prefix and name.startswith((b"a/", b"b/")):
        name = name[2:]
    return os.fsdecode(name)


def _unescaped(match: re.Match[bytes]) -> bytes:
    inner = match[1]
    return _ESCAPES.get(inner, inner) if len(inner) == 1 else bytes([int(inner, 8) & 255])


def _short(raw: bytes) -> str:
    return repr(raw[:60].decode("utf-8", "replace"))
