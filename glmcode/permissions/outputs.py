"""What is known of what a command prints: that it is a list of files, a number, the folder. Pure.

Such output can go on as words without becoming an option or a path to anywhere. Must not judge.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from glmcode.permissions.parts import Part
from glmcode.permissions.paths import spots_of
from glmcode.permissions.words import Listing, Word, unknown

_KEEPS_LINES = {
    "grep": r"-[ivEFPwxeq]+",
    "head": r"-n?\d*",
    "tail": r"-n?\d*",
    "sort": r"-[rnufVdk]+\d*",
    "uniq": r"-[udi]+",
}
"""Commands that pass whole lines on, with the options of which that is so."""
_LISTS_WITH = {
    "grep": r"-[rRniEFPwxlLsIahH]+|-e|--(?:files-with(?:out)?-match(?:es)?|include=.*|exclude=.*"
    r"|exclude-dir=.*|ignore-case|recursive|word-regexp|fixed-strings|extended-regexp)",
    "rg": r"-[niFwxlLsSUuPegt0.]+|--(?:files|files-with-matches|files-without-match|glob=.*|type=.*"
    r"|hidden|no-ignore|fixed-strings|ignore-case|sort=.*|null)",
    "ls-files": r"-[cdmozk]+|--(?:cached|deleted|modified|others|exclude-standard|full-name"
    r"|deduplicate|exclude=.*|error-unmatch)?",
    "git grep": r"-[niEFPwIlLze]+|--(?:files-with-matches|name-only|untracked|cached|null)?",
    "diff": r"-z|--(?:name-only|cached|staged|diff-filter=\w+|no-renames|relative)?",
}
"""Options with which what is printed are the files' names and nothing else."""
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


def lists_files(part: Part | None) -> Listing | None:
    """What files of the workspace a part prints (its roots are judged elsewhere)."""
    seen: Part | None = part
    while seen is not None and seen.feed is not None and seen.name in _KEEPS_LINES:
        if not _options_are(_KEEPS_LINES[seen.name], [word.text for word in seen.words]):
            return None
        seen = seen.feed
    if seen is None or not seen.words or not all(w.known or w.glob for w in seen.words):
        return None
    texts = [word.text for word in seen.words]
    if not _lists(texts):
        return None
    if texts[0] == "git":
        others = re.compile(r"-[cdmzk]*o[a-z]*|--oth\w*|--untracked|--no-index")
        return Listing(tracked=not any(others.fullmatch(text) for text in texts))
    if texts[0] == "ls":
        return _listed_by_ls(seen)
    return found_by(texts) if texts[0] == "find" else Listing(links=False)


def _listed_by_ls(part: Part) -> Listing:
    """The names given to ls where they are those of files, else any."""
    given = [word for word in part.words[1:] if not word.text.startswith("-")]
    names = tuple(word.text.rpartition("/")[2] for word in given)
    for word, name in zip(given, names, strict=True):
        spots = spots_of(word, part.folders, "")
        folder = spots is None or any(Path(one.named).is_dir() for one in spots)
        if folder or not re.fullmatch(r"[\w.*?+ -]+", name):
            return Listing()
    return Listing(names=names or ("*",))


def found_by(texts: Sequence[str]) -> Listing:
    """What find lists: files by these names; links unless only plain files are looked for."""
    if {"-o", "-or", ","} & set(texts):
        return Listing()
    pairs = [
        (one, value)
        for before, one, value in zip(("", *texts), texts, (*texts[1:], ""), strict=False)
        if before not in ("!", "-not")
    ]
    plain = "(" not in texts or not {"!", "-not"} & set(texts)
    named = [value for one, value in pairs if plain and one in ("-name", "-iname")]
    if not all(re.fullmatch(r"[\w.*?+ -]+", value) for value in named):
        named = []
    files = plain and bool({("-type", "f"), ("-type", "d")} & set(pairs))
    return Listing(
        names=tuple(named) or ("*",), links=not files or bool({"-L", "-follow"} & set(texts))
    )


def _options_are(allowed: str, texts: Sequence[str]) -> bool:
    return all(re.fullmatch(allowed, text) for text in texts[1:] if text.startswith("-"))


def _lists(texts: Sequence[str]) -> bool:
    names = set(texts)
    short = any(re.fullmatch(r"-[a-zA-Z]*[lL]", text) for text in texts)
    match texts[0]:
        case "find":
            return not {"-printf", "-exec", "-execdir", "-fprintf", "-ls"} & names
        case "ls":
            return _options_are(r"-[1trSAd]+", texts)
        case "grep":
            asked = short or bool({"--files-with-matches", "--files-without-match"} & names)
            return asked and _options_are(_LISTS_WITH["grep"], texts)
        case "rg":
            asked = short or bool({"--files-with-matches", "--files"} & names)
            return asked and _options_are(_LISTS_WITH["rg"], texts)
        case "git" if len(texts) > 1:
            asked = texts[1] == "ls-files" or (texts[1] == "diff" and "--name-only" in names)
            if texts[1] == "grep":
                asked = short or bool({"--files-with-matches", "--name-only"} & names)
            which = "git grep" if texts[1] == "grep" else texts[1]
            return asked and _options_are(_LISTS_WITH[which], texts[1:])
    return False
