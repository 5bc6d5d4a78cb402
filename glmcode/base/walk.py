"""The files of a tree in the order of their paths, ignored ones left out.

Hidden files are found (people keep .github there), version control's own folders never.
Symbolic links are not followed into folders, so no circle can trap the walk; special files are
passed over. Entries come sorted as whole paths are, one folder in memory at a time. Must not
open the files.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from glmcode.base.ignore import Rules

NEVER = frozenset({".git", ".hg", ".svn", ".jj"})


@dataclass(slots=True)
class Walk:
    """One walk from a folder; the counts say afterwards what was passed over.

    root: absolute. stopped is asked at every entry; True ends the walk early. links: whether
    symbolic links to files are given too. unwanted: names of folders that are not entered.
    ignored and unreadable count entries and folders.
    """

    root: str
    rules: Rules
    stopped: Callable[[], bool] = lambda: False
    links: bool = False
    unwanted: frozenset[str] = frozenset()
    ignored: int = 0
    unreadable: int = 0

    def files(self) -> Iterator[str]:
        """Paths relative to the root, sorted; bytes that are not UTF-8 as surrogates."""
        root = self.root.rstrip("/")
        stack = [self._entries(root or "/", "", self.rules)]
        while stack:
            if self.stopped():
                return
            entry = next(stack[-1], None)
            if entry is None:
                stack.pop()
                continue
            path, rules = entry
            if rules is None:
                yield path
            else:
                stack.append(self._entries(f"{root}/{path}", f"{path}/", rules))

    def _entries(
        self, folder: str, prefix: str, rules: Rules
    ) -> Iterator[tuple[str, Rules | None]]:
        """Each kept entry of a folder: its relative path, and rules if it is a folder."""
        try:
            with os.scandir(folder) as listing:
                entries = [(entry.name, self._is_folder(entry)) for entry in listing]
        except OSError:
            self.unreadable += 1
            return
        rules = rules.enter(folder, (name for name, _ in entries))
        start = f"{folder.rstrip('/')}/"
        kept: list[tuple[str, str, bool]] = []
        for name, is_folder in entries:
            if is_folder is None or name in NEVER or (is_folder and name in self.unwanted):
                continue
            if rules.ignores(name, start + name, is_folder):
                self.ignored += 1
                continue
            kept.append((f"{name}/" if is_folder else name, name, is_folder))
        kept.sort()
        for _, name, is_folder in kept:
            yield prefix + name, rules if is_folder else None

    def _is_folder(self, entry: os.DirEntry[str]) -> bool | None:
        """True: a folder; False: a file; None: neither, or a link that is not wanted."""
        try:
            if entry.is_dir(follow_symlinks=False):
                return True
            if entry.is_file(follow_symlinks=False):
                return False
            if self.links and entry.is_symlink() and entry.is_file():
                return False
        except OSError:
            return None
        return None
