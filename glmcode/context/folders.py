"""Instructions of folders below the working directory, handed over when one is first touched.

A folder's AGENTS.md is told at the end of the first tool result that touches the folder, once,
framed as what it is. Folders that git ignores (vendored packages, build output) have no say, and
neither has what lies outside. What was handed over is known from the conversation itself, so that
resuming or compacting it gets the count right. Must not change a result otherwise.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from glmcode.base.data import prompt_text
from glmcode.base.ignore import NAMES as IGNORE_NAMES
from glmcode.base.ignore import rules_for
from glmcode.context.instructions import Collector, Refused, capped, folder_file, label_of

CAP = 16 * 1024
"""Bytes (UTF-8) of instructions that one result may carry."""

LEAST = 400
"""With less room than this (characters) nothing is handed over yet."""

_FRAME = 400
_OPENING = re.compile(r'^<instructions from="([^"\n]*)">$', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Handout:
    """Instructions of one folder, ready to be handed over; `label` names their file."""

    label: str
    text: str


@dataclass(slots=True)
class FolderInstructions:
    """What was handed over in one session, and what is still to be.

    workspace, extra: real paths of the folders that are worked in; the working directory's own
    instructions stand in the preamble, those of an extra folder do not. known: real paths of
    files that the preamble holds. trusted: whether instructions may import files.
    """

    workspace: Path
    extra: tuple[Path, ...] = ()
    known: frozenset[str] = frozenset()
    refused: Refused = lambda path: ""
    handed: set[str] = field(default_factory=set)
    trusted: bool = True

    def remember(self, results: Iterable[str]) -> None:
        """Take what these texts of tool results hold as handed over, and nothing else."""
        self.handed = {label for text in results for label in _OPENING.findall(text)}

    def concerns(self, paths: Sequence[str]) -> bool:
        """Whether a path lies in a folder that may have instructions of its own; cheap."""
        top = str(self.workspace)
        return any(
            True
            for path in paths
            if os.path.dirname(path) != top or os.path.isdir(path)  # noqa: PTH112, PTH120
            for _ in self._folders(Path(path))
        )

    def pending(self, paths: Sequence[str], room: int) -> list[Handout]:
        """What touching these real paths calls for, within `room` characters. Reads the disk."""
        found: list[Handout] = []
        if room < LEAST:
            return found
        for path in map(Path, paths):
            for base, folder in self._folders(path):
                file = folder_file(folder)
                if file is None or os.path.realpath(file) in self.known:
                    continue
                label = label_of(file, self.workspace)
                if label in self.handed or any(label == one.label for one in found):
                    continue
                if _ignored(folder, base):
                    continue
                if file == path:
                    self.handed.add(label)  # the result itself shows it
                    continue
                text = self._text(file, label, base, min(CAP, room - _FRAME))
                room -= len(text)
                if text and room >= 0:
                    found.append(Handout(label, text))
        return found

    def hand(self, handouts: Sequence[Handout]) -> str:
        """The text for the end of a result; handed over from now on."""
        fresh = [one for one in handouts if one.label not in self.handed]
        self.handed.update(one.label for one in fresh)
        return "".join(f"\n\n{one.text}" for one in fresh)

    def _folders(self, path: Path) -> Iterator[tuple[Path, Path]]:
        """The folders that a path touches, outermost first, each with what it is worked in."""
        folder = path if os.path.isdir(path) else path.parent  # noqa: PTH112 (never raises)
        for base in (self.workspace, *self.extra):
            if folder.is_relative_to(base):
                below = [one for one in (folder, *folder.parents) if one.is_relative_to(base)]
                below = [one for one in below if base != self.workspace or one != base]
                yield from ((base, one) for one in reversed(below))
                return

    def _text(self, file: Path, label: str, base: Path, cap: int) -> str:
        found = Collector(
            self.workspace, self.refused, included=set(self.known), trusted=self.trusted
        )
        found.add(file, label, inside=base)
        text = capped(found.sections, cap, found.notices)
        frame = prompt_text("reminders/folder_instructions.md")
        folder = label.rpartition("/")[0] or "."
        return f"{frame.format(folder=f'{folder}/')}\n{text}" if text else ""


def _ignored(folder: Path, base: Path) -> bool:
    """Whether the ignore files leave the folder, or one above it, out of the project."""
    rules = rules_for(str(base), str(base)).enter(str(base), _ignore_files(base))
    here = base
    for part in folder.relative_to(base).parts:
        here = here / part
        if rules.ignores(part, str(here), True):
            return True
        rules = rules.enter(str(here), _ignore_files(here))
    return False


def _ignore_files(folder: Path) -> list[str]:
    return [name for name in (".git", *IGNORE_NAMES) if os.path.lexists(folder / name)]
