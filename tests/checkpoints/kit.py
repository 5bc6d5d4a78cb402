"""Turns made of plain functions, for tests of what a checkpoint holds and an undo brings back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from glmcode.checkpoints.apply import Applied
from glmcode.checkpoints.recorder import Checkpoints
from glmcode.checkpoints.undo import Undo


class Session:
    """One session in a workspace; each turn is one command."""

    def __init__(self, work: Path, name: str = "s") -> None:
        self.work = work
        self.kept = Checkpoints(work, name)
        self.undoing = Undo(self.kept)

    def turn(self, act: Callable[[], object], label: str = "a turn") -> None:
        """A turn whose command does something."""
        self.kept.begin(label)
        step = self.kept.before("Bash", label, command=True)
        act()
        self.kept.after(step)

    def write(self, path: Path, data: bytes) -> None:
        """A turn that writes one file as Write does."""
        self.kept.begin(f"write {path.name}")
        step = self.kept.before("Write", path.name, [str(path)])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        self.kept.after(step)

    def undo(self, count: int = 1, *, force: bool = False) -> Applied:
        """Undo, which must not be refused."""
        return self.undoing.apply(self.undoing.plan(count), force=force)

    def against(self, count: int = 1) -> dict[str, str]:
        """What speaks against an undo, by path."""
        return {item.path: item.why for item in self.undoing.plan(count).against}


@contextmanager
def session(work: Path, name: str = "s") -> Iterator[Session]:
    """A session that is closed in the end."""
    one = Session(work, name)
    try:
        yield one
    finally:
        one.kept.close()
