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
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from glmcode.base.files import FileFault, fault, write_all
from glmcode.base.replace import replace_file
from glmcode.checkpoints.entries import Entry, same
from glmcode.checkpoints.plan import Item
from glmcode.checkpoints.reading import read_entry
from glmcode.checkpoints.store import NotKept

CHANGED = "changed just now"


@dataclass(slots=True)
class Applied:
    """Paths that are now as they shall be, and those that are not, each with its reason."""

    done: list[str] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)


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
    try:
        found = read_entry(str(root / path), None, lambda data: hashlib.sha256(data).digest())
    except OSError:
        return None
    return found.entry if found is not None else None


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


def _check(item: Item, hands: Hands) -> Entry | None:
    """What stands there, if it is what was planned with or a step on the way. Raises FileFault."""
    now = stands(hands.root, item.path)
    if same(now, item.now) or same(now, item.target):
        return now
    if now is None and item.target is not None and _goes(item):
        return now  # removed by an attempt that was interrupted
    if any(_alike(now, known) for known in (item.now, item.target)):
        return now  # only the mode differs: an attempt was interrupted
    raise FileFault(CHANGED)


def _alike(now: Entry | None, known: Entry | None) -> bool:
    """Whether both are the same but for the mode."""
    if now is None or known is None or not now.kind == known.kind != "x":
        return False
    return now.kind == "d" or now.id == known.id


def _remove(item: Item, hands: Hands) -> None:
    now = _check(item, hands)
    path = hands.root / item.path
    if now is None or (item.target is not None and same(now, item.target)):
        return
    if item.target is not None and (now.kind == "d") is (item.target.kind == "d"):
        return
    with _writable(path.parent):
        if now.kind != "d":
            path.unlink()
            return
        try:
            path.rmdir()
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            raise FileFault("was left: it holds other files") from error


def _make_folder(item: Item, hands: Hands) -> None:
    if _check(item, hands) is not None:
        return
    path = hands.root / item.path
    with _writable(path.parent):
        path.mkdir(0o700)


def _set_folder_mode(item: Item, hands: Hands) -> None:
    target = item.target
    assert target is not None
    path = hands.root / item.path
    if stat.S_IMODE(path.lstat().st_mode) != target.mode:
        path.chmod(target.mode)


def _put(item: Item, hands: Hands) -> None:
    """Put a file or a link."""
    now, target = _check(item, hands), item.target
    path = hands.root / item.path
    if target is None or same(now, target):
        return
    _parents(hands.root, item.path)
    with _writable(path.parent):
        if target.kind == "l":
            _link(path, target.id, now)
            return
        data = hands.get(target.id)
        # Another name of the same file may hold what it shall: it must not be written through.
        if now is None or now.kind != "f" or path.lstat().st_nlink > 1:
            _fresh(path, data, target.mode, over=now is not None)
            return
        if now.id != target.id:
            if not now.mode & stat.S_IWUSR:
                path.chmod(now.mode | stat.S_IWUSR)
            replace_file(path, data, expected=now.id.hex(), backups=hands.backups)
        path.chmod(target.mode)


def _parents(root: Path, path: str) -> None:
    """Make folders that are gone meanwhile; never through a link."""
    folder = root
    for part in Path(path).parts[:-1]:
        folder = folder / part
        if not os.path.lexists(folder):
            folder.mkdir()
        elif folder != Path("/") and not path.startswith("/") and folder.is_symlink():
            raise FileFault("was left: a folder above it has become a link")


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
        raise FileFault(CHANGED) from error
    except (OSError, NotImplementedError):
        if os.path.lexists(path):
            raise FileFault(CHANGED) from None
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
    mode = stat.S_IMODE(folder.lstat().st_mode)
    if os.access(folder, os.W_OK | os.X_OK):
        yield
        return
    folder.chmod(mode | stat.S_IRWXU)
    try:
        yield
    finally:
        folder.chmod(mode)
