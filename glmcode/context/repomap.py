"""The repository map: what a repository defines, the important first, in so many tokens.

The preamble holds one that is not personalised, so that every session on one commit shares its
bytes; `glmcode map --focus` and a mention in a prompt ask for one that is. The map is a pure
function of the files' contents, the budget and the focus: no clock, no randomness, no order of
a dictionary or of a disk decides anything. Must never fail for what stands in a file.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from glmcode.context.ranking import ranked
from glmcode.context.rendering import render
from glmcode.context.sources import source_files
from glmcode.context.tagging import tags_of_files

PER_FILE = 25
"""Tokens a file earns in a small repository."""
SMALL = 40
"""Files up to which a map grows with their number; then with each doubling."""
CEILING = 8_192
SHARE = 24
"""A map is at most this part of the window."""


def map_budget(files: int, window: int) -> int:
    """Tokens that the map may take in the preamble.

    files: how many source files there are; window: the context window in tokens (0: unknown).
    25 a file up to 40 files (750 tokens, about 3,000 characters, at 30), then 1,000 for each
    doubling: 1,000 at 40, 4,300 at 400, 7,100 at 2,800; at most 8,192 and a 24th of the window
    (8,448 of 202,752; 682 of 16,384).
    """
    if files <= 0:
        return 0
    wanted = PER_FILE * files
    if files > SMALL:
        wanted = int(PER_FILE * SMALL * (1 + math.log2(files / SMALL)))
    ceiling = min(CEILING, window // SHARE) if window > 0 else CEILING
    return min(wanted, ceiling)


def repository_map(
    root: Path,
    budget: int,
    count: Callable[[str], int],
    focus: Sequence[str] = (),
    *,
    files: Sequence[str] | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> str:
    """The map of the repository at root; "" when there is nothing worth showing.

    budget: the most that `count` may give for the text; it is never exceeded. files: what
    source_files(root) gave, where the caller has it already. stopped: True ends the work
    early with "".
    """
    if budget <= 0:
        return ""
    top = os.path.realpath(root)
    paths = source_files(root, stopped) if files is None else files
    tags = tags_of_files(top, paths, stopped)
    if stopped() or not any(one.definitions for one in tags.values()):
        return ""
    return render(ranked(tags, focus), budget, count)
