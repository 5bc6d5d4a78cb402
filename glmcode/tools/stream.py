"""From the bytes of a running command to what the model reads and what the person sees.

Stream cleans and keeps; once the file is full, what can only be the middle of the output is
counted and dropped unseen, so that a gigabyte costs seconds and no memory. Live passes a
sample to the front end, at most ten times a second. Neither blocks nor raises.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from glmcode.tools.output import Kept
from glmcode.tools.plain import Plain

INTERVAL_S = 0.1
LIVE_BYTES = 1 << 13
"""The most that is shown live at a time: the end of what came."""
TAIL_BYTES = 1 << 18
"""Of bytes that are no longer saved, the end that is still looked at."""


class Stream:
    """The output of one command. `kept` may be replaced by `kept.renew()` between pieces."""

    def __init__(self, kept: Kept, size: int, output: Callable[[str], None] | None = None) -> None:
        self.kept = kept
        self._live = Live(output) if output is not None else None
        self._plain = Plain()
        self._unseen = bytearray()
        self._size = size

    def hear(self, data: bytes) -> None:
        """Take the next bytes."""
        if self._live is not None:
            self._live.hear(data)
        if self.kept.spill.saving or self.kept.characters <= 2 * self._size:
            self.kept.add(self._plain.feed(data))
            return
        self._unseen += data
        tail = max(TAIL_BYTES, 8 * self._size)
        if len(self._unseen) > 4 * tail:
            dropped = drop_front(self._unseen, tail)
            self.kept.skip(len(dropped), dropped.count(b"\n"))
            self._plain = Plain()

    def settle(self) -> None:
        """Bring everything heard so far into `kept`, an unfinished line too."""
        if self._unseen:
            self.kept.add(self._plain.feed(bytes(self._unseen)))
            self._unseen.clear()
        self.kept.add(self._plain.flush())

    def end(self) -> None:
        """No more will come: settle, close the file, show the rest."""
        self.settle()
        self.kept.add(self._plain.end())
        self.kept.spill.close()
        self.mute()

    def mute(self) -> None:
        """Show what is left, and nothing after it."""
        if self._live is not None:
            self._live.close()
            self._live = None


class Live:
    """Output for a person, as it comes but never in a flood."""

    def __init__(self, output: Callable[[str], None]) -> None:
        self._output = output
        self._loop = asyncio.get_running_loop()
        self._plain = Plain()
        self._waiting = bytearray()
        self._dropped = False
        self._shown_at = float("-inf")
        self._timer: asyncio.TimerHandle | None = None

    def hear(self, data: bytes) -> None:
        """Show now when nothing was shown for a while, else at the next beat."""
        self._waiting += data
        if len(self._waiting) > 2 * LIVE_BYTES:
            drop_front(self._waiting, LIVE_BYTES)
            self._plain = Plain()
            self._dropped = True
        if self._timer is None:
            wait_s = self._shown_at + INTERVAL_S - self._loop.time()
            if wait_s <= 0:
                self._show()
            else:
                self._timer = self._loop.call_later(wait_s, self._show)

    def close(self) -> None:
        """Show what waits; nothing is shown afterwards."""
        if self._timer is not None:
            self._timer.cancel()
        self._show()
        if rest := self._plain.end():
            self._output(rest)

    def _show(self) -> None:
        self._timer = None
        self._shown_at = self._loop.time()
        text = self._plain.feed(bytes(self._waiting)) + self._plain.flush()
        self._waiting.clear()
        if self._dropped:
            text, self._dropped = "\n[…]\n" + text, False
        if text:
            self._output(text)


def drop_front(data: bytearray, keep: int) -> bytes:
    """Cut all but about the last `keep` bytes off, at a line end or at least at a character."""
    cut = len(data) - keep
    line_end = data.find(b"\n", cut, cut + keep // 2)
    if line_end >= 0:
        cut = line_end + 1
    else:
        while cut < len(data) and 0x80 <= data[cut] < 0xC0:
            cut += 1
    dropped = bytes(data[:cut])
    del data[:cut]
    return dropped
