"""Random sequences of turns, changes of a person, kills and undos, and what must be true after.

The state before each turn is remembered here, by an independent walk. After an undo that was not
refused, whatever nobody else touched is byte for byte as it was; what somebody touched is theirs
or as it was; a refusal names the file and changes nothing. The repository's own folder never
changes. Used by a slice in the suite and by the campaign in tests/soak.
"""

from __future__ import annotations

import ast
import hashlib
import os
import random
import signal
import sqlite3
import stat
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import closing, redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from glmcode.checkpoints.recorder import Checkpoints
from glmcode.checkpoints.store import store_folder
from glmcode.checkpoints.undo import Plan, Undo, UndoError, shown
from tests.checkpoints.actor import Changes, user_change

ROOT = Path(__file__).resolve().parent.parent.parent
State = dict[str, tuple[Any, ...]]
MOST_DEEDS = 60
"""Files opened or changed after which an actor dies at the latest; a turn takes 25 to 190."""


def state_of(root: Path, *, inside_git: bool = False) -> State:
    """Everything below a folder: kind, mode and bytes or target."""
    found: State = {}
    for folder, names, files in os.walk(root):
        if not inside_git:
            names[:] = [name for name in names if name != ".git"]
        for name in [*names, *files]:
            path = f"{folder}/{name}"
            mode = os.lstat(path).st_mode
            short = os.path.relpath(path, root)
            if stat.S_ISLNK(mode):
                found[short] = ("link", str(Path(path).readlink()))
            elif stat.S_ISDIR(mode):
                found[short] = ("folder", stat.S_IMODE(mode))
            elif not name.endswith(".tmp"):
                found[short] = ("file", stat.S_IMODE(mode), Path(path).read_bytes())
    return found


def git(root: Path, *arguments: str) -> str:
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "HOME": str(root.parent)}
    done = subprocess.run(
        ["git", *arguments], cwd=root, env=environment, capture_output=True, check=True
    )
    return done.stdout.decode(errors="surrogateescape")


def repository(root: Path) -> None:
    """A repository whose configuration would change bytes if anybody asked git about them."""
    root.mkdir()
    git(root, "init", "-q")
    for key, value in (
        ("core.autocrlf", "true"), ("core.safecrlf", "false"), ("user.name", "n"),
        ("user.email", "e@localhost"), ("filter.loud.clean", "tr a-z A-Z"),
        ("filter.loud.smudge", "tr A-Z a-z"),
    ):  # fmt: skip
        git(root, "config", key, value)
    (root / ".gitattributes").write_text("*.md filter=loud\n*.c text eol=crlf\n")
    (root / ".gitignore").write_text("*.log\n")
    for name in ("src/main.c", "src/util.c", "docs/one.md", "bin/run.sh", "a.txt"):
        path = root / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(f"first {name}\r\n".encode() * 20)
    (root / "bin/run.sh").chmod(0o755)
    (root / "ignored.log").write_text("a log\n")
    git(root, "add", "-A")
    git(root, "commit", "-qm", "first")
    (root / "a.txt").write_bytes(b"stashed\n")
    git(root, "stash")
    (root / "a.txt").write_bytes(b"staged\n")
    git(root, "add", "a.txt")


