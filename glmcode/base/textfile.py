"""Bytes to text and back without losing one: encoding, byte order mark, line ends.

A byte order mark decides the encoding, else strict UTF-8, else latin-1, which maps every byte
to one character and back; so `encode(text, text.text)` always gives the bytes that were
decoded. Line ends stay in the text as they stand in the file. Only \\n, \\r\\n and a lone \\r end
a line: str.splitlines also cuts at form feeds and U+2028, and line numbers would be wrong.
This module must not open files.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass

HEAD = 65_536
"""How many bytes at the start of a file decide whether it is text."""

_MARKS = (
    (b"\xff\xfe\x00\x00", "utf-32-le"),
    (b"\x00\x00\xfe\xff", "utf-32-be"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
    (b"\xef\xbb\xbf", "utf-8"),
)
_ALWAYS_BINARY = (
    (b"\x89PNG\r\n\x1a\n", "PNG image"),
    (b"\xff\xd8\xff", "JPEG image"),
    (b"GIF87a", "GIF image"),
    (b"GIF89a", "GIF image"),
    (b"%PDF-", "PDF document"),
    (b"PK\x03\x04", "zip archive (or an office document, a wheel, a jar)"),
    (b"\x1f\x8b", "gzip archive"),
    (b"\xfd7zXZ\x00", "xz archive"),
    (b"(\xb5/\xfd", "zstandard archive"),
    (b"7z\xbc\xaf'\x1c", "7z archive"),
    (b"\x7fELF", "ELF program or library"),
    (b"\xca\xfe\xba\xbe", "Java class or Mach-O program"),
    (b"\xcf\xfa\xed\xfe", "Mach-O program or library"),
    (b"SQLite format 3\x00", "SQLite database"),
    (b"\x00asm", "WebAssembly module"),
)
_BINARY_WITH_NUL = (
    (b"BZh", "bzip2 archive"),
    (b"RIFF", "RIFF media file"),
    (b"OggS", "Ogg media file"),
    (b"ID3", "MP3 audio"),
    (b"BM", "BMP image"),
    (b"MZ", "Windows program or library"),
    (b"wOF2", "font"),
    (b"II*\x00", "TIFF image"),
    (b"MM\x00*", "TIFF image"),
)
_CONTROL = bytes([*range(0x08), *range(0x0E, 0x1B), *range(0x1C, 0x20), 0x7F])
_LINE_END = re.compile(r"\r\n|\n|\r")


class BinaryFile(Exception):
    """The bytes are not text; the message says what they look like."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """The content of a text file: its text with the line ends it has, and how it was encoded.

    guessed: no byte order mark, not UTF-8; the characters above ASCII merely stand for bytes.
    """

    text: str
    encoding: str = "utf-8"
    mark: bytes = b""

    @property
    def guessed(self) -> bool:
        """True when nothing says how the bytes are to be read."""
        return self.encoding == "latin-1"


def mark_of(head: bytes) -> tuple[bytes, str] | None:
    """The byte order mark at the start of a file and the encoding it stands for."""
    return next(((mark, name) for mark, name in _MARKS if head.startswith(mark)), None)


def binary_kind(head: bytes) -> str | None:
    """What a file of bytes is, from its first HEAD bytes; None for text."""
    for magic, kind in _ALWAYS_BINARY:
        if head.startswith(magic):
            return kind
    mark = mark_of(head)
    if mark is not None and mark[1] != "utf-8":
        return None
    if b"\x00" in head:
        return next((kind for magic, kind in _BINARY_WITH_NUL if head.startswith(magic)), "data")
    return None if _may_be_text(head) else "data"


def _may_be_text(head: bytes) -> bool:
    """UTF-8 (perhaps cut inside a character), or bytes with few control characters."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        controls = len(head) - len(head.translate(None, _CONTROL))
        return controls * 10 <= len(head)
    return True


def decode(data: bytes) -> Text:
    """The text of a file. Raises BinaryFile; never loses a byte (see encode)."""
    kind = binary_kind(data[:HEAD])
    if kind is not None:
        raise BinaryFile(kind)
    mark, encoding = mark_of(data) or (b"", "utf-8")
    body = data[len(mark) :]
    try:
        return Text(text=body.decode(encoding), encoding=encoding, mark=mark)
    except UnicodeDecodeError as error:
        if encoding != "utf-8":
            raise BinaryFile(f"text in damaged {encoding.upper()}") from error
    return Text(text=body.decode("latin-1"), encoding="latin-1", mark=mark)


def encode(like: Text, text: str) -> bytes:
    """`text` as bytes in the encoding of `like`, its mark first. Raises UnicodeEncodeError."""
    return like.mark + text.encode(like.encoding)


def split_lines(text: str) -> list[str]:
    """The lines of a text without their ends; a line end at the end opens no further line."""
    if "\r" in text:
        text = normalised(text)
    lines = text.split("\n")
    if not lines[-1]:
        lines.pop()
    return lines


def lines_with_ends(text: str) -> list[str]:
    """The lines of a text, each with its own end."""
    lines, start = [], 0
    for match in _LINE_END.finditer(text):
        lines.append(text[start : match.end()])
        start = match.end()
    if start < len(text):
        lines.append(text[start:])
    return lines


def normalised(text: str) -> str:
    """The text with every line end written as \\n."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def line_count(text: str) -> int:
    """How many lines a text has, as split_lines counts."""
    ends = text.count("\n") + text.count("\r") - text.count("\r\n")
    return ends if not text or text[-1] in "\r\n" else ends + 1


def only_line_end(text: str) -> str | None:
    """The one kind of line end a text uses; None when it has none or several."""
    crlf = text.count("\r\n")
    kinds = {"\r\n": crlf, "\n": text.count("\n") - crlf, "\r": text.count("\r") - crlf}
    used = [kind for kind, count in kinds.items() if count]
    return used[0] if len(used) == 1 else None


def common_head(a: str, b: str) -> int:
    """How many characters two texts share at their start."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def common_tail(a: str, b: str, limit: int) -> int:
    """How many characters two texts share at their end, at most `limit`."""
    low, high = 0, max(0, limit)
    while low < high:
        middle = (low + high + 1) // 2
        if a[len(a) - middle : len(a) - low] == b[len(b) - middle : len(b) - low]:
            low = middle
        else:
            high = middle - 1
    return low
