"""One folder as the scan remembers it: what it holds, and the states in which that was read.

The names that are asked about at every scan stand beside the states that are expected of them; one
that is expected to be nothing is read again. Must not touch the disk.
"""

from __future__ import annotations

from collections.abc import Iterator

from glmcode.base.ignore import Rules
from glmcode.checkpoints.asking import Share
from glmcode.checkpoints.entries import Entry, unkept
from glmcode.checkpoints.stats import NOTHING, Row

SLACK_NS = 50_000_000
COARSE_NS = 2_500_000_000
"""A file that changed so shortly before it was read may change again without a new time; file
systems that keep whole seconds need the longer one."""
UNLISTED = ""
"""The name under which a listing that is not whole says why."""


class Group:
    """Folders that are asked about in one go. share: what is asked, None when that is outdated.

    told: whether the helper process has this share.
    """

    __slots__ = ("count", "folders", "share", "told")

    def __init__(self) -> None:
        self.folders: list[Folder] = []
        self.count = 0
        self.share: Share | None = None
        self.told = False


class Folder:
    """A folder of the workspace. `path` is relative, "" for the workspace itself."""

    __slots__ = (
        "alive",
        "entries",
        "folders",
        "group",
        "mode",
        "names",
        "parent",
        "path",
        "rows",
        "rules",
        "tree",
        "unlisted",
    )

    def __init__(self, path: str, parent: Folder | None) -> None:
        self.path = path
        self.parent = parent
        self.alive = True
        self.mode = 0
        self.rules: Rules | None = None
        self.entries: dict[str, Entry] = {}
        self.folders: dict[str, Folder] = {}
        self.unlisted = ""
        self.tree = b""
        self.names: list[str] = ["."]
        self.rows: list[Row] = [NOTHING]
        self.group: Group | None = None

    def under(self, name: str) -> str:
        """The relative path of a name in this folder."""
        return f"{self.path}/{name}" if self.path else name

    def all(self) -> Iterator[Folder]:
        """This folder and all below it, each before what it holds."""
        stack = [self]
        while stack:
            folder = stack.pop()
            yield folder
            stack.extend(folder.folders.values())

    def touch(self) -> None:
        """Its listing, and so those above it, are no longer what they were."""
        folder: Folder | None = self
        while folder is not None:
            folder.tree = b""
            folder = folder.parent

    def expect(self, rows: dict[str, Row], own: Row) -> None:
        """What the next scan is to find: the folder's own state first, then each name's."""
        self.names = [".", *rows]
        self.rows = [own, *rows.values()]
        if self.group is not None:
            self.group.share = None

    def die(self) -> None:
        """It is gone: nothing is asked about it any more."""
        self.alive = False
        if self.group is not None:
            self.group.share = None

    def listing(self) -> list[tuple[str, Entry]]:
        """What its tree object holds, sorted by name; every folder below must have its tree."""
        if self.unlisted:
            return [(UNLISTED, unkept(self.unlisted, 0, 0, 0))]
        below = [(name, Entry("d", f.mode, f.tree)) for name, f in self.folders.items()]
        return sorted([*self.entries.items(), *below], key=lambda named: named[0])


def is_racy(row: Row, now_ns: int) -> bool:
    """Whether a file in this state, read at this time, may change without another state."""
    _, _, mtime, ctime = row
    whole = ctime % 10**9 == 0
    return max(mtime, ctime) >= now_ns - (COARSE_NS if whole else SLACK_NS)
