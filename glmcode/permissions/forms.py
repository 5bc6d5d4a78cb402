"""The forms in which rules may name a command, and the places where its words hide paths. Pure.

For a rule that allows there are few forms: the program by its name for its own path, git without
harmless options in front. For one that denies there are all that name the same thing.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from glmcode.permissions.harm import WRITERS
from glmcode.permissions.hidden import has_code
from glmcode.permissions.parts import Part
from glmcode.permissions.paths import globs_to_option, spots_of
from glmcode.permissions.programs import Deed, after_globals
from glmcode.permissions.variables import harmless_value
from glmcode.permissions.words import Word, literal

_CODE = re.compile(r"[^\w./~-]+")
_VALUES = re.compile(r"[=:@,]")


def pieces_of(word: Word) -> list[Word]:
    """A word, and what stands in it behind = : @ and commas, where paths hide."""
    if not word.known:
        return [word]
    return [word, *(literal(one) for one in _VALUES.split(word.text)[1:] if one)]


_PIECES = re.compile(r"&&|\|\||[;&|\n\r()`{}]|\$\(")


def text_pieces(command: str) -> list[tuple[str, list[Word]]]:
    """What may be commands in a text that is not understood, each with its words."""
    found = []
    for piece in (command, *_PIECES.split(command)):
        words = [literal(re.sub(r"[\"'\\]", "", text)) for text in piece.split()]
        while words and re.match(r"[A-Za-z_]\w*=", words[0].text):
            words = words[1:]
        found.append((piece, words))
    return found


def quoted_paths(part: Part, hazards: Sequence[tuple[Word, str]] = ()) -> list[Word]:
    """What may be a path in code that stands on a command line, or in what it reads.

    hazards: words of the part, of which those that may run something are taken for code.
    """
    texts = [word.text for word, why in hazards if word.known and "run" in why]
    if has_code(part.name):
        given = [*part.words[1:], *(part.feed.words[1:] if part.feed is not None else ())]
        texts = [word.text for word in given if word.known] + [part.stdin or ""]
    found = {one for text in texts for one in _CODE.split(text) if "." in one or "/" in one}
    found |= {one[1:] for one in found if one[0] in "rRwW"}  # sed's r.env
    return [literal(one) for one in sorted(found) if one]


def plain_name(words: Sequence[Word]) -> Sequence[Word]:
    """The words with the program's name for its path, where the name means that program."""
    name = words[0].text
    if name.startswith("/") and _is_program(name):
        return (literal(name.rpartition("/")[2]), *words[1:])
    return words


@lru_cache(maxsize=256)
def _is_program(path: str) -> bool:
    return shutil.which(path.rpartition("/")[2]) == path


def written_out(words: Sequence[Word], folders: tuple[Path, ...], home: str) -> Sequence[Word]:
    """The words of a command that writes, with names for the patterns before its last word."""
    if words[0].text not in WRITERS or not any(word.glob for word in words[:-1]):
        return words
    found: list[Word] = []
    for word in words[:-1]:
        spots = spots_of(word, folders, home) if word.glob else None
        if spots is None or globs_to_option(word, folders):
            found.append(word)
        else:
            found += [literal(one.named) for one in spots]
    return [*found, words[-1]]


def allowable_forms(part: Part, changed: list[str]) -> list[Sequence[Word]]:
    """The words of a part as a rule that allows may name them."""
    words = list(plain_name(part.words))
    assigns = [literal(f"{n}={v.text}") for n, v in part.assigns if n in changed and v.known]
    if len(assigns) < len(changed):
        return []
    forms: list[Sequence[Word]] = [[*assigns, *words]]
    if words[0].text == "git":
        forms.append([*assigns, words[0], *words[after_globals(words) :]])
    return forms


def changed_names(part: Part) -> list[str]:
    """The variables given to a part that need a rule; where `read` cuts a line, needs none."""
    return [
        name
        for name, value in part.assigns
        if not value.known
        or not (harmless_value(name, value.text) or (name == "IFS" and part.name == "read"))
    ]


def denied_forms(part: Part) -> list[Sequence[Word]]:
    """The words of a part in every form that a rule that denies may name."""
    if not part.words or not part.words[0].known:
        return []
    words = list(part.words)
    base = literal(words[0].text.rpartition("/")[2])
    forms: list[Sequence[Word]] = [words, [base, *words[1:]]]
    if not all(word.known or not word.split for word in words):
        forms.append([base, *(word for word in words[1:] if word.known)])
    if base.text.startswith("git-"):
        forms.append([literal("git"), literal(base.text[4:]), *words[1:]])
    if base.text == "git":
        forms.append([base, *words[after_globals(words) :]])
    for form in list(forms):
        assigns = [literal(f"{name}={value.text}") for name, value in part.assigns]
        if assigns:
            forms.append([*assigns, *form])
    return forms


def is_write(word: Word, deed: Deed) -> bool:
    """Whether the harm of an option is the file that it writes, which is judged as an edit."""
    reasons = [reason for one, reason in deed.hazards if one is word]
    return bool(deed.writes) and all("write" in r and "run" not in r for r in reasons)
