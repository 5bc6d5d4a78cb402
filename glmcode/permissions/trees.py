"""What lies below a folder: files that a rule keeps closed, links that lead out. Looks at the disk.

A command that goes through a folder reads what is there, and one that follows links also what they
lead to. Bounded: a folder with more than can be looked at counts as one that holds the thing. Must
not judge or follow anything itself, nor open more than git's index and ignore files.
"""

# Paths are text here, as everywhere in rules.
# ruff: noqa: PTH120

from __future__ import annotations

import os
import re
import struct
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from glmcode.base.files import FileFault, FileMissing, load

_LINK = 0o120000
MOST_DENIED = 3_000
MOST_TRACKED = 20_000
MOST_LINKS = 60_000
_ODD = re.compile(r"\s(?:[/~-]|\.\.(?:/|\s|$))|['\"\\\n]")
"""A name that xargs or the shell would cut into words that are something else."""


def named_below(root: str, names: Sequence[str], *, hidden: bool = True) -> Iterator[str]:
    """Every file and folder below a root whose name fits, without git's and npm's own.

    hidden: False leaves hidden ones and links out, as ripgrep does.
    """
    count = 0
    hidden = hidden or _shows_hidden(Path(root), *Path(root).parents)
    for folder, folders, files in os.walk(root):
        hidden = hidden or _shows_hidden(Path(folder))
        for name in (*files, *folders):
            count += 1
            if not hidden and (name[0] == "." or Path(folder, name).is_symlink()):
                continue
            if _fits(name, names):
                yield f"{folder}/{name}"
        seen = [name for name in folders if hidden or name[0] != "."]
        folders[:] = [name for name in seen if name not in (".git", "node_modules")]
        if count > MOST_DENIED:
            yield ""
            return


def _fits(name: str, names: Sequence[str]) -> bool:
    return any(fnmatchcase(name.casefold(), one.casefold()) for one in names)


def _shows_hidden(*folders: Path) -> bool:
    """Whether a file tells ripgrep to look at what it leaves out by itself."""
    if "RIPGREP_CONFIG_PATH" in os.environ:
        return True
    for folder in folders:
        for name in (".ignore", ".rgignore", ".gitignore"):
            try:
                if re.search(rb"^\s*!", load(folder / name).data, re.MULTILINE):
                    return True
            except FileMissing:
                continue
            except FileFault:  # a pipe, for one, which must not be waited for
                return True
    return False


def link_out(
    root: str, names: Sequence[str], closed: Callable[[str], bool], *, words: bool = False
) -> str:
    """A link below a root that leads to what is closed; "" for none.

    words: the names are given to a command one by one, so that a link to a folder is not gone
    through, and a name that would fall apart counts too.
    """
    count, waiting = 0, [root]
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    count += 1
                    path = entry.path
                    if words and _ODD.search(entry.name):
                        return path
                    if entry.is_symlink():
                        counts = not words or not entry.is_dir()
                        if counts and _fits(entry.name, names) and closed(path):
                            return path
                    elif entry.name != ".git" and entry.is_dir(follow_symlinks=False):
                        waiting.append(path)
        except OSError:
            continue
        if count > MOST_LINKS:
            return f"{root} (too many files to look at)"
    return ""


def tracked_below(folder: str) -> Iterator[str]:
    """All that git tracks around a folder; "" where that isn't known or too much."""
    found = tracked(folder)
    if not found or len(found) > MOST_TRACKED:
        yield ""
        return
    for path, _ in found:
        yield path


def tracked_links(folder: str) -> list[str] | None:
    """The links that git tracks in the repository around a folder; None when that is unclear."""
    found = tracked(folder)
    return None if found is None else [path for path, link in found if link]


def tracked(folder: str) -> list[tuple[str, bool]] | None:
    """All that git tracks around a folder, and whether each is a link; None when unclear."""
    while not os.path.lexists(f"{folder}/.git"):
        if len(folder) <= 1:
            return []
        folder = os.path.dirname(folder)
    try:
        data = Path(folder, ".git", "index").read_bytes()
    except FileNotFoundError:
        return []
    except OSError:
        return None
    version, count = struct.unpack(">II", data[4:12])
    if data[:4] != b"DIRC" or version not in (2, 3):
        return None
    found: list[tuple[str, bool]] = []
    at = 12
    for _ in range(count):
        mode, flags = struct.unpack(">I", data[at + 24 : at + 28])[0], data[at + 60]
        start = at + (64 if flags & 0x40 else 62)
        end = data.index(0, start)
        path = f"{folder}/{os.fsdecode(data[start:end])}"
        found.append((path, mode & 0o170000 == _LINK))
        at += (end - at) // 8 * 8 + 8
    return found
