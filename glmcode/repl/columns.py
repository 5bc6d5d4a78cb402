"""How many columns a text takes, and cutting it to so many: wide characters take two. Pure."""

from __future__ import annotations

from prompt_toolkit.utils import get_cwidth

MORE = "…"


def columns(text: str) -> int:
    """The columns that a text of one line takes."""
    return len(text) if text.isascii() else get_cwidth(text)


def cut(text: str, width: int) -> str:
    """The text, or its beginning and a mark, in at most `width` columns."""
    if columns(text) <= width:
        return text
    taken = ""
    used = 1
    for character in text:
        used += get_cwidth(character)
        if used > width:
            break
        taken += character
    return taken + MORE if width > 0 else ""


def cut_path(path: str, width: int) -> str:
    """The path, or a mark and as many of its last parts as fit `width` columns."""
    if columns(path) <= width:
        return path
    parts = path.split("/")
    for first in range(1, len(parts)):
        shown = "/".join([MORE, *parts[first:]])
        if columns(shown) <= width:
            return shown
    return cut(parts[-1], width)
