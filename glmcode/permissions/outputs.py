"""What is known of what a command prints: that it is a list of files, a number, the folder. Pure.

Such output can go on as words without becoming an option or a path to anywhere. Must not judge.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from glmcode.permissions.parts import Part
from glmcode.permissions.words import Word, unknown

_KEEPS_LINES = frozenset(("grep", "head", "tail", "sort", "uniq"))
_NUMBERS = (
    r"git (?:merge-base|rev-parse(?: --short(?:=\d+)?| --verify| --abbrev-ref)?) [\w/.@^~ -]+",
    r"git rev-list --count [\w/.@^~]+",
    r"nproc",
    r"date \+%[A-Za-z0-9%_:-]+",
    r"git branch --show-current",
    r"wc -[lcw]",
)
"""Commands that print one word that begins with a letter or a digit."""


def outcome_of(part: Part | None, raw: str) -> Word:
    """The word that the output of the last part of a substitution becomes, unquoted."""
    if part is None or not part.words:
        return unknown(raw)
    words = list(part.words)
    if part.name == "pwd" and len(part.folders) == 1 and len(words) == 1:
        text = str(part.folders[0])
        return Word(text=text, raw=raw, prefix=text, plain=False)
    if all(word.known for word in words):
        text = " ".join(word.text for word in words)
        if any(re.fullmatch(one, text) for one in _NUMBERS) and " --" not in text[20:]:
            return Word(text="", raw=raw, known=False, prefix="0", split=True)
    return unknown(raw, listed=lists_files(part))


def lists_files(part: Part) -> bool:
    """Whether what a part prints are files of the workspace (its roots are judged elsewhere)."""
    seen: Part | None = part
    while seen is not None and seen.feed is not None and seen.name in _KEEPS_LINES:
        seen = seen.feed
    if seen is None or not seen.words or not all(w.known or w.glob for w in seen.words):
        return False
    return _lists([word.text for word in seen.words])


def _lists(texts: Sequence[str]) -> bool:
    names = set(texts)
    short = any(re.fullmatch(r"-[a-zA-Z]*[lL]", text) for text in texts)
    match texts[0]:
        case "find":
            return not {"-printf", "-exec", "-execdir", "-fprintf", "-ls"} & names
        case "grep":
            return short or bool({"--files-with-matches", "--files-without-match"} & names)
        case "rg":
            return short or bool({"--files-with-matches", "--files"} & names)
        case "git" if len(texts) > 1:
            if texts[1] == "ls-files":
                return not {"-s", "--stage", "--format", "-u", "--eol"} & names
            if texts[1] == "grep":
                return short or bool({"--files-with-matches", "--name-only"} & names)
            return texts[1] == "diff" and "--name-only" in names
    return False
