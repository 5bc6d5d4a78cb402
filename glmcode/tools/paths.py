"""From a path as the model wrote it to a file on disk, and what to say when there is none.

Relative paths start at the workspace. A name that differs only in how its accents are composed
(a Mac writes e + accent) finds its file. What a person reads is relative inside the workspace
and absolute outside. Looks at the disk, so callers run it in a thread; it must not open files.
"""

from __future__ import annotations

import difflib
import json
import os
import time
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from glmcode.base.ignore import rules_for
from glmcode.base.walk import Walk
from glmcode.core.tool import ToolError
from glmcode.tools.context import ToolContext

_SEARCH_S = 0.5
_SEARCH_FILES = 20_000
_NAME_BYTES = 255
_PATH_BYTES = 4_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a path leads: `path` as given but absolute, `real` without links, `shown` for eyes."""

    path: Path
    real: Path
    shown: str


def locate(ctx: ToolContext, given: str) -> Place:
    """Resolve a path argument. Raises ToolError for one that can name nothing."""
    if not given.strip():
        raise ToolError("the path is empty; give the path of a file")
    if "\0" in given:
        raise ToolError("the path holds a NUL character, which no file name can; write it again")
    try:
        length = max(len(os.fsencode(part)) for part in given.split("/"))
    except UnicodeEncodeError as error:
        raise ToolError("the path holds half a character (a lone surrogate)") from error
    path = _absolute(ctx, given)
    if length > _NAME_BYTES or len(os.fsencode(path)) > _PATH_BYTES:
        raise ToolError(f"{given[:60]}... has a name that is too long for the file system")
    if not os.path.lexists(path):
        path = _composed_otherwise(path) or path
    real = Path(os.path.realpath(path))
    return Place(path=path, real=real, shown=_shown(ctx, path, real))


def _absolute(ctx: ToolContext, given: str) -> Path:
    try:
        path = ctx.resolve(given)
    except RuntimeError:
        return ctx.workspace / given
    if given.startswith("~") and not os.path.lexists(path):
        return _home_or_here(ctx, path, given)
    return path


def _home_or_here(ctx: ToolContext, path: Path, given: str) -> Path:
    """A name with a tilde that nobody's home holds may stand in the workspace."""
    if os.path.lexists(ctx.workspace / given):
        return ctx.workspace / given
    return path


def _composed_otherwise(path: Path) -> Path | None:
    """The one entry of the folder whose name is the same text in another Unicode form."""
    if path.name.isascii():
        return None
    wanted = unicodedata.normalize("NFC", path.name)
    same = [n for n in _names(path.parent) if unicodedata.normalize("NFC", n) == wanted]
    return path.parent / same[0] if len(same) == 1 else None


def _shown(ctx: ToolContext, path: Path, real: Path) -> str:
    lexical = Path(os.path.normpath(path))
    if lexical == real and real.is_relative_to(ctx.workspace):
        return printable(ctx.shown(real))
    for candidate in (lexical, real):
        if ctx.workspace in (candidate, *candidate.parents):
            if candidate is lexical and Path(os.path.realpath(lexical)) != real:
                continue
            return printable(ctx.shown(candidate))
    return printable(str(lexical if Path(os.path.realpath(lexical)) == real else real))


def quoted(text: str) -> str:
    """A text of the model in quotes, cut where it is too long to be repeated."""
    return repr(text) if len(text) <= 200 else f"{text[:200]!r}..."


def printable(path: str) -> str:
    """A path on one line: quoted, with escapes, where it holds what cannot be printed."""
    if path.isprintable() and "\ufffd" not in path:
        return path
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return text if text.isprintable() else json.dumps(text, ensure_ascii=False)


def missing(ctx: ToolContext, place: Place) -> ToolError:
    """The error for a path where nothing is, with the names that may have been meant."""
    parent = place.path.parent
    if not is_folder(parent):
        said = f"{place.shown} does not exist, nor does its folder"
        if os.path.lexists(parent):
            said = f"{place.shown} cannot exist: {_show(ctx, parent)} is a file, not a folder"
    elif place.path.is_symlink():
        said = f"{place.shown} is a symbolic link to {place.real}, which does not exist"
    else:
        said = f"{place.shown} does not exist"
    near = _near(ctx, place.path)
    if near:
        return ToolError(f"{said}; did you mean {' or '.join(near)}?")
    return ToolError(f"{said}; use Glob to find the right path")


def _near(ctx: ToolContext, path: Path) -> list[str]:
    """At most three existing paths that resemble the missing one, likeliest first."""
    found: list[Path] = []
    if ctx.cwd is not None and path.is_relative_to(ctx.workspace):
        from_shell = ctx.cwd / path.relative_to(ctx.workspace)
        if os.path.lexists(from_shell):
            found.append(from_shell)
    for form in (str(path).replace("\\", "/"), str(path).replace("file:/", "")):
        if form != str(path) and os.path.lexists(form):
            found.append(Path(form))
    found += [path.parent / name for name in _alike(path.name, _names(path.parent))]
    if len(found) < 3:
        found += _same_name_elsewhere(ctx, path)
    given = _show(ctx, path)
    return [one for one in dict.fromkeys(_show(ctx, one) for one in found) if one != given][:3]


def _alike(name: str, names: list[str]) -> list[str]:
    folded = [one for one in names if _plain(one) == _plain(name)]
    return folded or difflib.get_close_matches(name, names[:5_000], n=3, cutoff=0.6)


def _plain(name: str) -> str:
    """A name without what eyes do not tell apart: case, accents' form, kinds of space."""
    return " ".join(unicodedata.normalize("NFKC", name).casefold().strip("'\"`").split())


def _same_name_elsewhere(ctx: ToolContext, path: Path) -> list[Path]:
    root = str(ctx.workspace)
    deadline = time.monotonic() + _SEARCH_S
    walk = Walk(root, rules_for(root, root), lambda: time.monotonic() > deadline)
    wanted = _plain(path.name)
    same: list[Path] = []
    for count, one in enumerate(walk.files()):
        if _plain(one.rpartition("/")[2]) == wanted:
            same.append(ctx.workspace / one)
        if len(same) == 3 or count > _SEARCH_FILES:
            break
    return same


def folder_instead(ctx: ToolContext, place: Place) -> ToolError:
    """The error for a folder where a file was wanted, with a taste of what it holds."""
    if not os.access(place.path, os.R_OK | os.X_OK):
        return ToolError(f"{place.shown} is a directory, and you may not look into it")
    names = sorted(_names(place.path))
    shown = [f"{n}/" if is_folder(place.path / n) else n for n in names[:10]]
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    holds = f"it holds {', '.join(map(printable, shown))}{more}" if names else "it is empty"
    return ToolError(
        f"{place.shown} is a directory; {holds}. List its files with Glob (pattern '**', path "
        f"'{place.shown}')"
    )


def is_folder(path: Path) -> bool:
    """Whether a path is a folder, as far as one may look."""
    try:
        return path.is_dir()
    except OSError:
        return False


def _names(folder: Path) -> list[str]:
    try:
        return [one.name for one in folder.iterdir()]
    except OSError:
        return []


def _show(ctx: ToolContext, path: Path) -> str:
    return printable(ctx.shown(path))
