"""What a command line consists of: simple commands, files they touch, and what is in doubt. Pure.

Values only, filled by commands.py and judged by decide.py. A doubt is a piece of syntax that is
not on the white list: it never hides what else was found, and it means asking.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

from glmcode.permissions.rules import Rule
from glmcode.permissions.words import Word

Way: TypeAlias = Literal["read", "write"]


@dataclass(slots=True, kw_only=True, eq=False)
class Part:
    """A simple command, or one that another runs.

    words: none where there are only assignments. folders: where it may run; none: anywhere.
    stdin: literal text it reads; piped: it reads what another prints (feed: that part).
    inner: what it runs in turn. wraps: it does nothing but run that. hazard: why it needs
    its own permission all the same. opaque: text that it runs is not known. shadow: it may run
    elsewhere or not at all, so that only rules that deny look at it.
    """

    words: tuple[Word, ...]
    text: str
    folders: tuple[Path, ...]
    assigns: tuple[tuple[str, Word], ...] = ()
    stdin: str | None = None
    piped: bool = False
    feed: Part | None = None
    inner: list[Part] = field(default_factory=list)
    hazard: str = ""
    opaque: bool = False
    wraps: bool = False
    shadow: bool = False

    @property
    def name(self) -> str:
        """Word 0 as it is known, else ""."""
        return self.words[0].text if self.words and self.words[0].known else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Touch:
    """A file that a redirection reads or writes."""

    way: Way
    word: Word
    folders: tuple[Path, ...]
    text: str


@dataclass(slots=True, kw_only=True)
class Analysis:
    """Everything found in a command; a part that runs another stands before it."""

    command: str
    parts: list[Part] = field(default_factory=list)
    touches: list[Touch] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)


class Found(NamedTuple):
    """What must be allowed: its text, and its words (a command) or the path of the file that it
    touches; why it may not ("": it may), and the rule that lets it (None: it needs none)."""

    text: str
    words: tuple[Word, ...]
    path: str
    why: str
    rule: Rule | None
    way: Way = "write"


Doubt: TypeAlias = Callable[[str], None]
