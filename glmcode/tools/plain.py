"""What a command printed, as plain text: bytes of a terminal in, harmless lines out.

Decoded as UTF-8 (what is not becomes U+FFFD), escape sequences removed, a progress bar
reduced to its last state (`\\r`, backspace), other control characters shown as their pictures
(NUL becomes U+2400), so that neither a model nor a person's terminal can be driven by it, and
so that Read never takes the saved output for a binary file. Works on any split of the
bytes, in linear time and flat memory. This module must not cut or bound the text.
"""

from __future__ import annotations

import codecs
import re

LONGEST_LINE = 1 << 16
"""Characters of an unfinished line that are held back for a carriage return."""
LONGEST_ESCAPE = 1 << 12

_SPECIAL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_COLUMN_ONE = re.compile("\x1b\\[[01]?G")
_ESCAPE = re.compile(
    "\x1b(?:\\[[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor
    "|[\\]PX^_][^\x07\x1b\n]*(?:\x07|\x1b\\\\)"  # OSC and other strings: titles, links, clipboard
    "|[ -/]+[0-~]|[0-OQ-WYZ\\\\`-~])"
)
_UNFINISHED = re.compile("\x1b(?:\\[[0-?]*[ -/]*|[\\]PX^_][^\x07\x1b\n]*\x1b?|[ -/]*)\\Z")
_C1 = re.compile("[\x80-\x9f]")
_PICTURES = {chr(code): chr(0x2400 + code) for code in range(32) if chr(code) not in "\t\n\r\b\x1b"}
_PICTURES |= {"\x7f": "\u2421", "\x07": ""}


class Plain:
    """One stream of output. `feed` returns whole lines; the last, unfinished one is held."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._escape = ""
        self._line = ""
        self._told = ""

    def feed(self, data: bytes) -> str:
        """Take the next bytes; the text that can no longer change."""
        return self._settle(self._harmless(self._decoder.decode(data)))

    def flush(self) -> str:
        """Also the unfinished line, as it stands; half characters and sequences stay back."""
        line, self._line = self._line, ""
        self._told = line[-1:] or self._told
        return _last_state(line)

    def end(self) -> str:
        """All that is left, at the end of the stream."""
        text = self._decoder.decode(b"", final=True)
        settled = self._settle(self._harmless(text))
        rest, self._escape = self._escape, ""
        if rest[1:2] in tuple("]PX^_"):
            settled += self._settle(self._harmless(rest.replace("\x1b", "")))
        return settled + self.flush()

    def _harmless(self, text: str) -> str:
        """Without escape sequences and control characters, but for `\\t\\n\\r\\b`."""
        if self._escape:
            text, self._escape = self._escape + text, ""
        if not _SPECIAL.search(text):
            return text
        if "\x1b" in text:
            unfinished = _UNFINISHED.search(text, max(0, len(text) - LONGEST_ESCAPE))
            if unfinished is not None:
                text, self._escape = text[: unfinished.start()], unfinished.group()
            text = _ESCAPE.sub("", _COLUMN_ONE.sub("\r", text)).replace("\x1b", "")
        for character, picture in _PICTURES.items():
            if character in text:
                text = text.replace(character, picture)
        return text if text.isascii() else _C1.sub("\ufffd", text)

    def _settle(self, text: str) -> str:
        """Whole lines in their last state; the unfinished line waits."""
        if self._told and text:
            # The line so far was flushed: what would overwrite it goes on a line of its own.
            rest = text.lstrip("\r\b")
            if (self._told == "\r" or rest != text) and rest[:1] != "\n":
                text = "\n" + rest
            self._told = ""
        if self._line:
            text = self._line + text
        end = text.rfind("\n") + 1
        lines, self._line = text[:end], text[end:]
        lines = lines.replace("\r\n", "\n")
        if "\r" in lines or "\b" in lines:
            lines = "\n".join(_last_state(line) for line in lines.split("\n"))
        if len(self._line) > LONGEST_LINE:
            lines += self.flush()
        return lines


def _last_state(line: str) -> str:
    """What is left of one line after its carriage returns and backspaces."""
    if "\r" in line:
        line = line.rstrip("\r").rpartition("\r")[2]
    if "\b" not in line:
        return line
    kept: list[str] = []
    for character in line:
        if character != "\b":
            kept.append(character)
        elif kept:
            kept.pop()
    return "".join(kept)
