"""Files made ready for ripgrep, so that what it finds agrees with what Read shows.

ripgrep skips or mangles some files that Read can show: not UTF-8, UTF-16, a lone \\r as line end,
a stray NUL far inside, a name that is not UTF-8. Of such a file a UTF-8 copy is searched. Binary
files are told apart here, by the same test as everywhere. Runs in the search's own process;
must not know patterns.
"""

from __future__ import annotations

import codecs
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from glmcode.base.bigfile import chunks
from glmcode.base.files import FileFault, open_regular
from glmcode.base.textfile import BinaryFile, decode, normalised

WHOLE = 8 * 1024 * 1024
"""Files up to this many bytes are looked at in one piece."""

COPIED = 512 * 1024 * 1024
_LONE_CR = re.compile(rb"\r(?!\n)")
_NUL = "\N{SYMBOL FOR NULL}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Searchable:
    """A file to search: its own path relative to the root, and the path of what is searched."""

    name: str
    path: str
    size: int


@dataclass(slots=True)
class Preparer:
    """Makes files searchable; `scratch` is a folder for copies, made when there is one.

    needle: bytes that every match must hold, or None; a plain file without them is left out.
    binary, unreadable: how many files were passed over.
    """

    root: str
    scratch: Path
    needle: bytes | None = None
    binary: int = 0
    unreadable: int = 0
    _copies: list[Path] = field(default_factory=list)

    def prepare(self, name: str) -> Searchable | None:
        """The file, if it is text that can be read and may hold a match."""
        path = f"{self.root.rstrip('/')}/{name}"
        try:
            fd, status = open_regular(Path(path))
        except FileFault:
            self.unreadable += 1
            return None
        try:
            copy, wanted = self._copy(fd, status.st_size)
            if copy is None and wanted and not _speakable(path):
                copy = self._new()
                copy.symlink_to(path)
        except BinaryFile:
            self.binary += 1
            return None
        except OSError:
            self.unreadable += 1
            return None
        finally:
            os.close(fd)
        if not wanted:
            return None
        return Searchable(name=name, path=str(copy or path), size=status.st_size)

    def _copy(self, fd: int, size: int) -> tuple[Path | None, bool]:
        """The copy to search, if one is needed, and whether there is anything to search."""
        if size > WHOLE:
            return self._large(fd, size), True
        with os.fdopen(fd, "rb", buffering=0, closefd=False) as file:
            data = file.readall()
        copy = self._small(data)
        return copy, copy is not None or self.needle is None or self.needle in data

    def clear(self) -> None:
        """Remove the copies; they are searched batch by batch."""
        for copy in self._copies:
            copy.unlink(missing_ok=True)
        self._copies.clear()

    def _new(self) -> Path:
        self.scratch.mkdir(mode=0o700, exist_ok=True)
        copy = self.scratch / f"copy-{len(self._copies)}"
        self._copies.append(copy)
        return copy

    def _small(self, data: bytes) -> Path | None:
        """A copy in UTF-8 with plain line ends, or None when the file is so already."""
        text = decode(data)
        if text.encoding == "utf-8" and not text.mark and not _is_odd(data):
            return None
        copy = self._new()
        copy.write_bytes(_even(text.text))
        return copy

    def _large(self, fd: int, size: int) -> Path | None:
        """The same for a large file, in pieces; beyond COPIED bytes it is searched as it is."""
        encoding, odd = "utf-8", False
        decoder = codecs.getincrementaldecoder("utf-8")()
        for piece in chunks(fd):
            odd = odd or _is_odd(piece)
            try:
                decoder.decode(piece)
            except UnicodeDecodeError:
                encoding = "latin-1"
                break
        if size > COPIED or (encoding == "utf-8" and not odd):
            return None
        os.lseek(fd, 0, os.SEEK_SET)
        copy = self._new()
        reader = codecs.getincrementaldecoder(encoding)()
        with copy.open("wb") as file:
            for piece in chunks(fd):
                file.write(_even(reader.decode(piece)))
        return copy


def _speakable(path: str) -> bool:
    """Whether a path can be handed to ripgrep and told from its output."""
    return not any(char in "\n\r" or "\ud800" <= char <= "\udfff" for char in path)


def _is_odd(data: bytes) -> bool:
    """Whether bytes hold what ripgrep reads otherwise than Read: a NUL, a lone \\r."""
    return b"\0" in data or (b"\r" in data and _LONE_CR.search(data) is not None)


def _even(text: str) -> bytes:
    return normalised(text).replace("\0", _NUL).encode()