@dataclass
class Campaign:
    """Sequences in one folder. counts says what happened, for the reader of a campaign."""

    folder: Path
    chance: random.Random
    counts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.root = (self.folder / "work").resolve()
        repository(self.root)
        self.internals = state_of(self.root / ".git", inside_git=True)
        self.number = 0
        self.touched: dict[str, set[str]] = {}
        self.partly = False

    def sequence(self) -> None:
        """Some turns (perhaps killed), perhaps a person's changes, an undo, perhaps a redo."""
        self.number += 1
        session = f"session{self.number}"
        self.touched = {}
        self.partly = False
        turns = self.chance.randrange(1, 4)
        before: dict[int, State] = {}
        for _ in range(turns):
            state = state_of(self.root)
            self.act("turn", session, self.chance.randrange(10**6))
            for unit in self.known_units(session) - before.keys():
                before[unit] = state
        if self.chance.random() < 0.4:
            self.by_hand()
        kept = Checkpoints(self.root, session)
        try:
            self.undo(Undo(kept), session, before, self.chance.randrange(1, turns + 1))
        finally:
            kept.close()
        assert state_of(self.root / ".git", inside_git=True) == self.internals

    def known_units(self, session: str) -> set[int]:
        """Ids of what the log holds of a session, read without opening the store."""
        path = store_folder(self.root) / "store.db"
        if not path.exists():
            return set()
        with closing(sqlite3.connect(path)) as base:
            try:
                rows = base.execute("SELECT id FROM unit WHERE session = ?", (session,)).fetchall()
            except sqlite3.OperationalError:
                return set()  # killed before there were tables
        return {row[0] for row in rows}

    def act(self, what: str, session: str, number: int, *, mortal: bool = True) -> bool:
        """Run the actor, which may die at some step of its work; whether it came to its end."""
        command = [sys.executable, "-m", "tests.checkpoints.actor", what, str(self.root), session]
        command.append(str(number))
        dies = mortal and self.chance.random() < 0.4
        if dies:
            later = self.chance.choice((0.0, self.chance.uniform(0.0001, 0.003)))
            command += [str(self.chance.randrange(1, MOST_DEEDS)), str(later)]
        done = subprocess.run(command, capture_output=True, cwd=ROOT)
        ends = (0, -signal.SIGKILL, -signal.SIGALRM) if dies else (0,)
        assert done.returncode in ends, done.stderr.decode()
        out = done.stdout
        words = [ast.literal_eval(line) for line in out.decode().splitlines() if line.endswith("'")]
        self.heard(words)
        self.partly = self.partly or any("not whole" in word for word in words)
        ended = "done" in words
        self.counts[f"{what} ended" if ended else f"{what} killed"] += 1
        return ended

    def heard(self, words: list[str]) -> None:
        """What a person did, as the actor told it before it happened."""
        for word in words:
            if word.startswith("user "):
                _, digest, path = word.split(" ", 2)
                self.touched.setdefault(path, set()).add(digest)

    def by_hand(self) -> None:
        """A person changes something after the turns."""
        for _ in range(self.chance.randrange(1, 3)):
            with redirect_stdout(StringIO()) as out:
                user_change(Changes(self.root, self.chance))
            self.heard([ast.literal_eval(line) for line in out.getvalue().splitlines()])
        self.counts["by hand"] += 1

    def undo(self, undo: Undo, session: str, before: dict[int, State], count: int) -> None:
        """Undo some turns and look."""
        try:
            plan = undo.plan(count)
        except UndoError:
            self.counts["nothing to undo"] += 1
            return
        now = state_of(self.root)
        force = bool(plan.against)
        if force:
            with pytest.raises(UndoError) as refusal:
                undo.apply(plan)
            assert all(shown(item.path) in str(refusal.value) for item in plan.against)
            assert state_of(self.root) == now
            self.counts["refused"] += 1
        failed = [(item.path, item.why) for item in plan.items if item.impossible]
        if self.chance.random() < 0.3:
            self.undo_in_another_process(undo, plan, session, count)
        else:
            failed = undo.apply(plan, force=force).failed
        oldest = before[plan.units[-1].id]
        self.same(state_of(self.root), oldest, now, [path for path, _ in failed])
        self.counts["undone by force" if force else "undone"] += 1
        self.counts["paths restored"] += len(plan.items)
        if not force and not failed and self.chance.random() < 0.5:
            undo.apply(undo.plan_redo())
            self.same(state_of(self.root), now)
            self.counts["redone"] += 1

    def undo_in_another_process(self, undo: Undo, plan: Plan, session: str, count: int) -> None:
        """An undo that may be killed; what it left is finished here."""
        self.act("undo", session, count)
        if undo.finish() is not None:
            self.counts["undo finished"] += 1
        chosen = {unit.id for unit in plan.units}
        if any(unit.id in chosen and not unit.undone for unit in undo.turns()):
            undo.apply(undo.plan(count), force=True)

    def same(
        self, found: State, wanted: State, or_else: State | None = None, failed: Sequence[str] = ()
    ) -> None:
        """Equal, but for what a person touched: that is as it was, as it is, or theirs.

        Folders above such a path may have stayed because of it.
        """
        if self.partly:  # a machine that was too busy for a look: it was said
            self.counts["not whole"] += 1
            return
        excused = {*self.touched, *failed}
        near = {path[:at] for path in excused for at, char in enumerate(path) if char == "/"}
        for path in found.keys() | wanted.keys():
            now = found.get(path)
            if now == wanted.get(path):
                continue
            kept = or_else is not None and now == or_else.get(path)
            if or_else is not None and (path in excused or path in near) and kept:
                continue
            digest = hashlib.sha256(now[2]).hexdigest() if now and now[0] == "file" else "gone"
            assert or_else is not None and digest in self.touched.get(path, ()), (
                f"{path!r}: {brief(found, path)}, not {brief(wanted, path)}"
            )


def brief(state: State, path: str) -> str:
    value = state.get(path)
    return repr(value)[:80] if value is not None else "nothing"
