"""A process that changes a workspace the way turns do, to be killed at any moment.

`python -m tests.checkpoints.actor turn WORKSPACE SESSION SEED` makes one turn of edits, commands
and, in between, changes of a person (told on stdout before they happen); `undo WORKSPACE SESSION
COUNT` undoes by force. Each prints "ready" first and "done" last. Two more words, NUMBER and
SECONDS, end it by a signal that many seconds after it opened or changed files that many times:
at once for 0, else wherever it is then, inside the database too. So how busy the machine is
does not say whether it gets that far.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import sys
from contextlib import suppress
from pathlib import Path

from glmcode.checkpoints.recorder import Checkpoints
from glmcode.checkpoints.undo import Undo, UndoError

NAMES = (
    "a.txt", "b.py", "README", "src/main.c", "src/util.c", "src/deep/x.txt", "docs/one.md",
    "docs/two.md", "bin/run.sh", "odd\udcff.bin", "with space", "new\nline", "Case", "case",
)  # fmt: skip


DEEDS = {
    "open", "os.chmod", "os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink",
    "sqlite3.connect",
}  # fmt: skip
"""Names of Python's audit events."""


def mortal(number: int, seconds: float) -> None:
    """Die after so many deeds, and so many seconds later."""
    left = number

    def deed(name: str, arguments: object) -> None:
        nonlocal left
        if name not in DEEDS:
            return
        left -= 1
        if left == 0 and seconds:
            signal.setitimer(signal.ITIMER_REAL, seconds)  # nobody handles it: it ends the process
        elif left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(deed)


def tell(word: str) -> None:
    """One line that is out before anything else happens; bytes that are no text survive."""
    sys.stdout.write(repr(word) + "\n")
    sys.stdout.flush()


def content(chance: random.Random) -> bytes:
    """Some bytes: text of both line ends, binary, empty, or large."""
    kind = chance.randrange(6)
    if kind == 0:
        return b""
    if kind == 1:
        return chance.randbytes(chance.randrange(1, 5_000))
    if kind == 2:
        return b"line one\r\nline two\r\n" * chance.randrange(1, 40)
    if kind == 3:
        return b"x" * chance.randrange(1, 300_000)
    return f"text {chance.randrange(10**6)} é\n".encode() * chance.randrange(1, 30)


class Changes:
    """Random changes below a folder."""

    def __init__(self, root: Path, chance: random.Random) -> None:
        self.root = root
        self.chance = chance

    def all(self, *, folders: bool = False) -> list[Path]:
        """What there is, .git and ignored files left out."""
        found = []
        for folder, names, files in os.walk(self.root):
            names[:] = [name for name in names if name != ".git"]
            found += [Path(folder) / name for name in (names if folders else files)]
        return sorted(p for p in found if p.suffix != ".log" and p.name != ".gitignore")

    def place(self) -> Path:
        path = self.root / self.chance.choice(NAMES)
        if self.chance.random() < 0.4:
            path = self.root / f"d{self.chance.randrange(4)}" / f"n{self.chance.randrange(5)}"
        return path

    def ready(self, path: Path) -> Path:
        """Make room for a file at a path."""
        for one in reversed(path.relative_to(self.root).parents):
            folder = self.root / one
            if folder.is_symlink() or folder.is_file():
                folder.unlink()
            folder.mkdir(exist_ok=True)
        return path

    def write(self) -> None:
        path = self.ready(self.place())
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        path.unlink(missing_ok=True) if self.chance.random() < 0.5 else None
        if not path.is_symlink():
            path.write_bytes(content(self.chance))

    def same_size(self) -> None:
        files = [p for p in self.all() if p.is_file() and not p.is_symlink()]
        if files:
            path = self.chance.choice(files)
            path.write_bytes(self.chance.randbytes(path.stat().st_size))

    def remove(self) -> None:
        files = self.all()
        if files:
            self.chance.choice(files).unlink()

    def remove_folder(self) -> None:
        folders = [p for p in self.all(folders=True) if not p.is_symlink()]
        if folders:
            shutil.rmtree(self.chance.choice(folders))

    def move(self) -> None:
        files = self.all(folders=self.chance.random() < 0.4)
        if files:
            source = self.chance.choice(files)
            with suppress(OSError):
                source.rename(self.ready(self.place()))

    def mode(self) -> None:
        files = [p for p in self.all() if not p.is_symlink()]
        if files:
            self.chance.choice(files).chmod(
                self.chance.choice((0o644, 0o755, 0o600, 0o444, 0o4755))
            )

    def folder_mode(self) -> None:
        folders = [p for p in self.all(folders=True) if not p.is_symlink()]
        if folders:
            self.chance.choice(folders).chmod(self.chance.choice((0o755, 0o700, 0o555, 0o1777)))

    def link(self) -> None:
        path = self.ready(self.place())
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        path.symlink_to(self.chance.choice(("a.txt", "src", "nowhere/at\udcfe/all", "/etc")))

    def hard_link(self) -> None:
        files = [p for p in self.all() if p.is_file() and not p.is_symlink()]
        path = self.ready(self.place())
        if files and not os.path.lexists(path):
            with suppress(FileNotFoundError):
                path.hardlink_to(self.chance.choice(files))

    def empty_folder(self) -> None:
        path = self.ready(self.root / f"e{self.chance.randrange(4)}" / "inner" / "x").parent
        if self.chance.random() < 0.5:
            path.chmod(0o700)

    def command(self) -> None:
        """What a shell command might do: a few of these at once."""
        acts = (
            self.write, self.write, self.same_size, self.remove, self.remove_folder, self.move,
            self.move, self.mode, self.folder_mode, self.link, self.hard_link, self.empty_folder,
        )  # fmt: skip
        for _ in range(self.chance.randrange(1, 5)):
            self.chance.choice(acts)()


