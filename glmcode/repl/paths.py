"""The files of the workspace, as they are completed after an `@`.

Listed once, as Grep and git would list them (ignored files left out), and anew when the list is
old; the old one serves meanwhile. A letter of the query must come after the one before it
in the path; the better a name fits, the earlier it stands. Everything here takes its time and
is called in a thread; but Python runs one thread at a time, so the search goes through pieces of
text (one call of `re` for a thousand paths) and gives way between them, and a longer query looks
only at what the shorter one had found. Must not open a file.
"""

from __future__ import annotations

import heapq
import os
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from glmcode.base.ignore import rules_for
from glmcode.base.walk import Walk
from glmcode.repl.clean import visible

MOST_LISTED = 200_000
OLD_S = 20.0
PIECE = 1_000
"""Between so many paths the search gives way, and looks whether it is still wanted."""
GIVES_WAY = 50
"""Between so many files the listing does."""
Stopped: TypeAlias = Callable[[], bool]


class Paths:
    """The paths below one folder, relative to it; folders end with a slash."""

    def __init__(self, root: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._root = os.path.realpath(root)
        self._clock = clock
        self._listed: list[str] | None = None
        self._at = 0.0
        self._refreshing: threading.Thread | None = None
        self._narrowed: tuple[list[str], str, list[str]] = ([], "", [])

    def find(self, query: str, most: int, stopped: Stopped = lambda: False) -> list[str]:
        """The best `most` paths for a query, best first; none when stopped meanwhile."""
        everything = self._list()
        of, shorter, found = self._narrowed
        paths = found if of is everything and query.startswith(shorter) else everything
        fits = fitting(query, paths, stopped)
        if fits is None:
            return []
        self._narrowed = (everything, query, fits)
        return _ranked(query, fits, most, stopped)

    def _list(self) -> list[str]:
        if self._listed is None:
            self._refresh()
        elif self._clock() - self._at > OLD_S and not self._running():
            self._refreshing = threading.Thread(target=self._refresh, name="paths", daemon=True)
            self._refreshing.start()
        return self._listed or []

    def _running(self) -> bool:
        return self._refreshing is not None and self._refreshing.is_alive()

    def _refresh(self) -> None:
        found = listed(self._root)
        self._listed, self._at = found, self._clock()


def listed(root: str) -> list[str]:
    """Files and folders below a folder, those of names that a terminal can't show left out."""
    files: list[str] = []
    folders: dict[str, None] = {}
    for path in Walk(root, rules_for(root, root), links=True).files():
        if len(files) >= MOST_LISTED:
            break
        if not len(files) % GIVES_WAY:
            time.sleep(0)
        if path != visible(path) or "\n" in path or '"' in path:
            continue
        files.append(path)
        folder = path.rpartition("/")[0]
        while folder and f"{folder}/" not in folders:
            folders[f"{folder}/"] = None
            folder = folder.rpartition("/")[0]
    return [*folders, *files]


def fitting(query: str, paths: list[str], stopped: Stopped = lambda: False) -> list[str] | None:
    """The paths that hold the letters of a query in their order, None when stopped. A capital
    letter in the query means itself."""
    if not query:
        return paths
    return _search(f"^{_letters(query, '')}.*$", query, paths, stopped)


def best(query: str, paths: list[str], most: int, stopped: Stopped = lambda: False) -> list[str]:
    """The paths that fit a query, best first: the name itself, its beginning, that of the path, a
    part of the name, of the path, letters of the name; none when stopped."""
    fits = fitting(query, paths, stopped)
    return [] if fits is None else _ranked(query, fits, most, stopped)


def _ranked(query: str, paths: list[str], most: int, stopped: Stopped) -> list[str]:
    """The best of paths that fit."""
    if not query:
        return heapq.nsmallest(most, (one for one in paths if "/" not in one.rstrip("/")))
    text = re.escape(query)
    whole = _search(f"^.*{text}.*$", query, paths, stopped)
    forms = (
        (f"^(?:.*/)?{text}/?$", whole),
        (f"^(?:.*/)?{text}[^/\n]*/?$", whole),
        (f"^{text}.*$", whole),
        (f"^.*{text}[^/\n]*/?$", whole),
        ("^.*$", whole),
        (f"^(?:.*/)?{_letters(query, '/')}[^/\n]*/?$", paths),
        ("^.*$", paths),
    )
    found: dict[str, None] = {}
    for form, among in forms:
        fits = None if among is None else _search(form, query, among, stopped)
        if fits is None:
            return []
        nearest = heapq.nsmallest(most + len(found), fits, key=lambda path: (len(path), path))
        found |= dict.fromkeys(nearest)
        if len(found) >= most:
            break
    return [*found][:most]


def _letters(query: str, other: str) -> str:
    """A pattern for these letters with anything but `other` between; it never tries twice."""
    return "".join(f"[^{re.escape(letter)}{other}\n]*+{re.escape(letter)}" for letter in query)


def _search(form: str, query: str, paths: list[str], stopped: Stopped) -> list[str] | None:
    """The paths that a pattern fits, None when stopped."""
    case = re.NOFLAG if query != query.lower() else re.IGNORECASE
    fits = re.compile(form, case | re.MULTILINE).findall
    found: list[str] = []
    for start in range(0, len(paths), PIECE):
        if stopped():
            return None
        found += fits("\n".join(paths[start : start + PIECE]))
        time.sleep(0)  # who waits for Python's lock has it now, not after its 5 ms
    return found
