"""The sandbox of one session: wraps each command, guards what mounts can't, explains refusals.

Tools know it only as the value in their context (tools/context.py: Confinement). The mechanism
is found when the first command comes; where none works, commands run as they are, and that
is said once. Owns the private temporary folder and removes it at the end.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from glmcode.base.nested import CLOSED, NESTED
from glmcode.base.settings import SandboxMode
from glmcode.sandbox.bubblewrap import (
    CLOSED as CLOSED_FILE,
)
from glmcode.sandbox.bubblewrap import (
    PRIVATE_TMP,
    WAY,
    bubblewrap_argv,
    other_sockets,
)
from glmcode.sandbox.explain import explain, lifted
from glmcode.sandbox.folder import planned_folder, private_folder
from glmcode.sandbox.guard import Guard
from glmcode.sandbox.landlock import landlock_argv
from glmcode.sandbox.looking import is_folder
from glmcode.sandbox.policy import Layout, SandboxPolicy, layout, lies_in
from glmcode.sandbox.probe import Backend, find_backend
from glmcode.sandbox.seatbelt import seatbelt_argv
from glmcode.sandbox.unreadable import unreadable

DROPPED = ("SSH_AUTH_SOCK", "DBUS_SESSION_BUS_ADDRESS", "XDG_RUNTIME_DIR", "GPG_AGENT_INFO")
"""Variables that name sockets outside, which a command in the sandbox is not to reach."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrapped:
    """What to run in place of the command; helper: the process that the mechanism adds to it."""

    argv: list[str]
    environment: dict[str, str]
    helper: str = ""


