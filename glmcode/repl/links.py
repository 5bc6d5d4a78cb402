"""File paths that can be clicked (OSC 8): where they lead, and which terminals have them.

A path leads to its file on this machine by name, so that a terminal of another machine doesn't
open a file of its own. Every byte of a path but letters, digits and a few signs is written as %XX,
so no path can end the sequence or begin another. Pure: the environment comes in. Must not look at
the disk, and must not write.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from glmcode.repl.osc import reads_osc

LONGEST = 2_000
"""Characters of an address above which terminals drop it."""
PROGRAMS = ("iterm.app", "wezterm", "vscode", "ghostty", "hyper", "rio", "tabby", "mintty")
TERMS = ("xterm-kitty", "xterm-ghostty", "foot", "alacritty", "contour", "wezterm")
MARKS = ("KITTY_WINDOW_ID", "WT_SESSION", "DOMTERM", "WEZTERM_PANE")
SINCE = {"VTE_VERSION": 5_000, "KONSOLE_VERSION": 201_200}
TMUX_SINCE = (3, 4)


class Linked(str):
    """A text that is shown as it is and leads to an address."""

    __slots__ = ("address",)
    address: str

    def __new__(cls, text: str, address: str) -> Linked:
        """address: a whole URI; "": none."""
        made = super().__new__(cls, text)
        made.address = address
        return made


@dataclass(frozen=True, slots=True)
class Links:
    """host: this machine's name. folder: what relative paths begin at."""

    host: str
    folder: Path

    def file(self, text: str, path: str) -> Linked:
        """The text, leading to a file."""
        return Linked(text, self._address(path))

    def _address(self, path: str) -> str:
        if not path or path.startswith("~"):
            return ""
        whole = os.path.normpath(self.folder / path)
        name = whole.encode("utf-8", "surrogateescape" if _is_bytes(whole) else "replace")
        address = f"file://{quote(self.host, safe='')}{quote(name)}"
        return address if len(address) <= LONGEST else ""


def links_wanted(setting: str, environment: Mapping[str, str]) -> bool:
    """Whether paths are to be links: `off`, `on`, or `auto`: where they are known to work.

    Never where no colours are wanted, nor where the sequence would be shown as letters.
    """
    if setting == "off" or environment.get("NO_COLOR") or not reads_osc(environment):
        return False
    return setting == "on" or _has_links(environment)


def _has_links(environment: Mapping[str, str]) -> bool:
    program = environment.get("TERM_PROGRAM", "").lower()
    if "TMUX" in environment:
        version = re.match(r"(\d+)\.(\d+)", environment.get("TERM_PROGRAM_VERSION", ""))
        is_new = version is not None and (int(version[1]), int(version[2])) >= TMUX_SINCE
        return program == "tmux" and is_new
    if "STY" in environment:
        return False
    term = environment.get("TERM", "").lower()
    since = any(_number(environment.get(name, "")) >= least for name, least in SINCE.items())
    marked = any(name in environment for name in MARKS)
    return program in PROGRAMS or term.startswith(TERMS) or since or marked


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() else -1


def _is_bytes(path: str) -> bool:
    """Whether what is no Unicode in a path stands for bytes of a file's name."""
    try:
        path.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True
