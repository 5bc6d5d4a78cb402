"""Some lines of a file that is too large to load: one pass, a few buffers of memory.

Lines are counted to the end as long as that takes a moment; of a giant the pass ends with the
last line that was asked for, and the total stays unknown. Line ends are those of textfile.py.
Must not hold more than the lines asked for, each cut at a width.
"""

from __future__ import annotations

import codecs
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from glmcode.base.files import Stopped, fault, open_regular
from glmcode.base.textfile import HEAD, BinaryFile, binary_kind, mark_of

COUNTED = 512 * 1024 * 1024
"""Up to this size the lines of a file are counted to its end."""

_CHUNK = 1 << 20
_LINE_END = re.compile(rb"\r\n|\n|\r")


@dataclass(frozen=True, slots=True, kw_only=True)
class BigFile:
    """The lines that were found; total is None when the file was not read to its end."""

    lines: list[str]
    total: int | None
    size: int


def scan(path: Path, first: int, wanted: int, width: int, stopped: Callable[[], bool]) -> BigFile:
    """Lines `first` (from 1) to first + wanted - 1, each cut at 4 * width bytes.

    Raises FileFault, BinaryFile, Stopped.
    """
    fd, status = open_regular(path)
    try:
        lines, total = _collect(fd, range(first, first + wanted), 4 * width, stopped, status)
    except OSError as error:
        raise fault(error) from error
    finally:
        os.close(fd)
    return BigFile(lines=[_text(line) for line in lines], total=total, size=status.st_size)


def _collect(
    fd: int, wanted: range, width: int, stopped: Callable[[], bool], status: os.stat_result
) -> tuple[list[bytes], int | None]:
    """The raw lines, and how many lines there are, if that was counted."""
    lines: list[bytes] = []
    number, carry, is_open = 0, b"", False
    for chunk in chunks(fd):
        if stopped():
            raise Stopped
        if status.st_size > COUNTED and number + 1 >= wanted.stop:
            return lines, None
        ends = chunk.count(b"\n") + chunk.count(b"\r") - chunk.count(b"\r\n")
        if number + ends + 1 < wanted.start or number + 1 >= wanted.stop:
            number += ends
            carry, is_open = b"", chunk[-1:] not in (b"\r", b"\n")
            continue
        *whole, last = _LINE_END.split(carry + chunk)
        for line in whole:
            number += 1
            if number in wanted:
                lines.append(line[:width])
        carry, is_open = last[:width], bool(last)
    if is_open:
        number += 1
        if number in wanted:
            lines.append(carry)
    return lines, number


def chunks(fd: int) -> Iterator[bytes]:
    """A file in pieces, without its mark, UTF-16 as UTF-8; none ends between \\r and \\n.

    Raises BinaryFile, OSError.
    """
    raw = os.read(fd, HEAD)
    kind = binary_kind(raw)
    if kind is not None:
        raise BinaryFile(kind)
    mark, encoding = mark_of(raw) or (b"", "utf-8")
    decoder = codecs.getincrementaldecoder(encoding)("replace")
    raw, held = raw[len(mark) :], b""
    while raw:
        chunk = held + (raw if encoding == "utf-8" else decoder.decode(raw).encode())
        held = b"\r" if chunk.endswith(b"\r") else b""
        if body := chunk.removesuffix(b"\r"):
            yield body
        raw = os.read(fd, _CHUNK)
    if held:
        yield held


def _text(line: bytes) -> str:
    """UTF-8, perhaps cut inside its last character, else latin-1."""
    try:
        return codecs.getincrementaldecoder("utf-8")().decode(line)
    except UnicodeDecodeError:
        return line.decode("latin-1")
