"""Git worktrees for tasks: made at a commit, told as patches against it, and removed.

git itself is asked, without hooks, and never touches the caller's index, branch or files. What a
batch that was killed left behind, also in the middle of `git worktree add`, is found by names that
only this batch gives. Must not know what a task is.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from glmcode.batch_process import end, ends_with_us

FULL = ("No space left on device", "Disk quota exceeded")
_SETTINGS = (
    "core.hooksPath=/dev/null",
    "core.quotePath=true",
    "core.fsmonitor=false",
    "core.splitIndex=false",
    "core.safecrlf=false",
)
_DIFF = (
    *("diff", "--cached", "--binary", "--full-index", "--no-ext-diff", "--no-textconv"),
    *("--no-color", "--no-relative", "--submodule=short", "--ignore-submodules=none"),
    *("--src-prefix=a/", "--dst-prefix=b/", "--unified=3"),
)
"""What a person's settings would change is said, so that `git apply` takes the patch."""


class WorktreeError(Exception):
    """git could not do it; the text says what it said. full: because the disk is."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.full = any(words in text for words in FULL)


class Worktrees:
    """Those of one batch, in `folder`. hold: a descriptor that git's processes keep open, too."""

    def __init__(self, folder: Path, hold: int) -> None:
        self.folder = folder
        self._hold = hold
        self._key = hashlib.sha256(os.fsencode(folder)).hexdigest()[:8]
        self._records: dict[Path, Path] = {}
        self._turn = asyncio.Lock()
        """git's own records of worktrees do not stand two who change them at once."""

    def place(self, name: str) -> Path:
        """Where the worktree of that name is, or would be."""
        return self.folder / f"{name}-{self._key}"

    async def root(self, folder: Path) -> Path:
        """The root of the repository around a folder. Raises WorktreeError."""
        said = await self._git(folder, "rev-parse", "--show-toplevel")
        return Path(os.fsdecode(said.rstrip(b"\n")))

    async def commit(self, root: Path, name: str) -> str:
        """The whole id of a commit. Raises WorktreeError."""
        words = ("rev-parse", "--verify", "--end-of-options", f"{name}^{{commit}}")
        said = (await self._git(root, *words)).decode().split()
        return said[-1] if said else ""

    async def make(self, root: Path, base: str, place: Path) -> None:
        """A worktree at a commit, on no branch. Raises WorktreeError, OSError."""
        async with self._turn:
            words = ("worktree", "add", "--quiet", "--detach", "--force", str(place), base)
            await self._git(root, *words)
        said = await self._git(place, "rev-parse", "--absolute-git-dir")
        record = self._records[place] = Path(os.fsdecode(said.rstrip(b"\n")))
        shutil.copy2(record / "index", _index(place))

    async def patch(self, place: Path, base: str) -> bytes:
        """What changed since the commit: commits, new files and binary ones too; ignored ones not.

        Through a copy of the index as it was at first, whatever the task did to its own and to
        `.git`. Raises WorktreeError.
        """
        more = {
            "GIT_INDEX_FILE": str(_index(place)),
            "GIT_DIR": str(self._records[place]),
            "GIT_WORK_TREE": str(place),
        }
        # A sparse checkout would refuse what is new outside of it.
        await self._git(place, "-c", "core.sparseCheckout=false", "add", "--all", more=more)
        return await self._git(place, *_DIFF, base, more=more)

    async def remove(self, place: Path) -> None:
        """Remove a worktree and what git remembers of it, and of no other. Raises OSError."""
        async with self._turn:
            for path in (place, _index(place), self._records.pop(place, None)):
                if path is not None:
                    await asyncio.to_thread(_delete, path)

    async def sweep(self, roots: Iterable[Path]) -> None:
        """Remove all that a batch that was killed left here and in these repositories.

        Raises WorktreeError, OSError.
        """
        for place in self.folder.iterdir():
            await asyncio.to_thread(_delete, place)
        ours = re.compile(rf".*-{self._key}\d*")
        for root in roots:
            said = await self._git(root, "rev-parse", "--git-common-dir")
            records = root / os.fsdecode(said.rstrip(b"\n")) / "worktrees"
            for record in records.iterdir() if records.is_dir() else ():
                if ours.fullmatch(record.name) and not _lives(record):
                    await asyncio.to_thread(_delete, record)

    async def _git(self, folder: Path, *words: str, more: dict[str, str] | None = None) -> bytes:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        settings = [word for setting in _SETTINGS for word in ("-c", setting)]
        try:
            process = await asyncio.create_subprocess_exec(
                *("git", *settings, *words),
                cwd=folder,
                env={**kept, "LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0", **(more or {})},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                pass_fds=(self._hold,),
                start_new_session=True,  # Ctrl-C is for us, who tell it to end
                preexec_fn=ends_with_us(),
            )
        except OSError as error:
            raise WorktreeError(f"git cannot be run: {error.strerror or error}") from error
        try:
            told, said = await process.communicate()
        except BaseException:
            await end(process)
            raise
        if process.returncode:
            lines = said.decode("utf-8", "replace").strip().splitlines()
            fault = next((one for one in lines if any(word in one for word in FULL)), "")
            last = lines[-1] if lines else f"exit code {process.returncode}"
            name = next(word for word in words if word != "-c" and "=" not in word)
            raise WorktreeError(f"git {name}: {(fault or last).removeprefix('fatal: ')}")
        return told


def _index(place: Path) -> Path:
    """The copy of a worktree's first index."""
    return place.with_name(f".{place.name}.index")


def _lives(record: Path) -> bool:
    """Whether the worktree that git remembers there is somewhere."""
    try:
        return Path(os.fsdecode((record / "gitdir").read_bytes().rstrip(b"\n"))).exists()
    except OSError:
        return False


def _delete(path: Path) -> None:
    """Remove whatever is there, also in folders that a task closed. Raises OSError."""
    if not path.is_dir() or path.is_symlink():
        path.unlink(missing_ok=True)
        return
    path.chmod(0o700)
    for folder, inner, _ in os.walk(path):
        for name in inner:  # before it is looked into
            if not os.path.islink(one := os.path.join(folder, name)):  # noqa: PTH114, PTH118
                os.chmod(one, 0o700)  # noqa: PTH101 (a name that is not UTF-8)
    shutil.rmtree(path)
