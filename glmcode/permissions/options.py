"""Reads the options of a known command off its words, by a one-line description. Pure.

A description is a list of words: `-abc` letters without a value, `-n:` one with a value, `-U?` one
whose value may be attached, `--long`, `--long=`, `--long?`. In front of each may stand what it
means that it is there: `!` it makes the command run something, `>` its value is a file that is
written, `<` one that is read. `digits` allows -5. A long option may be cut short by whoever types
it, so a beginning that could mean a harmful one counts as that. Must not know programs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal, TypeAlias

from glmcode.permissions.words import Word

Mark: TypeAlias = Literal["", "!", ">", "<"]
Value: TypeAlias = Literal["no", "must", "may"]
IsOption: TypeAlias = Callable[[Word], bool]
"""Whether a word that is not known may turn out to be an option."""


@dataclass(frozen=True, slots=True)
class Spec:
    """options: name -> (mark, value). harmful: some are marked."""

    options: Mapping[str, tuple[Mark, Value]]
    digits: bool
    harmful: bool


@dataclass(slots=True)
class Scan:
    """What the words of a command say. odd: an option that is not known ("": none).

    seen: the options that are there, by their names (given: one by one). hazards: words with
    the reason.
    """

    operands: list[Word] = field(default_factory=list)
    reads: list[Word] = field(default_factory=list)
    writes: list[Word] = field(default_factory=list)
    hazards: list[tuple[Word, str]] = field(default_factory=list)
    seen: dict[str, Word | None] = field(default_factory=dict)
    given: list[tuple[str, Word | None]] = field(default_factory=list)
    odd: str = ""


@lru_cache(maxsize=512)
def spec_of(text: str) -> Spec:
    """A description as a table."""
    options: dict[str, tuple[Mark, Value]] = {}
    digits = False
    for token in text.split():
        if token == "digits":
            digits = True
            continue
        mark: Mark = "!" if token[0] == "!" else ">" if token[0] == ">" else "<"
        if token[0] in "!><":
            token = token[1:]
        else:
            mark = ""
        value: Value = "no"
        if token[-1] in ":=?":
            value = "may" if token[-1] == "?" else "must"
            token = token[:-1]
        if token.startswith("--"):
            options[token] = (mark, value)
        else:
            for letter in token[1:]:
                options[f"-{letter}"] = (mark, value)
    return Spec(options, digits, any(mark in ("!", ">") for mark, _ in options.values()))


def scan(words: Sequence[Word], text: str, is_option: IsOption) -> Scan:
    """Read the words after the command's name (and its subcommand's)."""
    spec, found = spec_of(text), Scan()
    index = 0
    while index < len(words):
        word = words[index]
        index += 1
        head = word.text if word.known else word.prefix
        if not word.known and not head.startswith("-"):
            if spec.harmful and word.may_be_option and is_option(word):
                found.hazards.append((word, f"{word.raw or 'a word'} may be an option"))
            found.operands.append(word)
        elif head == "--" and word.known:
            found.operands += words[index:]
            break
        elif not head.startswith("-") or head == "-":
            found.operands.append(word)
        elif spec.digits and re.fullmatch(r"-\d+", head):
            found.seen["digits"] = None
        elif head.startswith("--"):
            index += _long(spec, word, head, words[index:], found)
        else:
            index += _short(spec, word, head, words[index:], found)
    return found


def _long(spec: Spec, word: Word, head: str, rest: Sequence[Word], found: Scan) -> int:
    """Take a long option; how many of the next words are its value."""
    name, equals, value = head.partition("=")
    if name not in spec.options or (not word.known and not equals):
        near = [o for o in spec.options if o.startswith(name) and spec.options[o][0] in ("!", ">")]
        if near:
            found.hazards.append((word, f"{word.raw or head} may mean {near[0]}"))
        else:
            found.odd = found.odd or (word.raw or head)
        return 0
    mark, takes = spec.options[name]
    given: Word | None = None
    used = 0
    if equals:
        given = _part(word, len(name) + 1, value)
        if takes == "no":
            found.odd = found.odd or head
    elif takes == "must" and rest:
        given, used = rest[0], 1
    _note(name, mark, word, given, found)
    return used


def _short(spec: Spec, word: Word, head: str, rest: Sequence[Word], found: Scan) -> int:
    for position in range(1, len(head)):
        name = f"-{head[position]}"
        if name not in spec.options:
            found.odd = found.odd or (word.raw or head)
            return 0
        mark, takes = spec.options[name]
        tail = head[position + 1 :]
        if takes == "no":
            _note(name, mark, word, None, found)
            continue
        if tail or not word.known:
            _note(name, mark, word, _part(word, position + 1, tail), found)
            return 0
        if takes == "may" or not rest:
            _note(name, mark, word, None, found)
            return 0
        _note(name, mark, word, rest[0], found)
        return 1
    if not word.known:
        found.odd = found.odd or (word.raw or head)
    return 0


def _part(word: Word, start: int, text: str) -> Word:
    """The value that is attached to an option."""
    return Word(
        text=text,
        raw=word.raw,
        known=word.known,
        prefix=word.prefix[start:],
        glob=word.glob,
        split=word.split,
    )


def _note(name: str, mark: Mark, word: Word, value: Word | None, found: Scan) -> None:
    found.seen[name] = value
    found.given.append((name, value))
    match mark:
        case "!":
            found.hazards.append((word, f"{name} makes it run or change something"))
        case ">" if value is not None:
            found.writes.append(value)
        case ">":
            found.hazards.append((word, f"{name} makes it write a file"))
        case "<" if value is not None:
            found.reads.append(value)
        case _:
            pass
