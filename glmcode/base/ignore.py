"""Ignore files: which paths of a tree a search leaves out, as git and ripgrep read them.

Read are .gitignore, .ignore, .rgignore and .glmcodeignore of every folder, .git/info/exclude and
git's global excludes file; later lines win, deeper files win, and of files side by side
.glmcodeignore wins over .rgignore, .ignore and .gitignore, in that order. A .gitignore counts in
a folder that is no git repository too. Must not walk anything itself.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from glmcode.base.globs import has_wildcard, name_expression, path_expression

NAMES = (".glmcodeignore", ".rgignore", ".ignore", ".gitignore")
"""Names of ignore files, strongest first; the last does not reach into inner repositories."""

_MAX_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class _Group:
    """Neighbouring lines of one sign; index 1 of each pair counts for folders only."""

    ignore: bool
    literals: tuple[frozenset[str], frozenset[str]]
    names: tuple[re.Pattern[str] | None, re.Pattern[str] | None]
    paths: tuple[re.Pattern[str] | None, re.Pattern[str] | None]

    def matches(self, name: str, path: str, is_folder: bool) -> bool:
        for which in (0, 1) if is_folder else (0,):
            if name in self.literals[which]:
                return True
            by_name, by_path = self.names[which], self.paths[which]
            if by_name is not None and by_name.fullmatch(name):
                return True
            if by_path is not None and by_path.fullmatch(path):
                return True
        return False


@dataclass(frozen=True, slots=True)
class IgnoreFile:
    """The lines of one ignore file; `base` is the folder that its paths start from."""

    base: str
    groups: tuple[_Group, ...]

    def verdict(self, name: str, full_path: str, is_folder: bool) -> bool | None:
        """True: left out; False: kept by a `!` line; None: no line speaks of it."""
        path = full_path[len(self.base) :].lstrip("/")
        for group in self.groups:
            if group.matches(name, path, is_folder):
                return group.ignore
        return None


@dataclass(slots=True)
class _Lines:
    """What is collected for a group while an ignore file is parsed."""

    ignore: bool
    literals: tuple[set[str], set[str]] = field(default_factory=lambda: (set(), set()))
    names: tuple[list[str], list[str]] = field(default_factory=lambda: ([], []))
    paths: tuple[list[str], list[str]] = field(default_factory=lambda: ([], []))

    def add(self, pattern: str) -> None:
        only_folders = int(pattern.endswith("/"))
        pattern = pattern.rstrip("/")
        if "/" in pattern:
            parts = pattern.removeprefix("/").split("/")
            self.paths[only_folders].append(path_expression(parts))
        elif has_wildcard(pattern):
            self.names[only_folders].append(name_expression(pattern))
        elif pattern:
            self.literals[only_folders].add(pattern)

    def group(self) -> _Group:
        return _Group(
            self.ignore,
            (frozenset(self.literals[0]), frozenset(self.literals[1])),
            (_joined(self.names[0]), _joined(self.names[1])),
            (_joined(self.paths[0]), _joined(self.paths[1])),
        )


def _joined(expressions: list[str]) -> re.Pattern[str] | None:
    if not expressions:
        return None
    return re.compile("|".join(f"(?:{one})" for one in expressions), re.DOTALL)


def parse(text: str, base: str) -> IgnoreFile:
    """The rules of an ignore file's text."""
    groups: list[_Lines] = []
    for line in text.removeprefix("\ufeff").split("\n"):
        pattern = _pattern_of(line)
        if not pattern:
            continue
        ignore = not pattern.startswith("!")
        if not groups or groups[-1].ignore is not ignore:
            groups.append(_Lines(ignore))
        groups[-1].add(pattern.removeprefix("!"))
    return IgnoreFile(base, tuple(lines.group() for lines in reversed(groups)))


def _pattern_of(line: str) -> str:
    """A line without what git does not count: comments, trailing spaces unless escaped."""
    line = line.removesuffix("\r")
    while line.endswith(" ") and not line.endswith("\\ "):
        line = line[:-1]
    stray = len(line) - len(line.rstrip("\\"))
    return "" if line.startswith("#") or stray % 2 else line


def read_ignore_file(path: str, base: str) -> IgnoreFile | None:
    """Parse a regular file; None when it is absent, empty or cannot be read."""
    try:
        if not Path(path).is_file():
            return None
        with Path(path).open("rb") as file:
            text = file.read(_MAX_BYTES).decode("utf-8", "surrogateescape")
    except OSError:
        return None
    parsed = parse(text, base)
    return parsed if parsed.groups else None


@dataclass(frozen=True, slots=True)
class Rules:
    """All ignore files that speak for one folder: a stack for each of NAMES, deepest first."""

    stacks: tuple[tuple[IgnoreFile, ...], ...] = ((),) * len(NAMES)
    last: tuple[IgnoreFile, ...] = ()

    def enter(self, folder: str, names: Iterable[str]) -> Rules:
        """The rules inside `folder`, which holds `names`. A repository starts afresh."""
        present = {name for name in names if name in _OF_INTEREST}
        if not present:
            return self
        stacks = list(self.stacks)
        last = self.last
        if ".git" in present:
            stacks[-1] = ()
            last = _repository_rules(folder)
        for index, name in enumerate(NAMES):
            if name in present:
                found = read_ignore_file(f"{folder.rstrip('/')}/{name}", folder)
                if found is not None:
                    stacks[index] = (found, *stacks[index])
        return Rules(tuple(stacks), last)

    def ignores(self, name: str, full_path: str, is_folder: bool) -> bool:
        """Whether the entry `full_path`, whose last part is `name`, is left out."""
        for stack in (*self.stacks, self.last):
            for file in stack:
                verdict = file.verdict(name, full_path, is_folder)
                if verdict is not None:
                    return verdict
        return False


_OF_INTEREST = frozenset({".git", *NAMES})


def _repository_rules(folder: str) -> tuple[IgnoreFile, ...]:
    own = read_ignore_file(f"{folder}/.git/info/exclude", folder)
    everywhere = read_ignore_file(_global_excludes(), folder)
    return tuple(file for file in (own, everywhere) if file is not None)


@lru_cache(maxsize=1)
def _global_excludes() -> str:
    """git's core.excludesFile, as far as the user's own configuration names it."""
    home = os.environ.get("HOME") or "/"
    config = os.environ.get("XDG_CONFIG_HOME") or f"{home}/.config"
    for path in (f"{home}/.gitconfig", f"{config}/git/config"):
        try:
            text = Path(path).read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        named = re.search(r'(?im)^\s*excludesfile\s*=\s*"?([^"\n]+?)"?\s*$', text)
        if named is not None:
            return re.sub(r"^~(?=/)", lambda _: home, named.group(1))
    return f"{config}/git/ignore"


def rules_for(root: str, workspace: str) -> Rules:
    """The rules that the folders above `root` lay on it.

    They count from the repository that holds `root`; where there is none, from the workspace.
    """
    if os.path.lexists(f"{root}/.git"):
        return Rules()
    above = [str(folder) for folder in Path(root).parents]
    repository = next((f for f in above if os.path.lexists(f"{f}/.git")), None)
    first = repository or workspace
    rules = Rules()
    for folder in reversed(above):
        if folder == first or folder.startswith(f"{first.rstrip('/')}/"):
            names = [name for name in _OF_INTEREST if os.path.lexists(f"{folder}/{name}")]
            rules = rules.enter(folder, names)
    return rules
