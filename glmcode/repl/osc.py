"""What is written to a terminal beside its text: the window's title and notifications.

Only to terminals that are known to read such sequences; where others would show them as letters,
nothing is written. In tmux and screen a notification is wrapped, so that it reaches the terminal
around them; a title is theirs. Texts are cleaned here and may hold anything. Pure: the environment
comes in. Must not write.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from glmcode.repl.clean import one_line

LONGEST = 200
KNOWN = (
    "alacritty", "contour", "foot", "ghostty", "gnome", "iterm", "kitty", "konsole", "mintty",
    "putty", "rio", "rxvt", "screen", "st", "tmux", "vte", "wezterm", "xterm",
)  # fmt: skip
"""First words of TERM; others are older than these sequences, or nobody knows."""


def reads_osc(environment: Mapping[str, str]) -> bool:
    """Whether a sequence that isn't known there is swallowed whole."""
    term = environment.get("TERM", "").lower()
    return re.split(r"[-.+]", term)[0] in KNOWN


def title(text: str) -> str:
    """Set the window's title."""
    return f"\x1b]2;{_clean(text)}\x07"


KEEP_TITLE = "\x1b[22;2t"
"""Ask the terminal to keep the title that it has, for a while."""
GIVE_TITLE_BACK = "\x1b]2;\x07\x1b[23;2t"
"""The title from before; none, where the terminal didn't keep it."""


def notification(kind: str, text: str, environment: Mapping[str, str]) -> str:
    """What makes the terminal notify in this way (`bell`, `osc9`, `osc777`); "" where it can't."""
    if kind == "bell":
        return "" if environment.get("TERM", "dumb") in ("", "dumb", "unknown") else "\a"
    if not reads_osc(environment):
        return ""
    said = _clean(text).replace(";", ",")
    sequence = f"\x1b]9;{said}\x07" if kind == "osc9" else f"\x1b]777;notify;glmcode;{said}\x07"
    if "TMUX" in environment:
        return f"\x1bPtmux;{sequence.replace(chr(27), chr(27) * 2)}\x1b\\"
    return f"\x1bP{sequence}\x1b\\" if "STY" in environment else sequence


def _clean(text: str) -> str:
    return one_line(text, LONGEST)
