"""What may follow a slash command's word: looked up in the completion's thread.

Some arguments are fixed words, some lie on the disk (sessions, profiles, settings); what only a
conversation knows (speed, the server's models) it leaves in Facts. Must not act, and must not
ask an engine.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from glmcode.base.duration import about
from glmcode.repl.clean import one_line
from glmcode.repl.slash_table import ALIASES, COMMANDS

if TYPE_CHECKING:
    from glmcode.sessions import Summary

TITLE = 60
KEPT_S = 2.0
"""How long a list of sessions is not read again: a list per keystroke."""


@dataclass(frozen=True, slots=True)
class Item:
    """text takes the place of what was typed; about: what it is, in a few words. shown: in place
    of the text in the list. whole: with it the line is complete, and Enter may send it."""

    text: str
    about: str = ""
    shown: str = ""
    whole: bool = False


@dataclass(slots=True)
class Facts:
    """What the conversation knows. seconds: what so many tokens take to compute, None: unknown;
    session: its own file; models: those that its server was heard to have. changed: the files
    that the session changed."""

    seconds: Callable[[int], float | None] = lambda tokens: None
    session: Path | None = None
    models: Sequence[str] = ()
    profile: str = ""
    changed: Callable[[], Sequence[str]] = tuple


@dataclass(slots=True)
class Offers:
    """Of one workspace. Everything here may block."""

    workspace: Path
    facts: Facts
    _sessions: list[Item] = field(default_factory=list)
    _read: float = 0.0

    def find(self, command: str, query: str) -> list[Item]:
        """What fits behind the command, what begins so first."""
        first, _, rest = query.partition(" ")
        match command:
            case "/resume" | "/fork":
                return _sessions_like(self._all_sessions(), query)
            case "/diff" if first in ("accept", "revert") and " " in query:
                files = [*map(Item, self.facts.changed())]
                every = [Item("all")] if first == "accept" else []
                return _fitting([*every, *files], rest, before=f"{first} ")
            case "/config" if " " in query:
                return _fitting(_values(first), rest, before=f"{first} ")
            case "/config":
                return _fitting(_settings(), first)
            case _:
                return _fitting(self._fixed(command), query)

    def _fixed(self, command: str) -> list[Item]:
        match command:
            case "/mode":
                from glmcode.repl.modes import MEANS

                return [Item(mode, means) for mode, means in MEANS.items()]
            case "/thinking":
                words = {"on": "as it likes", "off": "not at all"}
                words |= {"1000": "at most so many tokens a step", "4000": ""}
                return [Item(word, about) for word, about in words.items()]
            case "/engine":
                from glmcode.repl.engines import VERBS

                return [Item(verb, about) for verb, about in VERBS.items()]
            case "/permissions":
                return [Item(f"sandbox_auto_allow {word}") for word in ("on", "off")]
            case "/undo" | "/redo" | "/rewind":
                return [Item("force", "also what was changed since")]
            case "/diff":
                from glmcode.repl.changes import VERBS

                verbs = [Item(f"{verb} ", about) for verb, about in VERBS.items()]
                return [*verbs, *map(Item, self.facts.changed())]
            case "/theme":
                from glmcode.base.settings import THEMES

                return [Item(name) for name in THEMES]
            case "/export":
                return [Item(f"conversation{end}") for end in (".md", ".html", ".json")]
            case "/review":
                return _refs(self.workspace)
            case "/profile":
                return _profiles(self.facts.profile)
            case "/model":
                return [*map(Item, self.facts.models), *_profiles(self.facts.profile)]
            case _:
                return []

    def _all_sessions(self) -> list[Item]:
        if time.monotonic() - self._read > KEPT_S:
            self._sessions = [
                Item(told.path.stem, about, f"{number}  {one_line(told.title, TITLE)}", whole=True)
                for number, (told, about) in enumerate(
                    sessions_here(self.workspace, self.facts.session, self.facts.seconds), 1
                )
            ]
            self._read = time.monotonic()
        return self._sessions


HAVE = ("/resume", "/fork", "/config", "/mode", "/thinking", "/engine", "/permissions", "/undo",
        "/redo", "/rewind", "/theme", "/export", "/profile", "/model", "/diff",
        "/review")  # fmt: skip
"""The commands whose arguments are offered."""
PICKERS = ("/resume", "/fork")
"""Those where typing chooses, and Enter takes and sends."""


def command_of(word: str) -> str | None:
    """The command whose arguments are offered behind this word."""
    name = ALIASES.get(word.lower(), word.lower())
    return name if name in COMMANDS and name in HAVE else None


def sessions_here(
    workspace: Path, own: Path | None, seconds: Callable[[int], float | None]
) -> list[tuple[Summary, str]]:
    """The other sessions of a folder, the one used last first, each with age, tokens and what
    they take to compute where nothing of them is cached. Blocks."""
    from glmcode.sessions import list_sessions

    found = [one for one in list_sessions(workspace) if one.path != own]
    return [(one, _worth(one, seconds)) for one in found]


def _worth(one: Summary, seconds: Callable[[int], float | None]) -> str:
    from glmcode.sessions import ago, tokens_held

    parts = [ago(one.used)]
    if tokens := tokens_held(one.path):
        parts.append(f"{tokens:,} tokens")
        if took := about(seconds(tokens)):
            parts.append(f"at most {took.removeprefix('about ')} to compute")
    return ", ".join(parts)


def _sessions_like(items: list[Item], query: str) -> list[Item]:
    """By number, by the beginning of an id, or by the words of a title."""
    if query.isascii() and query.isdigit() and len(query) < 4:
        return [item for item in items if item.shown.split(" ", 1)[0] == query]
    words = query.lower().split()
    return [
        item
        for item in items
        if item.text.startswith(query) or all(word in item.shown.lower() for word in words)
    ]


def _fitting(items: list[Item], query: str, before: str = "") -> list[Item]:
    """Those that begin so, then those that hold it; nothing where it is typed out already."""
    low = query.lower()
    begin = [item for item in items if item.text.lower().startswith(low)]
    inside = [item for item in items if low in item.text.lower() and item not in begin]
    found = [*begin, *inside]
    if len(found) == 1 and found[0].text.lower() == low:
        return []
    return [Item(before + item.text, item.about, item.text) for item in found] if before else found


def _profiles(now: str) -> list[Item]:
    from glmcode.engine.profile import list_profiles

    return [Item(name, "this one" if name == now else "") for name in list_profiles()]


def _refs(workspace: Path) -> list[Item]:
    """Branches and tags, those changed last first."""
    from glmcode.review.git import GitError, ask_git

    order = ("--sort=-committerdate", "--count=50", "--format=%(refname:short)")
    try:
        return [Item(name) for name in ask_git(workspace, "for-each-ref", *order).split()]
    except GitError:
        return []


def _settings() -> list[Item]:
    from glmcode.base.settings import definitions

    return [Item(one.key, one.about.replace("`", "")) for one in definitions()]


def _values(key: str) -> list[Item]:
    from glmcode.base.settings import definitions

    for one in definitions():
        if one.key == key:
            words = one.choices or (("true", "false") if "true or false" in one.kind else ())
            return [Item(word) for word in words]
    return []
