"""What searches through whole folders look at: grep -r, rg, diff -r. Pure.

A rule that denies a file denies a search that would read it: so it matters whether hidden files
are among them, and whether only some names are. Must not judge.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from glmcode.permissions.options import Scan
from glmcode.permissions.words import literal

if TYPE_CHECKING:
    from glmcode.permissions.programs import Deed

_NAMES_ONLY = frozenset(("fd", "tree", "du"))
_RECURSIVE = frozenset(("-r", "-R", "--recursive", "--dereference-recursive"))
_HIDDEN = frozenset(("-.", "--hidden", "-u", "--unrestricted", "-L", "--follow"))

_FOLLOWING = {
    "grep": {"-R", "--dereference-recursive"},
    "rg": {"-L", "--follow"},
    "fd": {"-L", "--follow"},
    "tree": {"-l"},
    "du": {"-L"},
    "diff": set[str](),
    "egrep": {"-R", "--dereference-recursive"},
    "fgrep": {"-R", "--dereference-recursive"},
}
"""Options with which a command goes through links to folders."""


def over_folders(name: str, found: Scan, deed: Deed) -> Deed:
    """Add what grep, rg or diff reads; without files they read the folder that they run in."""
    recursive = not name.endswith("grep") or bool(_RECURSIVE & set(found.seen))
    deed.below = recursive and name not in _NAMES_ONLY
    if recursive and not deed.reads:
        deed.reads = [literal(".")]
    links = bool(_FOLLOWING[name] & set(found.seen))
    deed.follows = links or (name == "diff" and bool(_RECURSIVE & set(found.seen)))
    if name == "rg":
        deed.hidden = bool(_HIDDEN & set(found.seen))
    elif name.endswith("grep"):
        deed.only = _included(found)
    return deed


def _included(found: Scan) -> tuple[str, ...]:
    """The names that grep's --include leaves."""
    names = []
    for option, value in found.given:
        if option == "--include" and value is not None:
            names.append(value.raw.partition("=")[2] if value.glob else value.text)
            if not (value.known or value.glob) or not re.fullmatch(r"[\w.*?+-]+", names[-1]):
                return ("*",)
    return tuple(names) or ("*",)
