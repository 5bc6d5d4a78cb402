"""The state of a workspace, at the price of what changed since the last look.

Every file and folder is asked for its state (stats.py); only folders in which one differs are
listed again, and only files whose state differs are read. A state that is as young as the look
itself is not trusted (a file may change twice within a tick of the clock). Ignored files are left
out; version control's folders are never entered and links never followed. A scan has a time
limit: what it did not reach is told by the listing and read by the next one. Must not change
anything in the workspace.
"""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from glmcode.base.ignore import NAMES, Rules, rules_for
from glmcode.base.walk import NEVER
from glmcode.checkpoints.asking import OPEN
from glmcode.checkpoints.entries import Entry, pack
from glmcode.checkpoints.folder import Folder, is_racy
from glmcode.checkpoints.reading import FULL, LATE, read_entry
from glmcode.checkpoints.stats import NOTHING, Row, row_of
from glmcode.checkpoints.watch import Watch

MAX_FILES = 400_000
TOO_MANY = f"left out: more than {MAX_FILES:,} files"
UNLISTABLE = "may not be listed"
LISTING_S = 2.0
"""A folder that is known is listed even so much later: else what it held would not be known."""
_OURS = re.compile(r"\.glmcode-[0-9a-f]{16}\.tmp")


class Scanner:
    """What one workspace holds. Used by one thread at a time.

    put keeps bytes and gives their sha256; what it raises passes through, and then `forget`
    must be called. is_full: whether nothing more can be kept. blind: paths of which the last
    scans learned something old: that they appeared, vanished or were read for the first time
    says nothing about what happened.
    """

    def __init__(
        self,
        workspace: Path,
        put: Callable[[bytes], bytes],
        leave_out: Iterable[Path] = (),
        is_full: Callable[[], bool] = lambda: False,
    ) -> None:
        self.workspace = str(workspace)
        self.blind: set[str] = set()
        self.unkept: dict[str, str] = {}
        self._put = put
        self._is_full = is_full
        self._leave_out = {str(path) for path in leave_out}
        self._deadline = 0.0
        self.watch = Watch(self.workspace)
        self.forget()

    def forget(self) -> None:
        """Know nothing: the next scan reads everything."""
        self.root = Folder("", None)
        self.watch.begin(self.root)
        self.outer: list[tuple[str, Row | None]] = []
        self._files = 0
        self.fresh = True
        self.late = False
        self.many = False

    def adopt(self, root: Folder, tree: bytes, outer: list[tuple[str, Row | None]]) -> None:
        """Begin with what an earlier scan knew; the next one compares all of it."""
        self.forget()
        self.root, self.root.tree, self.outer = root, tree, outer
        self.watch.begin(root)
        self._files = sum(len(folder.entries) for folder in root.all())
        self.fresh = False

    def scan(self, limit_s: float, look_s: float = 0.0) -> bytes:
        """Look; returns the id of the workspace's tree. Raises SlowTree, OSError.

        late says afterwards whether something was not reached in time, many whether there are
        more files than are looked at. look_s: let asking for
        states take so long, and count limit_s from then on.
        """
        self._deadline = time.monotonic() + (look_s or limit_s)
        self.late = self.many = False
        if self._outer_changed():
            self.forget()
            self.outer = self._outer_states()
        descriptor = os.open(self.workspace, OPEN & ~os.O_NOFOLLOW)
        try:
            dirty = self.watch.differing(descriptor, self._deadline)
            if look_s:
                self._deadline = time.monotonic() + limit_s
            for folder in sorted(dirty, key=lambda one: one.path.count("/")):
                if folder.alive:
                    self._refresh(folder, descriptor)
        finally:
            os.close(descriptor)
        self.fresh = False
        return self._tree()

    def covers(self, path: str) -> bool:
        """Whether looks show a relative path, or would if something stood there."""
        folder: Folder | None = self.root
        rules = self.root.rules
        absolute = self._absolute("")
        parts = path.split("/")
        for at, name in enumerate(parts, 1):
            absolute = f"{absolute.rstrip('/')}/{name}"
            if folder is not None:
                rules = folder.rules
            if rules is None or (folder is not None and folder.unlisted):
                return False
            if name in NEVER or absolute in self._leave_out or _OURS.fullmatch(name):
                return False
            if rules.ignores(name, absolute, at < len(parts)):
                return False
            folder = folder.folders.get(name) if folder is not None else None
        return True

    def _outer_states(self) -> list[tuple[str, Row | None]]:
        """The states of ignore files that no listing shows: above the workspace, in .git."""
        folders = [Path(self.workspace), *Path(self.workspace).parents]
        paths = [f"{folder}/{name}" for folder in folders[1:] for name in NAMES]
        paths += [f"{folder}/.git/info/exclude" for folder in folders]
        home = os.environ.get("HOME") or "/"
        config = os.environ.get("XDG_CONFIG_HOME") or f"{home}/.config"
        paths += [f"{home}/.gitconfig", f"{config}/git/config", f"{config}/git/ignore"]
        return [(path, state_of(path)) for path in paths]

    def _outer_changed(self) -> bool:
        return not self.outer or any(state_of(path) != row for path, row in self.outer)

    # Looking again

    def _refresh(self, first: Folder, root: int) -> None:
        """List a folder again, and what is new below it."""
        stack = [first]
        changed_rules: set[str] = set()
        while stack:
            folder = stack.pop()
            if self._list(folder, root, stack, changed_rules):
                folder.touch()

    def _list(
        self, folder: Folder, root: int, stack: list[Folder], changed_rules: set[str]
    ) -> bool:
        """List one folder; whether its tree may differ now. Folders to list next go on the stack.

        changed_rules: paths of folders whose rules differ, so that all below is judged anew.
        """
        before = (folder.unlisted, folder.entries, set(folder.folders), folder.mode)
        patience = LISTING_S if folder.names != ["."] else 0.0
        if time.monotonic() > self._deadline + patience or self._files > MAX_FILES:
            many = self._files > MAX_FILES
            self.late, self.many = self.late or not many, self.many or many
            self._give_up(folder, TOO_MANY if many else LATE)
            return True
        try:
            descriptor = os.open(folder.path or ".", OPEN, dir_fd=root)
        except OSError as error:
            self._cannot_list(folder, error)
            return True
        try:
            now_ns = time.time_ns()
            status = os.fstat(descriptor)
            with os.scandir(descriptor) as listing:
                found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in listing]
            folder.mode = stat.S_IMODE(status.st_mode)
            own = row_of(status)
            judged = self._judge(folder, found, stack, changed_rules)
            rows = self._read_all(folder, descriptor, judged)
            folder.expect(rows, NOTHING if is_racy(own, now_ns) else own)
        finally:
            os.close(descriptor)
        folder.unlisted = ""
        return before != (folder.unlisted, folder.entries, set(folder.folders), folder.mode)

    def _give_up(self, folder: Folder, why: str) -> None:
        """What a listing would show is not known: it says so, and is tried again."""
        self._drop(folder.folders.values())
        self._files -= len(folder.entries)
        folder.entries, folder.folders, folder.unlisted = {}, {}, why
        folder.expect({}, NOTHING)

    def _cannot_list(self, folder: Folder, error: OSError) -> None:
        """It is gone (then its parent tells), or may not be read."""
        self._give_up(folder, UNLISTABLE)
        try:
            status = os.lstat(f"{self.workspace}/{folder.path}")
            folder.mode = stat.S_IMODE(status.st_mode)
        except OSError:
            if folder.parent is None:
                raise error from None

    def _judge(
        self,
        folder: Folder,
        found: list[tuple[str, bool]],
        stack: list[Folder],
        changed_rules: set[str],
    ) -> list[tuple[str, bool]]:
        """Which names count, by the ignore rules; (name, whether it is only watched)."""
        names = [name for name, _ in found]
        above = folder.parent.rules if folder.parent else self.root.rules
        old = folder.rules
        base = rules_for(self.workspace, self.workspace) if folder.parent is None else above
        rules = (base or Rules()).enter(self._absolute(folder.path), names)
        differ = old is not None and rules != old
        if differ or (folder.parent is not None and folder.parent.path in changed_rules):
            changed_rules.add(folder.path)
            stack.extend(folder.folders.values())
        folder.rules = rules
        kept: list[tuple[str, bool]] = []
        present: set[str] = set()
        for name, is_folder in found:
            path = self._absolute(folder.under(name))
            if name in NEVER or path in self._leave_out or _OURS.fullmatch(name):
                continue
            if rules.ignores(name, path, is_folder):
                if name in folder.entries or name in folder.folders:
                    self.blind.add(folder.under(name))
                if name in NAMES:
                    kept.append((name, True))
                continue
            if old is not None and differ and old.ignores(name, path, is_folder):
                self.blind.add(folder.under(name))
            if is_folder:
                present.add(name)
                self._enter(folder, name, stack)
            else:
                kept.append((name, False))
        gone = [name for name in folder.folders if name not in present]
        self._drop(folder.folders.pop(name) for name in gone)
        return kept

    def _enter(self, folder: Folder, name: str, stack: list[Folder]) -> None:
        below = folder.folders.get(name)
        if below is None:
            below = folder.folders[name] = Folder(folder.under(name), folder)
            stack.append(below)
        elif below.unlisted and below.unlisted != TOO_MANY:
            stack.append(below)

    def _drop(self, folders: Iterable[Folder]) -> None:
        for folder in folders:
            for one in folder.all():
                one.die()
                self._files -= len(one.entries)

    def _read_all(
        self, folder: Folder, descriptor: int, names: list[tuple[str, bool]]
    ) -> dict[str, Row]:
        """Read what differs from its known state; the states to expect from now on."""
        known = dict(zip(folder.names, folder.rows, strict=True))
        old = folder.entries
        entries: dict[str, Entry] = {}
        rows: dict[str, Row] = {}
        for name, watched in names:
            row = known.get(name, NOTHING)
            before = old.get(name)
            if (before is not None or watched) and row != NOTHING:
                try:
                    now = row_of(os.stat(name, dir_fd=descriptor, follow_symlinks=False))
                except OSError:
                    continue
                if now == row:
                    rows[name] = row
                    if before is not None and not watched:
                        entries[name] = before
                    continue
            self._read_one(folder, descriptor, name, watched, entries, rows)
        self._files += len(entries) - len(old)
        folder.entries = entries
        return rows

    def _read_one(
        self,
        folder: Folder,
        descriptor: int,
        name: str,
        watched: bool,
        entries: dict[str, Entry],
        rows: dict[str, Row],
    ) -> None:
        refused = LATE if watched or time.monotonic() > self._deadline else ""
        if not refused and self._is_full():
            refused = FULL
        now_ns = time.time_ns()
        found = read_entry(name, descriptor, self._put, refused=refused)
        if found is None or found.entry.kind == "d":
            rows[name] = NOTHING  # it vanished or turned meanwhile: look again next time
            return
        trusted = (found.settled or watched) and not is_racy(found.row, now_ns)
        rows[name] = found.row if trusted else NOTHING
        if watched:
            return
        path = folder.under(name)
        before = folder.entries.get(name)
        if found.entry.why == LATE:
            self.late = True
        elif before is not None and before.why == LATE and _token(found.row) in before.id:
            self.blind.add(path)
        entries[name] = found.entry
        if found.entry.kind == "x":
            self.unkept[path] = found.entry.why
        else:
            self.unkept.pop(path, None)

    def _absolute(self, path: str) -> str:
        root = self.workspace.rstrip("/")
        return f"{root}/{path}" if path else root or "/"

    # What it comes to

    def _tree(self) -> bytes:
        """Put the listings that changed."""
        if not self.root.tree:
            folders = list(self.root.all())
            for folder in reversed(folders):
                if not folder.tree:
                    folder.tree = self._put(pack(folder.listing()))
            self.watch.follow(folders)
        return self.root.tree


def _token(row: Row) -> bytes:
    return b"%d:%d" % (row[1], row[2])


def state_of(path: str, *, follow: bool = True) -> Row | None:
    """The state of a file, or None where there is none."""
    try:
        return row_of(os.stat(path, follow_symlinks=follow))  # noqa: PTH116 (asked often)
    except OSError:
        return None
