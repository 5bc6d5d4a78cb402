"""Which folders of a workspace differ from what was read: asked group by group.

Folders are put into groups of about a thousand files and stay in theirs, so that a change makes
one group's expectations outdated and not all. In a large tree a second process asks as well, from
the other end (helper.py); what it has not answered when this one gets there, this one asks itself,
so it is never waited for. Must not read or list anything.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

from glmcode.checkpoints.asking import ROOM, Asker, Share
from glmcode.checkpoints.folder import Folder, Group
from glmcode.checkpoints.helper import Helper

HELPED_FROM = 10_000
"""Files from which a second process is worth its memory (about 15 MB for 50,000)."""
_WORTH_SHARING = 4
_TOLD_AT_ONCE = 16
_TELLING_S = 2.0


class SlowTree(Exception):
    """The workspace could not even be looked at within the time limit."""


class Watch:
    """The groups of one workspace. Used by one thread at a time."""

    def __init__(self, workspace: str) -> None:
        self._workspace = workspace
        self._groups: list[Group] = []
        self._asker: Asker | None = None
        self._helper: Helper | None = None

    def begin(self, root: Folder) -> None:
        """Forget what was followed; from now on follow this folder and those below."""
        self._groups = []
        self.follow(list(root.all()))

    def follow(self, folders: Sequence[Folder]) -> None:
        """Follow those of the folders that are not followed yet."""
        at = 0
        for folder in folders:
            if folder.group is not None:
                continue
            size = len(folder.names)
            while at < len(self._groups) and self._groups[at].count + size > ROOM:
                at += 1
            if at == len(self._groups):
                self._groups.append(Group())
            folder.group = group = self._groups[at]
            group.folders.append(folder)
            group.count += size
            group.share = None

    def differing(self, root: int, deadline: float) -> list[Folder]:
        """The folders in which something is not as it was read. root: the open workspace.

        deadline: of time.monotonic(). Raises SlowTree.
        """
        shares = [_share(group) for group in self._groups]
        helper = self._helper
        found: dict[int, set[int]] = {}
        if helper is not None:
            self._tell(helper, _TOLD_AT_ONCE)
            helper.ask()
        if self._asker is None:
            self._asker = Asker()
        try:
            for number, share in enumerate(shares):
                if number and time.monotonic() > deadline:
                    raise SlowTree
                if helper is not None:
                    self._hear(helper, found)
                if number not in found:
                    found[number] = self._asker.differing(root, share)
        finally:
            if helper is not None:
                helper.rest()
        return [
            self._groups[number].folders[at]
            for number in range(len(shares))
            for at in sorted(found[number])
        ]

    def _hear(self, helper: Helper, found: dict[int, set[int]]) -> None:
        for number, positions in helper.answers():
            if number < len(self._groups) and self._groups[number].told:
                found[number] = positions

    def _tell(self, helper: Helper, most: int) -> None:
        """Let the helper know what has changed for at most so many groups."""
        for number, group in enumerate(self._groups):
            if not group.told and most > 0:
                group.told = helper.tell(number, _share(group))
                most -= 1

    def engage(self) -> None:
        """Start the helper where it is worth it, and tell it everything; takes some time."""
        files = sum(group.count for group in self._groups)
        if self._helper is not None or files < HELPED_FROM or len(self._groups) < _WORTH_SHARING:
            return
        if (os.cpu_count() or 1) < 2:
            return
        self._helper = helper = Helper(self._workspace)
        self._tell(helper, len(self._groups))
        helper.flush(_TELLING_S)

    def close(self) -> None:
        """End the helper."""
        helper, self._helper = self._helper, None
        if helper is not None:
            helper.close()


def _share(group: Group) -> Share:
    """What is asked of a group, up to date."""
    if group.share is None:
        group.folders = [folder for folder in group.folders if folder.alive]
        names = [list(map(os.fsencode, folder.names)) for folder in group.folders]
        marks = [(row[0], row[3]) for folder in group.folders for row in folder.rows]
        paths = [os.fsencode(folder.path) for folder in group.folders]
        group.count = len(marks)
        group.share = Share(paths, names, marks)
        group.told = False
    return group.share
