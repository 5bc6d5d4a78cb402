"""A word of a command: what is known of its value once quotes are removed. Pure.

The pieces of a word are text that was quoted, text that was not, and places whose value is only
known when the command runs. A word whose value isn't known keeps its literal beginning: what
begins with "src/" can be no option. Must not know rules or programs.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["plain", "quoted", "unknown", "split"]
Piece: TypeAlias = tuple[Kind, str]
"""split: an unquoted expansion, which may become several words, or none."""

MANY = 100
_GLOB = re.compile(r"[*?\[]")
_TILDE = re.compile(r"~([^/]*)")
_NAMED = re.compile(r"[A-Za-z_]\w*=$")
_ANSI = re.compile(
    r"\\(?:([abeEfnrtv\\'\"?])|([0-7]{1,3})|x([0-9a-fA-F]{1,2})|u([0-9a-fA-F]{1,4})"
    r"|U([0-9a-fA-F]{1,8})|c(.))",
    re.DOTALL,
)
_SIMPLE = dict(zip("abeEfnrtv\\'\"?", "\a\b\x1b\x1b\f\n\r\t\v\\'\"?", strict=True))


@dataclass(frozen=True, slots=True)
class Listing:
    """A list of files of the workspace: patterns of their names, whether links are among them.

    tracked: only what git tracks.
    """

    names: tuple[str, ...] = ("*",)
    links: bool = True
    tracked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """text: the value; with holes where it is unknown. raw: as it was written.

    known: text is the whole value. prefix: its literal beginning. glob: it names files by a
    pattern. split: it may become several words or none. plain: nothing in it was quoted.
    listed: unknown, but a list of files of the workspace gave it.
    """

    text: str
    raw: str = ""
    known: bool = True
    prefix: str = ""
    glob: bool = False
    split: bool = False
    plain: bool = True
    listed: Listing | None = None

    @property
    def may_be_option(self) -> bool:
        """Whether its value may begin with a dash although it isn't known to."""
        return not self.known and (not self.prefix or self.prefix.startswith("-"))


def literal(text: str) -> Word:
    """A word whose value is known."""
    return Word(text=text, raw=text, prefix=text)


def unknown(raw: str = "", *, listed: Listing | None = None) -> Word:
    """Words of which nothing is known."""
    return Word(text="", raw=raw, known=False, split=True, listed=listed)


def unquoted(value: Word) -> list[Word]:
    """What becomes of the value of a variable that stands without quotes: cut, and patterns."""
    if not value.known or not re.search(r"[\s*?\[\\]", value.text):
        return [value]
    if "\\" in value.text:
        return [unknown(value.raw)]
    cut = [_word([("plain", one)], value.raw, "~") for one in value.text.split()]
    return [replace(word, plain=False) for word in cut] or [unknown(value.raw)]


def words_of(pieces: Sequence[Piece], raw: str, home: str) -> list[Word]:
    """The words that pieces make; more than one where braces are written out."""
    if all(kind == "plain" for kind, _ in pieces):
        text = "".join(text for _, text in pieces)
        if "{" in text:
            return [_word([("plain", one)], raw, home) for one in braces(text)]
        return [_word(pieces, raw, home)]
    word = _word(pieces, raw, home)
    joined = "".join(text if kind == "plain" else "\0" for kind, text in pieces)
    found = re.search(r"\{.*(?:,|\.\.).*\}", joined, re.DOTALL)
    if found:
        before = joined[: found.start()]
        prefix = before if "\0" not in before else word.prefix[: before.index("\0")]
        return [Word(text=word.text, raw=raw, known=False, prefix=prefix, split=True, plain=False)]
    return [word]


