"""Bytes to text while they stream, never half a character.

The tokens of one character arrive one by one, so what is shown waits for its last byte.
Bytes that are no UTF-8 become U+FFFD, for display only: values of tool calls are never
read through this.
"""

from __future__ import annotations

import codecs

_new_decoder = codecs.getincrementaldecoder("utf-8")


class Utf8Stream:
    """Decode one stream of bytes, piece by piece."""

    __slots__ = ("_decoder",)

    def __init__(self) -> None:
        self._decoder = _new_decoder("replace")

    def feed(self, data: bytes) -> str:
        """The text that is complete now; an unfinished character waits."""
        return self._decoder.decode(data)

    def flush(self) -> str:
        """The end of the stream: an unfinished character comes as U+FFFD."""
        rest = self._decoder.decode(b"", True)
        self._decoder.reset()
        return rest

    @property
    def waiting(self) -> int:
        """How many bytes of an unfinished character wait for the rest."""
        return len(self._decoder.getstate()[0])
