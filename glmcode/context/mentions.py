"""Mentions: `@file`, `@file:10-40`, `@folder`, `@"with space"` in what a person types.

A mention is what resolves to something that exists; an e-mail address, a decorator, a package
or a person's handle stays as it is, and so does everything in code. The text of the person is
never changed: what was mentioned follows it, framed. This module finds mentions, lists folders
and words the frames; reading files is the Read tool's work, which the agent lends. Must not
decide permission.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from glmcode.base.ignore import rules_for
from glmcode.base.walk import NEVER
from glmcode.context.markup import prose

MOST = 20
"""Mentions of one message that are expanded."""

ENTRIES = 200
"""Entries of a folder that are listed."""

_CANDIDATES = 2_000
_MENTION = re.compile(
    r"""(?<![\w@/.~+`\\&=-])@(?:"([^"\n\0]+)"((?:(?::|\#L)\d+(?:-L?\d+)?)?)|([^\s"<>|`\0]+))"""
)
_RANGE = re.compile(r"(.+?)(?::|#L)(\d+)(?:-L?(\d+))?")
_TRAILING = ".,;:!?)]}'*_\u2026"
_END = re.compile(r"[,;:)\]}'!?]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mention:
    """One mention: the path as it is written, and the lines that were asked for, from 1."""

    name: str
    first: int | None = None
    last: int | None = None
    is_folder: bool = False

    def shown(self) -> str:
        """As the person wrote it, on one line."""
        name = self.name if self.name.isprintable() else f"{self.name!a}"
        if self.first is None:
            return f"@{name}"
        return f"@{name}:{self.first}" + (f"-{self.last}" if self.last != self.first else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mentions:
    """What a text mentions, each once; left_out counts those beyond MOST."""

    found: tuple[Mention, ...] = ()
    left_out: int = 0


def find_mentions(text: str, workspace: Path) -> Mentions:
    """Every mention in a text. Looks at the disk; never raises."""
    if "@" not in text:
        return Mentions()
    shown = prose(text)
    found: dict[Mention, None] = {}
    position = 0
    for _ in range(_CANDIDATES):
        match = _MENTION.search(shown, position)
        if match is None:
            break
        quoted, lines, plain = match.groups()
        position = match.end()
        if quoted:
            mention = _mention(quoted, lines, workspace)
        else:
            mention, length = _longest(plain, workspace)
            position = match.start() + 1 + length
        if mention is not None:
            found[mention] = None
    every = tuple(found)
    return Mentions(found=every[:MOST], left_out=max(0, len(every) - MOST))


def _longest(plain: str, workspace: Path) -> tuple[Mention | None, int]:
    """The longest beginning of a word that is a mention, and the characters it takes."""
    word = plain
    while word:
        mention = _mention(word, "", workspace)
        if mention is not None:
            return mention, len(word)
        if word[-1] not in _TRAILING:
            break
        word = word[:-1]
    for end in (plain.find("'s"), *(match.start() for match in _END.finditer(plain))):
        if end > 0 and (mention := _mention(plain[:end], "", workspace)) is not None:
            return mention, end
    return None, len(plain) if "@" not in plain else plain.index("@")


def _mention(name: str, lines: str, workspace: Path) -> Mention | None:
    """The mention that a name is, with its own range of lines or the one after it."""
    asked = None
    if lines or not _exists(name, workspace):
        asked = _RANGE.fullmatch(name + lines)
        name = asked.group(1) if asked else name
    if not _exists(name, workspace) or (not name.strip("./~") and name != "./"):
        return None
    if os.path.isdir(resolved(name, workspace) or ""):  # noqa: PTH112 (never raises)
        return Mention(name=name, is_folder=True)
    if asked is None:
        return Mention(name=name)
    first = max(1, int(asked.group(2)[:9]))
    last = max(1, int((asked.group(3) or asked.group(2))[:9]))
    return Mention(name=name, first=min(first, last), last=max(first, last))


def resolved(name: str, workspace: Path) -> Path | None:
    """The absolute path that a name stands for; None where it can stand for none."""
    try:
        return workspace / (Path(name).expanduser() if name.startswith("~") else name)
    except RuntimeError:  # no such user
        return None


def _exists(name: str, workspace: Path) -> bool:
    path = resolved(name, workspace)
    return path is not None and os.path.lexists(path)


def folder_listing(folder: Path, workspace: Path) -> str:
    """The entries of a folder, sorted, folders with a slash, ignored ones left out.

    Raises OSError.
    """
    real = os.path.realpath(folder)
    with os.scandir(real) as listing:
        entries = [(one.name, _is_folder(one)) for one in listing if one.name not in NEVER]
    rules = rules_for(real, str(workspace)).enter(real, [name for name, _ in entries])
    kept = [
        f"{_printable(name)}/" if is_folder else _printable(name)
        for name, is_folder in entries
        if not rules.ignores(name, f"{real.rstrip('/')}/{name}", is_folder)
    ]
    ignored = len(entries) - len(kept)
    parts = [f"{len(kept)} entr{'y' if len(kept) == 1 else 'ies'}"]
    if len(kept) > ENTRIES:
        parts = [f"{ENTRIES} of {len(kept)} entries; use Glob for the others"]
    if ignored:
        parts.append(f"{ignored} ignored left out")
    return "\n".join([*sorted(kept)[:ENTRIES], f"[{'; '.join(parts)}]"])


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _printable(name: str) -> str:
    if name.isprintable():
        return name
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    return text if text.isprintable() else ascii(text)


def framed(mention: Mention, content: str) -> str:
    """What was mentioned, as it follows the person's text."""
    return f"[{mention.shown()}, as mentioned above]\n{content}"


def not_read(mention: Mention, why: str) -> str:
    """The line for a mention that is only named."""
    return f"{mention.shown()} was not read: {why}"
