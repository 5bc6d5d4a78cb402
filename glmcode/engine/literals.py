"""Control words in text that goes to a chat server: broken by a mark, so that they stay text.

A chat server renders messages into one string and reads control words out of it, wherever they
came from: a file that holds `<|user|>` could open a role, `</tool_response>` end a result. In
the protocol `tokens` that cannot happen (text is encoded without them); here one character is
put behind the first of each such word, which anybody can read past, and the model is told in
the message where it occurs. Pure.
"""

from __future__ import annotations

import re

from glmcode.glm.pieces import CONTROL_NAMES

MARK = "·"
NOTE = (
    f"\n[a {MARK} behind the first character of a word, as in <{MARK}|user|>, is a mark of "
    "glmcode: the text itself has none]"
)
THINK = ("<think>", "</think>")
_OTHERS = r"<\|[A-Za-z][\w-]{0,60}\|>"
"""Those of other models: a server may run any."""
_WORD = re.compile("|".join([*map(re.escape, CONTROL_NAMES), _OTHERS]))


def broken(text: str) -> str:
    """Text of a file, a command or a person: every control word broken, and said if any was."""
    made = _WORD.sub(_marked, text)
    return text if made == text else made + NOTE


def broken_own(text: str) -> str:
    """What the model wrote: the same without the note, and its `<think>` tags are its own."""
    return _WORD.sub(lambda m: m.group() if m.group() in THINK else _marked(m), text)


def _marked(match: re.Match[str]) -> str:
    word = match.group()
    return word[0] + MARK + word[1:]
