"""What the terminal sends, as prompt_toolkit's keys: the ways to say Shift-Enter, and long pastes.

Terminals that tell Shift-Enter from Enter send one of a few sequences; they are not asked to,
because the protocols that ask change other keys as well and survive a kill. What a terminal
answers to a question of another program, too late, is no typing. Must not know what a key does.
"""

from __future__ import annotations

import re
from typing import TextIO

from prompt_toolkit.input.ansi_escape_sequences import ANSI_SEQUENCES
from prompt_toolkit.input.vt100 import Vt100Input
from prompt_toolkit.input.vt100_parser import Vt100Parser
from prompt_toolkit.key_binding import KeyPress
from prompt_toolkit.keys import Keys

BREAKS_LINE = (Keys.Escape, Keys.ControlM)
"""Alt-Enter, as which all of them arrive."""
INTERRUPT = "\x03"
_BEGIN, _END = "\x1b[200~", "\x1b[201~"
_REPLY = re.compile(r"\x1b\]\d+;[^\x07\x1b]*(?:\x07|\x1b\\)|\x1bP[^\x07\x1b]*\x1b\\")
"""What a terminal answers to whoever asked for a colour or a setting: an editor before it left.
Its end may be Ctrl-G's character."""
_LOCKS = (0, 64, 128, 192)
"""What CapsLock and NumLock add to the modifiers."""


class Incoming(Vt100Input):
    """Keys from a terminal."""

    def __init__(self, stdin: TextIO) -> None:
        """stdin: a text file with a descriptor."""
        super().__init__(stdin)
        _learn()
        self.vt100_parser = _Parser(self.vt100_parser.feed_key_callback)


class _Parser(Vt100Parser):
    """Takes a paste of any length in the time that its length asks for: prompt_toolkit's own looks
    through all of it for each kilobyte more."""

    def reset(self, request: bool = False) -> None:
        self._pieces: list[str] = []
        super().reset(request)

    def feed(self, data: str) -> None:
        if not self._in_bracketed_paste:
            typed, begin, pasted = data.partition(_BEGIN)
            super().feed(f"{_REPLY.sub('', typed)}{begin}{pasted}")
            return
        if data == INTERRUPT:  # a paste whose end got lost must not take the keys for good
            data = _END + INTERRUPT
        before = self._pieces.pop() if self._pieces else ""
        joined = before + data
        at = joined.find(_END)
        if at < 0:
            keep = len(joined) - len(_END) + 1
            self._pieces += [joined[:keep], joined[keep:]] if keep > 0 else [joined]
            return
        pasted = "".join([*self._pieces, joined[:at]])
        self._pieces, self._in_bracketed_paste = [], False
        self.feed_key_callback(KeyPress(Keys.BracketedPaste, pasted))
        self.feed(joined[at + len(_END) :])


def _learn() -> None:
    """Enter with modifiers, in xterm's way (modifyOtherKeys) and in that of CSI u (kitty)."""
    for modifiers in range(16):
        keys = BREAKS_LINE if modifiers else Keys.ControlM
        ANSI_SEQUENCES[f"\x1b[27;{modifiers + 1};13~"] = keys
        for locks in _LOCKS:
            ANSI_SEQUENCES[f"\x1b[13;{modifiers + locks + 1}u"] = keys
    ANSI_SEQUENCES["\x1b[13u"] = ANSI_SEQUENCES["\x1bOM"] = Keys.ControlM
