"""The files of the workspace, as they are completed after an `@`.

Listed once, as Grep and git would list them (ignored files left out), and anew when the list is
old; the old one serves meanwhile. A letter of the query must come after the one before it
in the path; the better a name fits, the earlier it stands. Everything here takes its time and
is called in a thread. Must not open a file.
"""

from __future__ import annotations

import heapq
import os
import re
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from glmcode.base.ignore import rules_for
from glmcode.base.walk import Walk
from glmcode.repl.clean import visible

MOST_LISTED = 200_000
OLD_S = 20.0
PIECE = 1_000
"""Between so many paths the search looks whether it is still wanted."""


class Paths:
    """The paths below one folder, relative to it; folders end with a slash."""

    def __init__(self, root: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._root = os.path.realpath(root)
        self._clock = clock
        self._listed: list[str] | None = None
        self._at = 0.0
        self._refreshing: threading.Thread | None = None

    def find(self, query: str, most: int, stopped: Callable[[], bool] = lambda: False) -> list[str]:
        """The best `most` paths for a query, best first; none when stopped meanwhile."""
        return best(query, self._list(), most, stopped)

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
        if path != visible(path) or "\n" in path or '"' in path:
            continue
        files.append(path)
        folder = path.rpartition("/")[0]
        while folder and f"{folder}/" not in folders:
            folders[f"{folder}/"] = None
            folder = folder.rpartition("/")[0]
    return [*folders, *files]


def best(
    query: str, paths: Sequence[str], most: int, stopped: Callable[[], bool] = lambda: False
) -> list[str]:
    """The paths that fit a query, best first. A capital letter in the query means itself."""
    if not query:
        near = [path for path in paths if "/" not in path.rstrip("/")]
        return heapq.nsmallest(most, near)
    fits = re.compile(
        ".*?".join(map(re.escape, query)), 0 if query != query.lower() else re.IGNORECASE
    )
    found: list[tuple[int, int, str]] = []
    for start in range(0, len(paths), PIECE):
        if stopped():
            return []
        piece = paths[start : start + PIECE]
        fitting = [path for path in piece if fits.search(path)]
        ranked = ((_rank(query.lower(), path), len(path), path) for path in fitting)
        found = heapq.nsmallest(most, [*found, *ranked])
    return [path for _, _, path in found]


def _rank(query: str, path: str) -> int:
    """How well it fits, 0 the best: the name itself, its beginning, a part, the path, letters."""
    path = path.lower()
    name = path.rstrip("/").rpartition("/")[2]
    if name == query or path == query:
        return 0
    if name.startswith(query):
        return 1
    if path.startswith(query):
        return 2
    if query in name:
        return 3
    if query in path:
        return 4
    return 5 if re.search(".*?".join(map(re.escape, query)), name) else 6