class Sandbox:
    """See the module.

    hidden: folders of which a command sees nothing. unread: patterns of rules that forbid to
    read. kept: start-up files and keys, which stay as they are inside the workspace too. aside:
    where what came to stand in a forbidden place is kept. say: tells the person, once, what the
    sandbox can't do here. way: gives the socket at which commands may ask this run's engine; None:
    there is none. around: this run is itself inside the sandbox of another. `mode` may be changed;
    a command that runs keeps what it began with. unasked: whether what stays inside needs no
    question (None: not decided), which may be changed too.
    """

    def __init__(
        self,
        mode: SandboxMode,
        workspace: Path,
        *,
        folders: tuple[Path, ...] = (),
        caches: tuple[Path, ...] = (),
        hidden: tuple[Path, ...] = (),
        unread: tuple[str, ...] = (),
        kept: tuple[Path, ...] = (),
        aside: Path | None = None,
        network: bool = False,
        unasked: bool | None = False,
        withheld: Collection[str] = (),
        say: Callable[[str], None] = lambda text: None,
        way: Callable[[], Path | None] = lambda: None,
        around: bool = False,
        backend: Callable[[], Backend] = find_backend,
    ) -> None:
        self.mode = mode
        self._workspace = workspace
        self._folders = folders
        self._caches = caches
        self._hidden = hidden
        self._unread = unread
        self._kept = kept
        self._aside = aside
        self.network = network
        self.unasked = unasked
        self._withheld = withheld
        self._say = say
        self._way = way
        self._around = around
        self._find = backend
        self._told = False
        self._base: Path | None = None
        self._planned = planned_folder()

    @property
    def active(self) -> bool:
        """Whether commands are confined. Finds the mechanism, which may take milliseconds."""
        return self.mode != "danger-full-access" and self._find().mechanism != "none"

    @property
    def complete(self) -> bool:
        """Whether what it forbids can't be done at all, so that a command need not be asked for."""
        return self.active and self._find().mechanism != "landlock"

    @property
    def planned(self) -> Path:
        """Where `temporary` is or will be."""
        return self._planned / "t"

    def temporary(self) -> Path | None:
        """The folder that commands may write and that TMPDIR names; None without a sandbox.

        What glmcode itself keeps for the sandbox lies beside it, out of their reach: a link
        planted there would be followed outside.
        """
        if not self.active:
            return None
        if self._base is None or not is_folder(self._base):
            self._base = private_folder(self, self._planned)
            for folder in ("t", PRIVATE_TMP, "aside"):
                (self._base / folder).mkdir(mode=0o700)
            (self._base / CLOSED_FILE).touch(mode=0)
            self._make_own()
        return self._base / "t"

    def wrap(self, argv: list[str], environment: Mapping[str, str], folder: Path) -> Wrapped:
        """The command inside the sandbox; argv[0] is the absolute path of a bash.

        Raises OSError when the private temporary folder can't be made.
        """
        given = dict(environment)
        temporary = self.temporary()
        if temporary is None:
            self.announce()
            return Wrapped(argv=argv, environment=given)
        inside = {name: value for name, value in given.items() if name not in DROPPED}
        names = ("TMPDIR", *(name for name in ("TMP", "TEMP") if name in given))
        inside |= dict.fromkeys(names, str(temporary))
        policy = self._policy(temporary)
        way = self._way()
        inside[NESTED] = str(way or CLOSED)
        if way is not None and self._find().mechanism == "bubblewrap":
            inside[NESTED] = WAY
        words = self._words(argv, policy, layout(policy, given), folder, way)
        helper = "bwrap" if self._find().mechanism == "bubblewrap" else ""
        return Wrapped(argv=words, environment=inside, helper=helper)

    def watch(self) -> Callable[[], list[str]]:
        """Look at what a command must not change; the result puts it back, a line for each."""
        temporary = self.temporary()
        if temporary is None or self.mode != "workspace-write":
            return list
        laid = layout(self._policy(temporary), {})
        kept = laid.protected if self._find().mechanism == "landlock" else ()
        guard = Guard((*kept, *laid.absent))

        def put_back() -> list[str]:
            # It may be the person who changed it meanwhile: that must not be lost.
            aside = self._aside or temporary.with_name("aside")
            return [
                f"the sandbox forbids changing {path}: it is as it was before the command (what "
                f"stood there is in {aside})"
                for path in guard.put_back(aside)
            ]

        return put_back

    def explain(self, output: str, command: str) -> str:
        """Why a command that failed may have failed; "" where the sandbox isn't the reason."""
        return explain(
            output,
            command,
            mechanism=self._find().mechanism if self.active else "none",
            read_only=self.mode == "read-only",
            network=self.network or not self.active,
            withheld=self._withheld,
            hidden=self._hidden if self.active else (),
        )

    def lifted(self, output: str, command: str) -> str:
        """What a command that failed would be allowed outside; "" where leaving is no help."""
        return lifted(
            output,
            command,
            mechanism=self._find().mechanism if self.active else "none",
            read_only=self.mode == "read-only",
            network=self.network or not self.active,
            hidden=self._hidden,
        )

    def _make_own(self) -> None:
        """Make glmcode's folders where a command could: what isn't there can't be hidden.

        Settings planted there would count in every later session.
        """
        roots = [os.path.realpath(f) for f in (self._workspace, *self._folders, *self._caches)]
        for folder in self._hidden:
            if lies_in(Path(os.path.realpath(folder)), roots) and not is_folder(folder):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def _policy(self, temporary: Path) -> SandboxPolicy:
        return SandboxPolicy(
            mode=self.mode,
            workspace=self._workspace,
            temporary=temporary,
            folders=self._folders,
            caches=self._caches,
            hidden=self._hidden,
            unread=unreadable(self._unread, (self._workspace, *self._folders)),
            kept=self._kept,
            network=self.network,
        )

    def _words(
        self, argv: list[str], policy: SandboxPolicy, laid: Layout, folder: Path, way: Path | None
    ) -> list[str]:
        backend = self._find()
        match backend.mechanism:
            case "bubblewrap":
                return bubblewrap_argv(
                    backend.program,
                    argv,
                    policy,
                    laid,
                    folder,
                    nested=backend.nested,
                    sockets=other_sockets(),
                    way=way,
                )
            case "landlock":
                ours = (path for path in other_sockets() if lies_in(_real(path), laid.hidden))
                return landlock_argv(
                    argv,
                    policy,
                    laid,
                    abi=backend.abi,
                    namespaces=backend.namespaces,
                    covered=[path for path in ours if path != way],
                )
            case "seatbelt":
                return seatbelt_argv(argv, policy, laid, way)
            case "none":
                return argv

    def announce(self) -> None:
        """Tell the person, once, where nothing confines commands that should be."""
        if self.active:
            return
        if not self._told and self.mode != "danger-full-access":
            self._told = True
            if self._around:
                self._say("commands keep the sandbox of the run around this one, as it is")
                return
            self._say(
                f"no sandbox works here ({self._find().why}): commands run with all your rights, "
                "so look at what you allow; installing bubblewrap usually helps"
            )


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))
