"""Whether a rule's pattern covers a command: word by word, never by the text as a whole. Pure.

`git diff *` is those two words and whatever follows; a `*` within a word stays in it, at its very
end it also takes what follows; `test:*` is the word test, alone, with more words or with `:more`.
For what allows, the words must stand exactly so and the caller learns which of them only a `*`
covered. For what denies, options may stand elsewhere and a program's own path does not matter.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from glmcode.permissions.words import Word


@dataclass(frozen=True, slots=True)
class Pattern:
    """tokens: one a word; "*": any words. text: as written."""

    tokens: tuple[str, ...]
    text: str


@lru_cache(maxsize=512)
def pattern_of(text: str) -> Pattern:
    """Cut a pattern into words; quotes keep words together, as in the shell."""
    colon = text.endswith(":*") and not text.endswith(" :*")
    body = text[:-2] if colon else text
    tokens: list[str] = []
    for found in re.finditer(r"(?:[^\s'\"\\]|\\.|'[^']*'|\"(?:[^\"\\]|\\.)*\"|['\"\\])+", body):
        token = re.sub(
            r"'([^']*)'|\"((?:[^\"\\]|\\.)*)\"|\\(.)",
            lambda m: next(group for group in m.groups() if group is not None),
            found.group(),
            flags=re.DOTALL,
        )
        tokens.append(token)
    if colon:
        tokens[-1:] = [f"{tokens[-1]}\0"] if tokens else []
    return Pattern(tuple(tokens), text)


def covers(pattern: str, words: Sequence[Word]) -> set[int] | None:
    """The indexes of words that only a `*` covered; None when the pattern does not match.

    Words that are not known match nothing but a `*`.
    """
    tokens = pattern_of(pattern).tokens
    texts = [word.text if word.known else None for word in words]
    loose: set[int] = set()
    return loose if _match(tokens, 0, texts, 0, loose) else None


def _match(
    tokens: Sequence[str], at: int, texts: Sequence[str | None], index: int, loose: set[int]
) -> bool:
    while at < len(tokens):
        token = tokens[at]
        last = at == len(tokens) - 1
        if token == "*":
            if last:
                loose.update(range(index, len(texts)))
                return True
            for end in range(index, len(texts) + 1):
                found: set[int] = set(range(index, end))
                if _match(tokens, at + 1, texts, end, found):
                    loose |= found
                    return True
            return False
        if index >= len(texts):
            return False
        text = texts[index]
        if text is None or not _token(token).fullmatch(text):
            return False
        if "*" in token or "\0" in token:
            named = token.startswith("-") and "=" in token.partition("*")[0]
            if ".." in text.split("/"):
                return False
            if text != token.rstrip("*\0") and not named:
                loose.add(index)
            if last and token[-1] in "*\0":
                loose.update(range(index + 1, len(texts)))
                return True
        index += 1
        at += 1
    return index == len(texts)


@lru_cache(maxsize=1024)
def _token(token: str) -> re.Pattern[str]:
    if token.endswith("\0"):
        return re.compile(_starred(token[:-1]) + r"(?::.*)?", re.DOTALL)
    return re.compile(_starred(token), re.DOTALL)


def _starred(text: str) -> str:
    return ".*".join(re.escape(part) for part in text.split("*"))


def denies(pattern: str, words: Sequence[Word]) -> bool:
    """Whether a pattern names a command, wherever its options stand.

    Options between a program and its subcommand are passed over, each with or without a value;
    for git that was done exactly before.
    """
    if not words:
        return False
    if covers(pattern, words) is not None:
        return True
    tokens = pattern_of(pattern).tokens
    texts = [word.text if word.known else None for word in words]
    if not tokens or texts[0] is None or not _token(tokens[0]).fullmatch(texts[0]):
        return False
    if texts[0] == "git" and words[1:2] and words[1].prefix.startswith("-"):
        return False
    for start in range(1, len(words)):
        if _loosely(tokens[1:], words[start:]):
            return True
        option = words[start].prefix.startswith("-")
        value = start > 1 and words[start - 1].prefix.startswith("-")
        if not (option or (value and "=" not in words[start - 1].prefix)):
            break
    return False


def _loosely(tokens: Sequence[str], words: Sequence[Word]) -> bool:
    """Whether words match, with the options of the pattern anywhere among them."""
    options = [token for token in tokens if re.fullmatch(r"-[^*\0]+", token)]
    plain = [token for token in tokens if token not in options]
    ends_open = bool(tokens) and tokens[-1].endswith(("*", "\0"))
    if any(not _has_option(option, words) for option in options):
        return False
    operands = [w for w in words if not w.prefix.startswith("-")] if options or ends_open else words
    texts = [word.text if word.known else None for word in operands]
    if ends_open and (not plain or plain[-1] != "*"):
        plain = [*plain, "*"]
    if not ends_open and len(words) != len(tokens):
        return False
    return bool(tokens) and tokens[0] != "*" and _match(plain, 0, texts, 0, set())


def _has_option(option: str, words: Sequence[Word]) -> bool:
    texts = [word.text for word in words]
    if option in texts or any(text.startswith(f"{option}=") for text in texts):
        return True
    if re.fullmatch(r"-[A-Za-z]+", option):
        letters = "".join(t[1:] for t in texts if re.fullmatch(r"-[A-Za-z]+", t))
        return set(option[1:]) <= set(letters)
    return False
