"""What every tool is handed: the workspace, what the model has seen, how much may be said.

One ToolContext lives per session and is passed to each tool function; it holds state that
tools share (which file contents the model knows, the shell's folder, background commands).
It must not decide permission, and tools must not keep state anywhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Call:
    """The call being served: its id, and where live output goes (never blocks or raises)."""

    id: str
    output: Callable[[str], None]


class Wrapped(Protocol):
    """What to run in place of a command."""

    @property
    def argv(self) -> list[str]: ...
    @property
    def environment(self) -> dict[str, str]: ...
    @property
    def helper(self) -> str:
        """The name of a process that goes with the command and isn't one of its own; ""."""


class Confinement(Protocol):
    """The sandbox of commands, as far as tools know it."""

    @property
    def planned(self) -> Path:
        """Where `temporary` is or will be; nothing may be there."""

    def temporary(self) -> Path | None:
        """A folder that commands can write; None: they are not confined. Raises OSError."""

    def wrap(self, argv: list[str], environment: Mapping[str, str], folder: Path) -> Wrapped:
        """The command inside; argv[0] is the absolute path of a bash. Raises OSError."""

    def watch(self) -> Callable[[], list[str]]:
        """A command begins. To be called when it has ended: what was put back, in lines."""

    def explain(self, output: str, command: str) -> str:
        """Why a command that failed may have failed, one line; ""."""

    def lifted(self, output: str, command: str) -> str:
        """What a command that failed would be allowed outside; ""."""


@dataclass(slots=True)
class ToolContext:
    """State shared by the tools of one session.

    workspace: real path of the folder the session works in; relative paths start here.
    spill_folder: absolute; made (0700) when first needed; always readable by Read.
    result_limit: asked at each result; the most characters a result may hold right now
        (bounded by configuration and by what is left of the context window).
    environment: the environment of commands, already cleaned of secrets.
    seen: real path -> sha256 hex of the bytes that the model last read or wrote.
    cwd: the shell's folder, which persists between Bash calls.
    shells: background commands by task id (owned by tools/background.py).
    todos: the last TodoWrite list.
    sandbox: wraps each command; None: commands run as they are.
    outside: ids of calls whose command a person let run outside the sandbox.
    edited: call id -> what a person made of its command, or of a file's new content, before
        saying yes.
    confined: call id -> what the sandbox forbade its command, which failed; whoever reads it takes
        it out.
    interrupted: call id -> what a cancelled command had printed (bounded), for the answer to
        its call; whoever reads it takes it out.
    hidden: whether a rule keeps a file from being read; None: no rule does so.
    outline: asked with a path, its text (line ends as \\n) and the most characters: the file's
        definitions, one a line, each with the number of its line; "" where there is none.
    syntax: asked with a path, its bytes before a change (None: a new file) and after it: line,
        column (from 1) and what is missing, or "", of each syntax error that the change made
        are what the function gives that is returned at once. All answer in bounded time and do
        not raise.
    """

    workspace: Path
    spill_folder: Path
    environment: Mapping[str, str]
    result_limit: Callable[[], int] = lambda: 30_000
    extra_folders: tuple[Path, ...] = ()
    seen: dict[str, str] = field(default_factory=dict)
    cwd: Path | None = None
    shells: dict[str, Any] = field(default_factory=dict)
    todos: list[dict[str, str]] = field(default_factory=list)
    sandbox: Confinement | None = None
    outside: set[str] = field(default_factory=set)
    edited: dict[str, bytes] = field(default_factory=dict)
    confined: dict[str, str] = field(default_factory=dict)
    interrupted: dict[str, str] = field(default_factory=dict)
    outline: Callable[[Path, str, int], str] = lambda path, text, room: ""
    hidden: Callable[[Path], bool] | None = None
    syntax: Callable[[Path, bytes | None, bytes], Callable[[], Sequence[tuple[int, int, str]]]] = (
        lambda path, before, after: tuple
    )

    def resolve(self, path: str) -> Path:
        """An absolute, lexically normalised path; `~` is expanded; symlinks are kept.

        Relative paths start at the workspace (not at the shell's folder), because that is
        what the preamble promises the model.
        """
        given = Path(path).expanduser() if path.startswith("~") else Path(path)
        return given if given.is_absolute() else self.workspace / given

    def shown(self, path: Path) -> str:
        """A path as the model and the person read it: relative inside the workspace."""
        try:
            return path.relative_to(self.workspace).as_posix()
        except ValueError:
            return str(path)
