"""Instructions: what AGENTS.md files ask for, as text for the head of every prompt.

The user's own file first, then those of the folders from the repository's root down to the
working directory; CLAUDE.md counts in a folder without AGENTS.md. `@path` in prose imports a
file: it follows the importing one as a section of its own, once. The text depends on the files
and on which folder is worked in, and on nothing else: labels are relative to the repository, so
that sessions share the head of their prompts. What is left out is said, to the model and to the
person. A file is never opened before it was looked at. Must not write, nor ask anyone.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from glmcode.base.data import prompt_text
from glmcode.base.files import FileFault, load
from glmcode.base.textfile import BinaryFile, decode, normalised
from glmcode.context.markup import prose

NAMES = ("AGENTS.md", "CLAUDE.md")
"""Names of instruction files; in one folder the first that is there counts."""

CAP = 32 * 1024
"""Bytes (UTF-8) that all instructions of a preamble may hold together."""

DEPTH = 5
"""How far imports of imports are followed."""

_FILE_BYTES = 1 << 20
_FILES = 50
_NOTES = 8
_USER = "the user's AGENTS.md"
_REFERENCE = re.compile(r"""(?<![\w@/.~+`\\-])@(?:"([^"\n\0]+)"|([^\s"<>|*?`\0]+))""")
_TRAILING = ".,;:!?)]}'*_"
_PATH_LIKE = re.compile(r"(?:~|\.{1,2})/.+|(?!/).*/[^/]*\.\w{1,8}|[^/]*\.(?:mdx?|mdc|txt|rst|adoc)")

Refused = Callable[[Path], str]
"""Why a file may not be read, as the rules say it; "" when it may."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Instructions:
    """text: for the preamble, "" when there is none. files: real paths of what it holds.

    notices: what a person should know (cut, not imported, not trusted), a line each.
    """

    text: str = ""
    files: frozenset[str] = frozenset()
    notices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Section:
    """One file's instructions; `importer` is the label of the file that asked for it, or ""."""

    label: str
    text: str
    importer: str = ""
    notes: tuple[str, ...] = ()

    def opening(self) -> str:
        """The line that begins it."""
        by = f' imported-by="{self.importer}"' if self.importer else ""
        return f'<instructions from="{self.label}"{by}>'

    def body(self) -> str:
        """The text and the notes about its imports."""
        return "\n".join([self.text, *self.notes])


def instructions(
    workspace: Path,
    user_folder: Path | None = None,
    *,
    trusted: bool = True,
    refused: Refused = lambda path: "",
) -> Instructions:
    """All instructions for a session in `workspace` (a real path). Never raises.

    trusted: whether the repository's files may import others; their own text counts always.
    """
    root = repository_root(workspace)
    found = Collector(root, refused, trusted=trusted)
    if user_folder is not None and (path := folder_file(user_folder, NAMES[:1])) is not None:
        found.add(path, _USER, inside=None)
    for folder in _down(root, workspace):
        if (path := folder_file(folder)) is not None:
            found.add(path, label_of(path, root), inside=root)
    text = capped(found.sections, CAP, found.notices)
    if text:
        text = f"{prompt_text('instructions.md')}\n\n{text}"
    return Instructions(
        text=text, files=frozenset(found.included), notices=tuple(dict.fromkeys(found.notices))
    )


def repository_root(workspace: Path) -> Path:
    """The folder that holds the repository around `workspace`; itself where there is none."""
    for folder in (workspace, *workspace.parents):
        mark = folder / ".git"
        if os.path.isfile(mark) or os.path.lexists(mark / "HEAD"):  # noqa: PTH113 (never raises)
            return folder
    return workspace


def folder_file(folder: Path, names: tuple[str, ...] = NAMES) -> Path | None:
    """The instruction file of one folder, of whatever kind it is, or None."""
    return next((folder / name for name in names if os.path.lexists(folder / name)), None)


def label_of(path: Path, root: Path) -> str:
    """A path as it is named in the prompt: relative to the repository, on one line."""
    shown = path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
    if shown.isprintable() and '"' not in shown:
        return shown
    return json.dumps(os.fsencode(shown).decode("utf-8", "backslashreplace"))[1:-1]


def _down(root: Path, workspace: Path) -> list[Path]:
    below = [folder for folder in workspace.parents if folder.is_relative_to(root)]
    return [*reversed(below), workspace]


