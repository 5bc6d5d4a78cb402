"""The clipboard through the terminal (OSC 52): what to write, and where it won't arrive.

Works over SSH, as the terminal itself holds the clipboard. Nobody answers whether it did, so what
is known of the terminal is said. Pure: the environment comes in. Must not read a clipboard.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping

LONG = 75_000
"""Bytes of base64 above which some terminals drop it."""
_CANNOT = ("linux", "dumb", "unknown", "vt100", "vt220", "")


def osc52(text: str, environment: Mapping[str, str]) -> tuple[str, str]:
    """What to write (or "" where the terminal can't), and what is to be said of it."""
    term = environment.get("TERM", "")
    if term in _CANNOT or environment.get("TERM_PROGRAM") == "Apple_Terminal":
        return "", "this terminal has no way to its clipboard (OSC 52): /export writes a file"
    coded = base64.b64encode(text.encode("utf-8", "replace")).decode()
    sequence = f"\x1b]52;c;{coded}\x07"
    told = "if it does not arrive, this terminal refuses OSC 52"
    if "TMUX" in environment:
        told = "tmux passes it on with `set -s set-clipboard on`"
    elif "STY" in environment:
        sequence = f"\x1bP{sequence}\x1b\\"
    if len(coded) > LONG:
        told = f"it is long, and some terminals drop what is; {told}"
    return sequence, told
