"""Text as servers cut it: surrogates and bytes that two pieces share, made whole again.

A JSON string may hold half of a pair (`\\ud83d`), or, read with surrogateescape, half of a
UTF-8 character; the other half stands in the next piece. Nothing here may raise.
"""

from __future__ import annotations

import re

_SURROGATE = re.compile("[\ud800-\udfff]")
_OPEN_TAIL = re.compile("(?:[\ud800-\udbff]|[\udc80-\udcff]{1,3})$")


def is_clean(text: str) -> bool:
    """Whether the text is Unicode that can be written as UTF-8."""
    return _SURROGATE.search(text) is None


def joined(text: str) -> str:
    """Halves that stand side by side become one character; lone ones stay as they are."""
    if is_clean(text):
        return text
    paired = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
    return re.sub("[\udc80-\udcff]+", _from_bytes, paired)


def _from_bytes(match: re.Match[str]) -> str:
    raw = match.group().encode("utf-8", "surrogateescape")
    return raw.decode("utf-8", "surrogateescape")


def mended(text: str) -> str:
    """Joined, and what is still alone is replaced by U+FFFD."""
    return _SURROGATE.sub("\ufffd", joined(text))


class Mender:
    """Mends a stream of pieces; holds back half a character until the next piece."""

    def __init__(self) -> None:
        self._held = ""

    def feed(self, piece: str) -> str:
        """The text that can be shown now."""
        text = self._held + piece
        self._held = ""
        if is_clean(text):
            return text
        text = joined(text)
        if match := _OPEN_TAIL.search(text):
            self._held = match.group()
            text = text[: match.start()]
        return mended(text)

    def close(self) -> str:
        """What was held back and never completed."""
        text, self._held = mended(self._held), ""
        return text
