"""The words that run a command in bubblewrap: other mounts, processes, network. Pure.

The whole file system is there, read-only; what may be written is mounted over it, and inside
of that what must stay as it is once more read-only. `.git` is a mount of its own, so that it
cannot be renamed away with the read-only places in it. A process outside is neither seen
nor signalled (PID namespace); nothing is reached but a loopback of its own (network
namespace); nobody gains rights (no capabilities, no further user namespaces). Its first
process must outlive the command, for background commands: the keeper ends it, so there is no
--die-with-parent here.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal, TypeAlias

from glmcode.sandbox.looking import exists, is_folder, is_link
from glmcode.sandbox.policy import PRIVATE, Layout, SandboxPolicy, lies_in

Kind: TypeAlias = Literal["private", "hide", "show", "write"]

FILE_RIGHTS = ("CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_CHOWN")
"""What root keeps in a workspace of another user; without them it could write nothing there."""
PRIVATE_TMP = "tmp"
"""Beside policy.temporary: what a command sees as /tmp."""
CLOSED = "closed"
"""Beside it too: a file that nobody may read, seen in place of a hidden one."""
WAY = "/dev/glmcode"
"""Where a command finds the socket at which it may ask the engine: a place that is made anew for
each command, so that none could have planted anything there."""
RESOLVER = "/run/systemd/resolve"
KNOBS = ("sys", "sysrq-trigger", "mtrr", "fs", "acpi", "scsi")
"""Of /proc: they ask for no more than being root, which root is in a user namespace too."""
SHELL_LIMIT = 'ulimit -u "$1" 2>/dev/null; shift; exec "$@"'


def bubblewrap_argv(
    program: str,
    argv: list[str],
    policy: SandboxPolicy,
    laid: Layout,
    folder: Path,
    *,
    nested: bool,
    sockets: Iterable[Path] = (),
    way: Path | None = None,
) -> list[str]:
    """argv inside the sandbox, started in `folder`; argv[0] must be a bash (for the limit).

    nested: whether this bubblewrap can forbid further user namespaces. sockets: of other
    programs; where one can be seen and lies in no writable folder, it is covered. way: a socket
    that is shown as WAY.
    """
    words = [program, "--unshare-ipc", "--unshare-pid", "--unshare-uts", "--unshare-cgroup-try"]
    if laid.foreign:
        words += ["--cap-drop", "ALL"]
        for right in FILE_RIGHTS:
            words += ["--cap-add", right]
    else:
        words += ["--unshare-user", *(["--disable-userns"] if nested else [])]
        words += ["--cap-drop", "ALL"]
    if not policy.network:
        words.append("--unshare-net")
    words += _mounts(policy, laid, sockets)
    if way is not None:
        words += ["--ro-bind", str(way), WAY]
    limit = [argv[0], "--noprofile", "--norc", "-c", SHELL_LIMIT, "bash", str(policy.processes)]
    return [*words, "--chdir", str(folder), "--", *limit, *argv]


def _mounts(policy: SandboxPolicy, laid: Layout, sockets: Iterable[Path]) -> list[str]:
    """Options in an order in which deeper places win over those above them."""
    kinds: dict[Path, Kind] = {Path(place): "private" for place in PRIVATE if _is_own(place)}
    kinds |= dict.fromkeys(laid.hidden, "hide")
    kinds |= dict.fromkeys(laid.shown, "show")
    if policy.network and is_folder(Path(RESOLVER)):
        kinds[Path(RESOLVER)] = "show"
    kinds |= dict.fromkeys(laid.writable, "write")
    kinds |= dict.fromkeys(laid.protected, "show")
    kinds |= dict.fromkeys(_between(kinds), "write")
    root = "--bind" if kinds.pop(Path("/"), "show") == "write" else "--ro-bind"
    words = [root, "/", "/", "--dev", "/dev", "--proc", "/proc"]
    for knob in KNOBS:
        words += ["--ro-bind-try", f"/proc/{knob}", f"/proc/{knob}"]
    closed: list[str] = []
    for path, kind in sorted(kinds.items(), key=lambda item: len(item[0].parts)):
        place = str(path)
        match kind:
            case "private":
                words += _private(place, policy.temporary)
            case "hide" if _seen(path, kinds):
                if is_folder(path):
                    words += ["--perms", "0111", "--tmpfs", place]  # what lies deeper is reached
                    closed += ["--remount-ro", place]
                else:
                    words += ["--ro-bind", str(policy.temporary.with_name(CLOSED)), place]
            case "show":
                words += ["--ro-bind", place, place]
            case "write":
                words += ["--bind", place, place]
            case _:
                pass
    for socket in sockets:
        if _seen(socket, kinds) and not lies_in(socket, laid.writable) and exists(socket):
            words += ["--ro-bind", "/dev/null", str(socket)]
    return words + closed


def _private(place: str, temporary: Path) -> list[str]:
    """Temporary places last as long as the session; /run is empty each time."""
    if place == "/run":
        return ["--tmpfs", place]
    return ["--bind", str(temporary.with_name(PRIVATE_TMP)), place]


def _is_own(place: str) -> bool:
    return is_folder(Path(place)) and not is_link(Path(place))


def _between(kinds: dict[Path, Kind]) -> list[Path]:
    """Writable folders on the way to what is closed in them.

    A mount can't be renamed, but a plain folder above it can, and the next command would find
    what was closed under the new name. So they become mounts too.
    """
    found: list[Path] = []
    for path, kind in kinds.items():
        above = list(path.parents)
        nearest = next((n for n, folder in enumerate(above) if folder in kinds), None)
        if kind in ("hide", "show") and nearest is not None and kinds[above[nearest]] == "write":
            found += above[:nearest]
    return found


def _seen(path: Path, kinds: dict[Path, Kind]) -> bool:
    """Whether the place would be there without its own mount."""
    for above in path.parents:
        if above in kinds:
            return kinds[above] in ("show", "write")
    return True


def other_sockets(table: Path = Path("/proc/net/unix")) -> list[Path]:
    """Unix sockets by path that programs of this machine have bound, but for private places."""
    try:
        lines = table.read_text(encoding="utf-8", errors="surrogateescape").split("\n")
    except OSError:
        return []
    columns = (line.split(None, 7) for line in lines)
    paths = {Path(words[7]) for words in columns if len(words) == 8 and words[7][0] == "/"}
    return sorted(paths)
