"""Where a supervised engine keeps its files: one private folder per machine and profile.

The folder lies under the state folder and not in the runtime folder, because that one
vanishes at logout and the engine must not. A Unix socket's name may hold about 104 bytes,
so when the folder's path is too long only the sockets move to a short folder under /tmp,
whose owner is checked. Must not start, stop or connect to anything.
"""

from __future__ import annotations

import hashlib
import os
import re
import socket
import stat
from dataclasses import dataclass
from pathlib import Path

from glmcode.base.paths import private_folder, state_folder

SOCKET_LIMIT = 100
"""The longest socket path in bytes that every system takes (Linux 107, macOS 103)."""

_SHORT_ROOT = "/tmp"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
"""A profile's name: what else lies among the folders is not an engine's."""


class PathsError(Exception):
    """The engine's folder cannot be used; the text says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnginePaths:
    """The files of one engine. Nothing exists until `make_folders`.

    lock: held with flock while a supervisor lives, never unlinked; holds its pid.
    socket: the supervisor's, for front ends. engine_socket: vLLM's own, for the supervisor.
    info: who supervises (JSON). child: the engine's process group (JSON), so that a later
    supervisor can end what a killed one left behind. last_start: seconds per phase (JSON).
    figures: what `engine bench` measured (JSON).
    door: where it listens as well (JSON), so that a later supervisor does.
    stopped: when a person stopped it last. gpus: its share of them (JSON), held with flock.
    """

    name: str
    folder: Path
    socket_folder: Path

    @property
    def lock(self) -> Path:
        return self.folder / "lock"

    @property
    def socket(self) -> Path:
        return self.socket_folder / "supervisor.sock"

    @property
    def engine_socket(self) -> Path:
        return self.socket_folder / "engine.sock"

    @property
    def info(self) -> Path:
        return self.folder / "supervisor.json"

    @property
    def child(self) -> Path:
        return self.folder / "engine.json"

    @property
    def door(self) -> Path:
        return self.folder / "door.json"

    @property
    def log(self) -> Path:
        return self.folder / "engine.log"

    @property
    def supervisor_log(self) -> Path:
        return self.folder / "supervisor.log"

    @property
    def last_start(self) -> Path:
        return self.folder / "last_start.json"

    @property
    def figures(self) -> Path:
        return self.folder / "bench.json"

    @property
    def stopped(self) -> Path:
        return self.folder / "stopped"

    @property
    def gpus(self) -> Path:
        return self.folder / "gpus"


def short_root() -> Path:
    """Where sockets lie whose path would be too long; it may not exist."""
    return Path(_SHORT_ROOT) / f"glmcode-{os.getuid()}"


def run_root() -> Path:
    """The folder of all engines of this user on this machine."""
    host = "".join(c if c.isalnum() or c in ".-_" else "_" for c in socket.gethostname())
    return state_folder() / "run" / (host or "localhost")


def engine_paths(name: str) -> EnginePaths:
    """The files of the engine that serves the profile `name`."""
    folder = run_root() / name
    longest = len(os.fsencode(folder / "supervisor.sock"))
    if longest <= SOCKET_LIMIT:
        return EnginePaths(name=name, folder=folder, socket_folder=folder)
    key = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    short = short_root() / key
    return EnginePaths(name=name, folder=folder, socket_folder=short)


def known_engines() -> list[EnginePaths]:
    """All engines of this user that were ever started on this machine, by name."""
    root = run_root()
    if not root.is_dir():
        return []
    named = [one for one in sorted(root.iterdir()) if _NAME.fullmatch(one.name)]
    return [engine_paths(folder.name) for folder in named if folder.is_dir()]


def make_folders(paths: EnginePaths) -> None:
    """Make the folders, 0700 and ours. Raises PathsError."""
    folders = [paths.folder.parent, paths.folder]
    if paths.socket_folder != paths.folder:
        folders += [paths.socket_folder.parent, paths.socket_folder]
    for folder in folders:
        try:
            _own(folder)
        except OSError as error:
            raise PathsError(f"the engine's folder {folder} cannot be made: {error}") from error


def _own(folder: Path) -> None:
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        pass
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise PathsError(f"{folder} is not a folder: remove it and start the engine again")
    if found.st_uid != os.getuid():
        raise PathsError(
            f"{folder} belongs to another user (uid {found.st_uid}): it is not used; "
            "set GLMCODE_HOME to a folder of your own"
        )
    private_folder(folder)
    if found.st_mode & 0o700 != 0o700:
        folder.chmod(0o700)
