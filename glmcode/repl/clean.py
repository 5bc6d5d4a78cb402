"""Makes text from files, commands and the model harmless before it reaches a terminal.

Whatever such text holds, it must not move the cursor, set the clipboard, change the title
or reorder what a person reads (bidirectional overrides). `visible` replaces each such
character by a sign that shows it; `plain_output` first removes the colour sequences that
commands print. All that any front end prints on a terminal passes one of them: the REPL, the
notes of headless runs, the demo, and the commands, whose standard output may also be a file
(`for_terminal`). Nothing here adds escapes.
"""

from __future__ import annotations

import os
import re

_DANGEROUS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    "\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)
"""C0 (but tab and newline), DEL, C1, bidi marks and overrides, invisible format characters,
line separators, lone surrogates, tag characters. Joiners stay: emoji and scripts need them."""

_SEQUENCE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c\n]*(?:\x07|\x1b\\|\x9c)?"
    r"|\x1b[ -/]*[0-~]"
)


_IN_JSON = re.compile(
    "[\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f]"
)
"""What json.dumps leaves in a string of the above; lone surrogates are its writer's matter."""


def visible(text: str) -> str:
    """The text with every character that could act on a terminal shown as a sign."""
    if not _DANGEROUS.search(text):
        return text
    return _DANGEROUS.sub(_sign, text.replace("\r\n", "\n"))


def plain_output(text: str) -> str:
    """What a command printed: sequences removed, overwritten lines dropped, the rest visible.

    A carriage return inside a line starts it anew, as a progress bar means it.
    """
    if "\x1b" in text or _DANGEROUS.search(text):
        text = _SEQUENCE.sub("", text).replace("\a", "")
        text = "\n".join(_overwritten(line) for line in text.split("\n"))
    return visible(text)


def one_line(text: str, limit: int = 200) -> str:
    """Text as one visible line of at most `limit` characters, cut with an ellipsis."""
    line = visible(text.strip()).replace("\n", " ⏎ ").replace("\t", " ")
    return line if len(line) <= limit else line[: max(0, limit - 1)] + "…"


def for_terminal(text: str, descriptor: int = 1) -> str:
    """The text as it is for a file or a pipe, and made visible for a terminal."""
    try:
        return visible(text) if os.isatty(descriptor) else text
    except OSError:
        return text


def escaped(text: str) -> str:
    """JSON text in which what acts on a terminal is written as \\uXXXX: the same value."""
    if not _DANGEROUS.search(text):
        return text
    return _IN_JSON.sub(lambda match: _json_escape(match.group()), text)


def _json_escape(character: str) -> str:
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))


def _overwritten(line: str) -> str:
    return line.rstrip("\r").rsplit("\r", 1)[-1]


def _sign(match: re.Match[str]) -> str:
    code = ord(match.group())
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "␡"
    if 0xD800 <= code <= 0xDFFF:
        return "\N{REPLACEMENT CHARACTER}"
    return f"<U+{code:04X}>"
