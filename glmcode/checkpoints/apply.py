"""Putting things back: each path in one step, compared just before, in a resumable order.

First what must go, then folders, then files and links, and the modes of folders last. A path that
is already what it shall be is passed over, so the same list can be applied again after a kill.
Nothing is followed through a link, and what is not what was planned with is left and named. Must
not decide what is to be put back.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from glmcode.base.files import FileChanged, FileFault, fault, write_all
from glmcode.base.pinned import pinned
from glmcode.base.replace import replace_file
from glmcode.checkpoints.entries import Entry, same
from glmcode.checkpoints.plan import Item
from glmcode.checkpoints.reading import read_entry
from glmcode.checkpoints.store import NotKept

CHANGED = "changed just now"


class _Left(FileFault):
    """What stands there stays, also when it is tried again."""


@dataclass(slots=True)
class Applied:
    """Paths that are now as they shall be, and those that are not, each with its reason.

    hindered: something could not be done that may be possible later (a full disk, a folder that
    may not be written), so the turns still stand and can be undone once more.
    """

    done: list[str] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)
    hindered: bool = False


@dataclass(frozen=True, slots=True)
class Hands:
    """Where, and with what: get gives a kept content, backups is a folder for copies."""

    root: Path
    get: Callable[[bytes], bytes]
    backups: Path


def apply(items: Sequence[Item], hands: Hands) -> Applied:
    """Put items back, in whatever state an earlier attempt left them. Raises nothing of its own.

    What get raises beyond NotKept passes through.
    """
    applied = Applied()
    work = [item for item in items if not same(stands(hands.root, item.path), item.target)]
    going = [item for item in work if _goes(item)]
    made = [i for i in work if i.target is not None and i.target.kind == "d"]
    put = [i for i in work if i.target is not None and i.target.kind != "d"]
    failed: set[str] = set()
    soft = (_Left, FileChanged, NotKept)
    phases: list[tuple[list[Item], Callable[[Item, Hands], None]]] = [
        (sorted(going, key=_last_first), _remove),
        (sorted(made, key=lambda item: item.path.count("/")), _make_folder),
        (put, _put),
        (sorted(made, key=_last_first), _set_folder_mode),
    ]
    for listed, act in phases:
        for item in listed:
            if item.path in failed:
                continue
            try:
                act(item, hands)
            except (OSError, FileFault, NotKept) as error:
                why = str(fault(error) if isinstance(error, OSError) else error)
                applied.hindered = applied.hindered or not isinstance(error, soft)
                applied.failed.append((item.path, why))
                failed.add(item.path)
    applied.done = [item.path for item in items if item.path not in failed]
    return applied


def stands(root: Path, path: str) -> Entry | None:
    """What stands at a path now; nothing is kept. Links above it are not followed."""
    if not path.startswith("/"):
        folder = str(root)
        for part in path.split("/")[:-1]:
            folder = f"{folder}/{part}"
            try:
                if not stat.S_ISDIR(os.lstat(folder).st_mode):
                    return None
            except OSError:
                return None
    return _entry(root / path)


def _entry(path: Path) -> Entry | None:
    try:
        found = read_entry(str(path), None, lambda data: hashlib.sha256(data).digest())
    except OSError:
        return None
    return found.entry if found is not None else None


@contextmanager
def _place(item: Item, hands: Hands) -> Iterator[Path | None]:
    """Where the item lies, its folder held fast; None where that folder isn't there."""
    path = hands.root / item.path
    try:
        holding = pinned(path.parent)
        folder = holding.__enter__()
    except (FileNotFoundError, NotADirectoryError):
        yield None
        return
    except FileChanged as error:
        raise _Left(f"was left: it {error}") from error
    try:
        yield folder / path.name
    finally:
        holding.__exit__(None, None, None)


def _last_first(item: Item) -> tuple[int, int]:
    """Non-folders before folders, then the deepest first."""
    is_folder = item.now is not None and item.now.kind == "d"
    return (int(is_folder), -item.path.count("/"))


def _goes(item: Item) -> bool:
    """Whether something must be removed before anything can be put there."""
    if item.target is None:
        return True
    is_folder = item.now is not None and item.now.kind == "d"
    return item.now is not None and is_folder is not (item.target.kind == "d")


def _check(item: Item, place: Path | None) -> Entry | None:
    """What stands there, if it is what was planned with or a step on the way. Raises FileFault."""
    now = None if place is None else _entry(place)
    if same(now, item.now) or same(now, item.target):
        return now
    if now is None and item.target is not None and _goes(item):
        return now  # removed by an attempt that was interrupted
    if any(_alike(now, known) for known in (item.now, item.target)):
        return now  # only the mode differs: an attempt was interrupted
    raise _Left(CHANGED)


def _alike(now: Entry | None, known: Entry | None) -> bool:
    """Whether both are the same but for the mode."""
    if now is None or known is None or not now.kind == known.kind != "x":
        return False
    return now.kind == "d" or now.id == known.id


