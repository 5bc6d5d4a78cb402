"""The one table of style names and colours, for everything that is painted on a terminal.

`dark` and `light` name colours that are readable on the usual backgrounds of their kind (a test
computes the contrast of every pair); `ansi` leaves them to the terminal's own sixteen, which is
all that fits a background nobody knows. The background is read from hints in the environment:
a terminal that is asked for it answers into the input, or into the next shell. Styles are
written as rich reads them; `toolkit` says the same for prompt_toolkit. Must not import either.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

Depth: TypeAlias = Literal["none", "16", "256", "truecolor"]

_PLAIN = {"": "none", "plain": "none", "bold": "bold", "tool": "bold", "markdown.item": "none"}
_ANSI = {
    **_PLAIN,
    "dim": "dim",
    "status": "bright_black",
    "reasoning": "dim italic",
    "person": "bold cyan",
    "bullet": "green",
    "error": "red",
    "warning": "yellow",
    "good": "green",
    "hunk": "cyan dim",
    "key": "bold cyan",
    "diff.add": "green",
    "diff.remove": "red",
    "diff.add.word": "green reverse",
    "diff.remove.word": "red reverse",
    "code.comment": "dim",
    "code.keyword": "magenta",
    "code.string": "green",
    "code.number": "cyan",
    "code.function": "bright_blue",
    "code.class": "yellow",
    "code.builtin": "cyan",
    "code.tag": "magenta",
    "code.error": "red underline",
    "markdown.code": "cyan",
    "markdown.quote": "dim",
    "markdown.mark": "cyan",
}
_DARK = {
    **_PLAIN,
    "dim": "#a3a9b3",
    "status": "#a3a9b3",
    "reasoning": "italic #a3a9b3",
    "person": "bold #7fd7ff",
    "bullet": "#87d787",
    "error": "#ff9e9e",
    "warning": "#f0c674",
    "good": "#87d787",
    "hunk": "#8ab8d8",
    "key": "bold #7fd7ff",
    "diff.add": "#b5f0b5 on #12301a",
    "diff.remove": "#ffc4c4 on #3a1a1f",
    "diff.add.word": "#ffffff on #005f00",
    "diff.remove.word": "#ffffff on #870000",
    "code.comment": "italic #a8aeb8",
    "code.keyword": "#cba6ff",
    "code.string": "#a8d88a",
    "code.number": "#f5b58a",
    "code.function": "#82c4ff",
    "code.class": "#f0d080",
    "code.builtin": "#7fd8d8",
    "code.tag": "#cba6ff",
    "code.error": "#ff9e9e underline",
    "markdown.code": "#7fd8d8",
    "markdown.quote": "#a3a9b3",
    "markdown.mark": "#7fd7ff",
}
_LIGHT = {
    **_PLAIN,
    "dim": "#585f6b",
    "status": "#585f6b",
    "reasoning": "italic #585f6b",
    "person": "bold #005f87",
    "bullet": "#1f6f2a",
    "error": "#b3211d",
    "warning": "#7a5200",
    "good": "#1f6f2a",
    "hunk": "#2a5f86",
    "key": "bold #005f87",
    "diff.add": "#0f4a1e on #d7ffd7",
    "diff.remove": "#6e1414 on #ffe1e1",
    "diff.add.word": "#0a3514 on #87ff87",
    "diff.remove.word": "#4a0a0a on #ffafaf",
    "code.comment": "italic #585f6b",
    "code.keyword": "#5f2a96",
    "code.string": "#1f6a2a",
    "code.number": "#6f3500",
    "code.function": "#1a5a96",
    "code.class": "#704a00",
    "code.builtin": "#006064",
    "code.tag": "#5f2a96",
    "code.error": "#a51b18 underline",
    "markdown.code": "#006064",
    "markdown.quote": "#585f6b",
    "markdown.mark": "#005f87",
}
_MONO = {
    **dict.fromkeys(_ANSI, "none"),
    **_PLAIN,
    "dim": "dim",
    "status": "dim",
    "reasoning": "dim italic",
    "person": "bold",
    "error": "bold",
    "warning": "bold",
    "key": "bold",
    "diff.add.word": "underline",
    "diff.remove.word": "underline",
    "code.comment": "dim",
    "markdown.code": "bold",
    "markdown.quote": "dim",
}
_TABLES = {"dark": _DARK, "light": _LIGHT, "ansi": _ANSI}
_AT_256 = {
    "dark": {"diff.add": "#afffaf", "diff.remove": "#ffafaf"},
    "light": {"diff.remove": "#5f0000 on #ffd7d7"},
}
"""Where the nearest of 256 colours would be another one: too bright to read upon."""


@dataclass(frozen=True, slots=True, eq=False)
class Theme:
    """name: as a person chose it. depth: the colours that the terminal has. styles: all names."""

    name: str
    depth: Depth
    styles: Mapping[str, str]


def theme_of(name: str, environment: Mapping[str, str]) -> Theme:
    """The theme of that name (one of settings.THEMES) as this terminal can show it.

    `auto` is dark or light where a hint says which, else ansi. Without colours there are only
    bold and the like; with sixteen, no theme can name its own.
    """
    depth = depth_of(environment)
    table = (background_of(environment) or "ansi") if name == "auto" else name
    if depth == "none":
        return Theme(name, depth, _MONO)
    if depth == "16":
        return Theme(name, depth, _ANSI)
    changed = _AT_256.get(table, {}) if depth == "256" else {}
    return Theme(name, depth, {**_TABLES[table], **changed})


def depth_of(environment: Mapping[str, str]) -> Depth:
    """How many colours may be used: NO_COLOR first, then what TERM and COLORTERM promise."""
    term = environment.get("TERM", "").lower()
    if environment.get("NO_COLOR") or term in ("", "dumb", "unknown", "vt100", "vt220"):
        return "none"
    if environment.get("COLORTERM", "").lower() in ("truecolor", "24bit"):
        return "truecolor"
    if term.endswith("-direct"):
        return "truecolor"
    many = ("256color", "kitty", "ghostty", "alacritty", "foot", "wezterm")
    return "256" if any(word in term for word in many) else "16"


def background_of(environment: Mapping[str, str]) -> Literal["dark", "light"] | None:
    """What COLORFGBG ("0;15", "15;default;0") says of the background; None: nobody knows."""
    last = environment.get("COLORFGBG", "").rpartition(";")[2]
    if not (last.isascii() and last.isdecimal() and int(last) < 16):
        return None
    return "light" if int(last) in (7, *range(9, 16)) else "dark"


def toolkit(style: str) -> str:
    """A style of the table in prompt_toolkit's words. Old ones don't know dim: then it is grey."""
    words: list[str] = []
    on = ""
    for word in style.split():
        if word == "on":
            on = "bg:"
        elif word in ("bold", "italic", "underline", "reverse"):
            words.append(word)
        elif word not in ("none", "dim"):
            colour = word if word.startswith("#") else "ansi" + word.replace("_", "")
            words.append(on + colour)
            on = ""
    grey = "dim" in style.split() and not any("ansi" in word for word in words)
    return " ".join(["ansibrightblack", *words] if grey else words)
