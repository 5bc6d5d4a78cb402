"""What the fields of a session file must be: each is looked at once, when it is read.

A file may come from anywhere (a disk that failed, an editor, another program), and a value of
another kind would surface far away, in the middle of a turn. Values in, the same values out;
TypeError says what is wrong, and the fold turns it into a sentence with the line's number.
Must not repair anything.
"""

from __future__ import annotations

from typing import Any


def text(value: Any) -> str:
    """A string. Raises TypeError."""
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.40} is no text")
    return value


def maybe_text(value: Any) -> str | None:
    """A string, or None. Raises TypeError."""
    return None if value is None else text(value)


def todos(value: Any) -> list[dict[str, str]]:
    """A todo list as the tool keeps it. Raises TypeError, KeyError."""
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise TypeError(f"{value!r:.40} is no todo list")
    for one in value:
        text(one["content"]), text(one["status"])
    return value


def hashes(value: Any) -> dict[str, str | None]:
    """path -> sha256 hex, or None for a file that is not known any more. Raises TypeError."""
    if not isinstance(value, dict):
        raise TypeError(f"{value!r:.40} is no object of files")
    return {path: maybe_text(digest) for path, digest in value.items()}


def mapping(value: Any) -> dict[str, Any]:
    """A JSON object. Raises TypeError."""
    if not isinstance(value, dict):
        raise TypeError(f"{value!r:.40} is no object")
    return value