def _remove(item: Item, hands: Hands) -> None:
    with _place(item, hands) as place:
        now = _check(item, place)
        if place is None or now is None or (item.target is not None and same(now, item.target)):
            return
        if item.target is not None and (now.kind == "d") is (item.target.kind == "d"):
            return
        with _writable(place.parent):
            if now.kind != "d":
                place.unlink()
                return
            try:
                place.rmdir()
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
                raise _Left("was left: it holds other files") from error


def _make_folder(item: Item, hands: Hands) -> None:
    with _place(item, hands) as place:
        if _check(item, place) is not None:
            return
        if place is None:
            raise FileFault("was not made: the folder above it is gone")
        with _writable(place.parent):
            place.mkdir(0o700)


def _set_folder_mode(item: Item, hands: Hands) -> None:
    target = item.target
    assert target is not None
    with pinned(hands.root / item.path) as folder:
        if stat.S_IMODE(folder.stat().st_mode) != target.mode:
            folder.chmod(target.mode)


def _put(item: Item, hands: Hands) -> None:
    """Put a file or a link."""
    target = item.target
    with _place(item, hands) as place:
        now = _check(item, place)
    if target is None or same(now, target):
        return
    _parents(hands.root, item.path)
    with _place(item, hands) as place:
        if place is None:
            raise _Left(CHANGED)
        with _writable(place.parent):
            _put_at(place, hands, now, target, hands.root / item.path)


def _put_at(place: Path, hands: Hands, now: Entry | None, target: Entry, path: Path) -> None:
    """place: the path, its folder held fast."""
    if target.kind == "l":
        _link(place, target.id, now)
        return
    data = hands.get(target.id)
    # Another name of the same file may hold what it shall: it must not be written through.
    if now is None or now.kind != "f" or place.lstat().st_nlink > 1:
        _fresh(place, data, target.mode, over=now is not None)
        return
    if now.id != target.id:
        if not now.mode & stat.S_IWUSR:
            _set_mode(place, now.mode | stat.S_IWUSR)
        replace_file(path, data, expected=now.id.hex(), backups=hands.backups)
    _set_mode(place, target.mode)


def _set_mode(place: Path, mode: int) -> None:
    """Of a file, never of what a link there leads to."""
    if sys.platform != "linux":
        place.chmod(mode)
        return
    descriptor = os.open(place, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if stat.S_ISLNK(os.fstat(descriptor).st_mode):
            raise _Left(CHANGED)
        os.chmod(f"/proc/self/fd/{descriptor}", mode)  # noqa: PTH101 (a descriptor)
    finally:
        os.close(descriptor)


def _parents(root: Path, path: str) -> None:
    """Make folders that are gone meanwhile; never through a link."""
    folder = root
    for part in Path(path).parts[:-1]:
        folder = folder / part
        if not os.path.lexists(folder):
            folder.mkdir()
        elif folder != Path("/") and not path.startswith("/") and folder.is_symlink():
            raise _Left("was left: a folder above it has become a link")


def _fresh(path: Path, data: bytes, mode: int, *, over: bool) -> None:
    """A new file, complete and with its mode from the moment it has its name."""
    temporary = _temporary(path)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(temporary, flags, 0o600)
    try:
        try:
            write_all(descriptor, data)
            os.fchmod(descriptor, mode)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        _name(temporary, path, over=over)
    finally:
        temporary.unlink(missing_ok=True)


def _link(path: Path, target: bytes, now: Entry | None) -> None:
    temporary = _temporary(path)
    temporary.symlink_to(os.fsdecode(target))
    try:
        _name(temporary, path, over=now is not None)
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


def _name(temporary: Path, path: Path, *, over: bool) -> None:
    if over:
        temporary.rename(path)
        return
    try:
        os.link(temporary, path, follow_symlinks=False)
    except FileExistsError as error:
        raise _Left(CHANGED) from error
    except (OSError, NotImplementedError):
        if os.path.lexists(path):
            raise _Left(CHANGED) from None
        temporary.rename(path)


def _temporary(path: Path) -> Path:
    """A name beside a path that no scan counts; what a killed attempt left there is removed."""
    mark = hashlib.sha256(b"undo:" + os.fsencode(path.name)).hexdigest()[:16]
    temporary = path.parent / f".glmcode-{mark}.tmp"
    with suppress(FileNotFoundError):
        temporary.unlink()
    return temporary


@contextmanager
def _writable(folder: Path) -> Iterator[None]:
    """A folder that its owner made read-only is opened for one change, and closed again."""
    mode = stat.S_IMODE(folder.stat().st_mode)
    if os.access(folder, os.W_OK | os.X_OK):
        yield
        return
    folder.chmod(mode | stat.S_IRWXU)
    try:
        yield
    finally:
        folder.chmod(mode)