@dataclass(slots=True)
class Collector:
    """Reads instruction files and what they import; each real file once."""

    root: Path
    refused: Refused
    included: set[str] = field(default_factory=set)
    sections: list[Section] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    trusted: bool = True

    def add(self, path: Path, label: str, *, inside: Path | None) -> None:
        """A file and its imports. inside: the folder that it must not lead out of."""
        problem = self._take(path, label, inside, "", ())
        if problem:
            self.notices.append(f"{label} was left out: it {problem}")
            self.sections.append(Section(label, f"[left out: it {problem}]"))

    def _take(
        self,
        path: Path,
        label: str,
        inside: Path | None,
        importer: str,
        chain: tuple[str, ...],
    ) -> str:
        """Add a file's section and those of its imports; what is wrong with it, or ""."""
        real = Path(os.path.realpath(path))
        key = str(real)
        if key in chain:
            return "is imported in a circle"
        if key in self.included:
            return ""
        problem = self._forbidden(real, inside, len(chain))
        text = ""
        if not problem:
            problem, text = _read(real)
        if problem:
            return problem
        self.included.add(key)
        place = len(self.sections)
        section = Section(label, text, importer)
        self.sections.append(section)
        notes = self._imports(path, label, text, inside, (*chain, key))
        if not text and not notes:
            del self.sections[place]
        elif notes:
            shown = (
                *notes[:_NOTES],
                *([f"[and {len(notes) - _NOTES} more]"] * (len(notes) > _NOTES)),
            )
            self.sections[place] = Section(label, text, importer, shown)
        return ""

    def _forbidden(self, real: Path, inside: Path | None, depth: int) -> str:
        if inside is not None and not real.is_relative_to(inside):
            return "lies outside the repository"
        if depth > DEPTH:
            return f"is imported through more than {DEPTH} files"
        if len(self.included) >= _FILES:
            return f"is one too many: at most {_FILES} files are read"
        why = self.refused(real)
        return f"may not be read: {why}" if why else ""

    def _imports(
        self, path: Path, label: str, text: str, inside: Path | None, chain: tuple[str, ...]
    ) -> list[str]:
        notes: list[str] = []
        for name, target in _references(text, Path(os.path.realpath(path)).parent):
            shown = f"@{name}" if name.isprintable() else f"@{name!a}"
            imported = label_of(target, inside) if inside else name
            if self.trusted or inside is None:
                problem = self._take(target, imported, inside, label, chain)
            else:
                problem = "needs a trusted folder (glmcode --trust)"
            if problem:
                notes.append(f"[{shown} was not imported: it {problem}]")
                if len(notes) <= _NOTES:
                    self.notices.append(f"{label}: {shown} was not imported: it {problem}")
        if len(notes) > _NOTES:
            self.notices.append(f"{label}: {len(notes) - _NOTES} more were not imported")
        return notes


def _read(real: Path) -> tuple[str, str]:
    """What is wrong with a file (or ""), and its text."""
    try:
        return "", normalised(decode(load(real, _FILE_BYTES).data).text).strip("\n").rstrip()
    except BinaryFile as error:
        return f"is a binary file ({error})", ""
    except FileFault as error:
        return str(error), ""


def _references(text: str, folder: Path) -> Iterator[tuple[str, Path]]:
    """Each reference in prose once: as it is written, and the path it leads to.

    What neither exists nor looks like the path of a file is a handle, a decorator, a package.
    """
    if "@" not in text:
        return
    seen: set[str] = set()
    for match in _REFERENCE.finditer(prose(text)):
        quoted, plain = match.groups()
        name, target = _existing(quoted or plain, folder, trim=not quoted)
        if name in seen or not name:
            continue
        seen.add(name)
        is_there = os.path.lexists(target) and not os.path.isdir(target)  # noqa: PTH112
        if is_there or _PATH_LIKE.fullmatch(name):
            yield name, target


def _existing(name: str, folder: Path, *, trim: bool) -> tuple[str, Path]:
    """The name without the punctuation after it, and its lexical path."""
    while trim and not os.path.lexists(_resolved(name, folder)):
        shorter = name.removesuffix("'s") if name.endswith("'s") else name[:-1]
        if name[-1:] not in tuple(_TRAILING) and not name.endswith("'s"):
            break
        name = shorter
    return name, _resolved(name, folder)


def _resolved(name: str, folder: Path) -> Path:
    try:
        given = Path(name).expanduser() if name.startswith("~") else Path(name)
    except RuntimeError:
        given = Path(name)
    return Path(os.path.normpath(folder / given))


def capped(sections: list[Section], cap: int, notices: list[str]) -> str:
    """The sections as one text of at most `cap` bytes beside their frames; what is cut is said."""
    out: list[str] = []
    missing: list[str] = []
    left = cap
    for section in sections:
        body = section.body()
        size = len(body.encode("utf-8", "replace"))
        if size > left:
            kept = _head(body, left) if left >= 200 else ""
            if not kept:
                missing.append(f"{section.label} ({size:,} bytes)")
                continue
            shown = len(kept.encode("utf-8", "replace"))
            said = f"cut after {shown:,} of {size:,} bytes: all instructions may hold {cap:,}"
            notices.append(f"{section.label} was {said}")
            body = f"{kept}\n[{said}; Read {section.label} for the rest]"
            left = 0
        else:
            left -= size
        out.append(f"{section.opening()}\n{body}\n</instructions>")
    if missing:
        said = f"left out, because all instructions may hold {cap:,} bytes: {', '.join(missing)}"
        notices.append(f"instructions {said}")
        out.append(f"[{said}; Read them when they matter]")
    return "\n\n".join(out)


def _head(text: str, size: int) -> str:
    """The first lines within `size` bytes; of one long line its beginning."""
    head = text.encode("utf-8", "replace")[:size].decode("utf-8", "ignore")
    end = head.rfind("\n")
    return head[:end] if end > len(head) // 2 else head
