"""What is known of what a command prints: that it is a list of files, a number, the folder. Pure.

Such output can go on as words without becoming an option or a path to anywhere. Must not judge.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from glmcode.permissions.parts import Part
from glmcode.permissions.words import Word, unknown

_KEEPS_LINES = frozenset(("grep", "head", "tail", "sort", "uniq"))
_REPOSITORY = ("GIT_DIR", "GIT_WORK_TREE", "GIT_CEILING_DIRECTORIES", "GIT_CONFIG_COUNT")
_REV = r"[\w/.@^~]+(?:-[\w/.@^~]+)*"
_NUMBERS = (
    rf"git rev-parse(?: --short(?:=\d+)?| --verify| --abbrev-ref)* {_REV}",
    rf"git merge-base {_REV} {_REV}",
    rf"git rev-list --count {_REV}",
    r"nproc",
    r"date \+(?:%[YmdHMSjsFTyu][0-9_:-]?)+",
    r"git branch --show-current",
    r"wc -[lcw]",
)
"""Commands that print one word that begins with a letter or a digit, or nothing."""


def outcome_of(part: Part | None, raw: str) -> Word:
    """The word that the output of the last part of a substitution becomes, unquoted."""
    if part is None or not part.words:
        return unknown(raw)
    words = list(part.words)
    if part.name == "pwd" and len(part.folders) == 1 and len(words) == 1:
        text = str(part.folders[0])
        return Word(text=text, raw=raw, prefix=text, plain=False)
    if [word.text for word in words] == ["git", "rev-parse", "--show-toplevel"]:
        return _toplevel(part, raw)
    if all(word.known for word in words):
        text = " ".join(word.text for word in words)
        if any(re.fullmatch(one, text) for one in _NUMBERS):
            return Word(text="", raw=raw, known=False, prefix="0")
    return unknown(raw, listed=lists_files(part))


def _toplevel(part: Part, raw: str) -> Word:
    """The folder that holds `.git`, as git looks for it."""
    redirected = any(name in _REPOSITORY for name in (*os.environ, *dict(part.assigns)))
    if len(part.folders) != 1 or redirected:
        return unknown(raw)
    here = os.path.realpath(part.folders[0])
    for folder in (Path(here), *Path(here).parents):
        if (folder / ".git").is_file() or (folder / ".git" / "HEAD").is_file():
            return Word(text=str(folder), raw=raw, prefix=str(folder), plain=False)
    return unknown(raw)


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