def user_change(changes: Changes) -> None:
    """A person saves, makes or removes one file; told before."""
    files = [p for p in changes.all() if p.is_file() and not p.is_symlink()]
    if files and changes.chance.random() < 0.7:
        path = changes.chance.choice(files)
    else:
        path = changes.root / f"mine{changes.chance.randrange(3)}.txt"
    known = path.stat().st_ino if path.exists() else 0
    data = None if changes.chance.random() < 0.2 else content(changes.chance)
    digest = "gone" if data is None else hashlib.sha256(data).hexdigest()
    for one in {path, *(other for other in files if other.stat().st_ino == known)}:
        tell(f"user {digest} {one.relative_to(changes.root)}")
    if data is None:
        path.unlink(missing_ok=True)
    else:
        path.write_bytes(data)


def edit(kept: Checkpoints, changes: Changes) -> None:
    """A Write as the tool does it: one file, known beforehand."""
    chance = changes.chance
    path = changes.root / "ignored.log" if chance.random() < 0.2 else changes.place()
    above = [path, *path.relative_to(changes.root).parents]
    if any((changes.root / one).is_symlink() for one in above) or path.is_dir():
        return
    if any((changes.root / one).is_file() for one in path.relative_to(changes.root).parents):
        return
    data = content(chance)
    digest = hashlib.sha256(data).hexdigest()
    step = kept.before("Write", path.name, [str(path)], {str(path): digest})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    kept.after(step)


def turn(root: Path, session: str, seed: int) -> None:
    """One turn; a person changes something in between now and then."""
    chance = random.Random(seed)
    changes = Changes(root, chance)
    kept = Checkpoints(root, session)
    kept.begin(f"turn {seed}")
    for _ in range(chance.randrange(1, 6)):
        if chance.random() < 0.4:
            edit(kept, changes)
        else:
            step = kept.before("Bash", "a command", command=True)
            changes.command()
            kept.after(step)
        for notice in kept.take_notices():
            tell(f"notice {notice}")
        if chance.random() < 0.15:
            user_change(changes)
    kept.close()


def undo(root: Path, session: str, count: int) -> None:
    """Undo by force."""
    kept = Checkpoints(root, session)
    one = Undo(kept)
    one.finish()
    with suppress(UndoError):
        plan = one.plan(count)
        tell("planned")
        one.apply(plan, force=True)
    kept.close()


if __name__ == "__main__":
    what, folder, name, number, *moment = sys.argv[1:]
    tell("ready")
    if moment:
        mortal(int(moment[0]), float(moment[1]))
    {"turn": turn, "undo": undo}[what](Path(folder), name, int(number))
    tell("done")