def _word(pieces: Sequence[Piece], raw: str, home: str) -> Word:
    pieces = _without_tilde(pieces, home)
    known = all(kind in ("plain", "quoted") for kind, _ in pieces)
    globs = any(kind == "plain" and _GLOB.search(text) for kind, text in pieces)
    prefix = ""
    for kind, text in pieces:
        if kind in ("unknown", "split"):
            prefix += text
            break
        found = _GLOB.search(text) if kind == "plain" else None
        if found:
            prefix += text[: found.start()]
            break
        prefix += text
    return Word(
        text="".join(text for kind, text in pieces if kind in ("plain", "quoted")),
        raw=raw,
        known=known and not globs,
        prefix=prefix,
        glob=globs and known,
        split=any(kind == "split" for kind, _ in pieces),
        plain=all(kind == "plain" for kind, _ in pieces) and "\\" not in raw,
    )


def _without_tilde(pieces: Sequence[Piece], home: str) -> list[Piece]:
    """`~/x` and `name=~/x` with the home written out; another's home is unknown."""
    if not pieces or pieces[0][0] != "plain" or "~" not in pieces[0][1]:
        return list(pieces)
    first = pieces[0][1]
    head, _, rest = first.partition("~")
    if head and not _NAMED.fullmatch(head):
        return list(pieces)
    match = _TILDE.match(first, len(head))
    name = match.group(1) if match else ""
    if name or (len(pieces) > 1 and "/" not in rest):
        return [("plain", head), ("unknown", "/"), *pieces[1:]]
    return [("quoted", head + home), ("plain", rest), *pieces[1:]]


def braces(text: str) -> list[str]:
    """`a{b,c}` as ab and ac, `{1..3}` as 1, 2 and 3; what is no brace expression stays."""
    done: list[str] = []
    waiting = [text]
    while waiting and len(done) + len(waiting) < MANY:
        current = waiting.pop()
        found = _first_braces(current)
        if found is None:
            done.append(current)
            continue
        start, end, parts = found
        waiting += [current[:start] + part + current[end:] for part in reversed(parts)]
    return done + waiting


def _first_braces(text: str) -> tuple[int, int, list[str]] | None:
    for start in (m.start() for m in re.finditer(r"\{", text)):
        if start and text[start - 1] == "$":
            continue
        depth, cuts = 0, [start]
        for index in range(start, len(text)):
            char = text[index]
            if char == "{":
                depth += 1
            elif char == "," and depth == 1:
                cuts.append(index)
            elif char == "}":
                depth -= 1
                if depth == 0:
                    inner = text[start + 1 : index]
                    if len(cuts) > 1:
                        edges = [*cuts, index]
                        parts = [text[a + 1 : b] for a, b in pairwise(edges)]
                        return start, index + 1, parts
                    if sequence := _sequence(inner):
                        return start, index + 1, sequence
                    break
    return None


def _sequence(inner: str) -> list[str]:
    match = re.fullmatch(r"(-?\d+)\.\.(-?\d+)(?:\.\.(-?\d+))?", inner)
    if match:
        first, last = int(match.group(1)), int(match.group(2))
        step = max(1, abs(int(match.group(3) or 1)))
        if abs(last - first) // step >= MANY:
            return [str(first), str(last)]
        down = -1 if last < first else 1
        return [str(n) for n in range(first, last + down, step * down)]
    match = re.fullmatch(r"([A-Za-z])\.\.([A-Za-z])", inner)
    if match:
        low, high = ord(match.group(1)), ord(match.group(2))
        down = -1 if high < low else 1
        return [chr(n) for n in range(low, high + down, down)]
    return []


def ansi_c(body: str) -> str:
    """The value of $'body'."""

    def one(match: re.Match[str]) -> str:
        simple, octal, short, middle, long, control = match.groups()
        if simple:
            return _SIMPLE[simple]
        if octal:
            return chr(int(octal, 8) & 0xFF)
        if control:
            return chr(ord(control) & 0x1F)
        number = int(short or middle or long, 16)
        return chr(number) if number <= 0x10FFFF else ""

    return _ANSI.sub(one, body)


def as_python_glob(text: str) -> str:
    """A pattern of bash as glob reads it; a class becomes any character, which covers more."""
    text = re.sub(r"\[[\^!]?\]?(?:\[[:.=][^\]/]*\]|[^\]/\[])*\[[:.=](?:[^\]/]*\])+", "?", text)
    return re.sub(r"\[\^", "[!", text)
