"""Restricts itself with Landlock, then becomes the command. Started by file path.

    python -I -S launcher.py SPEC COMMAND...

SPEC is a marshalled dict in hex (landlock.py makes it), because reading JSON would take as
long as all the rest. Everything is done here, in the child, because nothing of
it can be taken back: limits, a network of its own, no capabilities, no new privileges, and
the rules for files, ports, sockets and signals. What can't be set up ends in exit code 126
before the command begins: a sandbox that isn't there must not look like one. Standard library
only; must import nothing of glmcode.
"""

from __future__ import annotations

import ctypes
import marshal
import os
import resource
import sys

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
RULE_PATH_BENEATH = 1
PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT = 24, 38, 47
CLONE_NEWNS, CLONE_NEWIPC = 0x00020000, 0x08000000
CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REC, MS_PRIVATE = 1 << 1, 1 << 2, 1 << 3, 1 << 14, 1 << 18
MS_BIND = 1 << 12
CHOWN, DAC_OVERRIDE, FOWNER = 0, 1, 3
"""The capabilities that root keeps in a workspace of another user."""

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
REFER, TRUNCATE, IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
MAKE_CHAR, MAKE_BLOCK = 1 << 6, 1 << 11
ALL_OF_ABI = (0, (1 << 13) - 1, (1 << 14) - 1, (1 << 15) - 1, (1 << 15) - 1, (1 << 16) - 1)
READ = EXECUTE | READ_FILE | READ_DIR
OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV
TCP = 0b11
SCOPED = 0b11
DEVICES = ("null", "zero", "full", "random", "urandom", "tty", "shm")
SHARED = "/dev/shm"
TERMINALS = ("ptmx", "pts")
"""Only those of its own: on the others a command could print what acts on them."""

libc = ctypes.CDLL(None, use_errno=True)


class Refused(Exception):
    """The sandbox cannot be set up; the text says what failed."""


class _Ruleset(ctypes.Structure):
    _fields_ = (("fs", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (("access", ctypes.c_uint64), ("parent", ctypes.c_int32))


class _CapHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


def main() -> None:
    """Set everything up and become the command."""
    spec, argv = marshal.loads(bytes.fromhex(sys.argv[1])), sys.argv[2:]
    way = spec["namespaces"]
    if way:
        leave(way, network=spec["network"])
    devices = DEVICES + TERMINALS if way and own_devices(spec) else DEVICES
    limit_processes(spec.get("processes"), alone=way == "user")
    drop_capabilities({CHOWN, DAC_OVERRIDE, FOWNER} if spec.get("keep_file_rights") else set())
    checked("no_new_privs", libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    if spec["abi"]:
        restrict(spec, devices)
    os.execv(argv[0], argv)


def limit_processes(most: int | None, *, alone: bool) -> None:
    """At most so many processes and threads of this user; with those that are there already.

    alone: in a user namespace of its own only the command's count. Root has no such limit.
    """
    if most is None:
        return
    if not alone:
        with open("/proc/loadavg") as file:  # noqa: PTH123 (no pathlib: it costs milliseconds)
            most += int(file.read().split()[3].split("/")[1])
    hard = resource.getrlimit(resource.RLIMIT_NPROC)[1]
    limit = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(resource.RLIMIT_NPROC, (limit, limit))


def leave(way: str, *, network: bool) -> None:
    """A network of its own, with a loopback that is up; SysV IPC of its own as well.

    way: "direct", or "user" for a user namespace around it. network: the network stays.
    """
    uid, gid = os.geteuid(), os.getegid()
    user = CLONE_NEWUSER if way == "user" else 0
    spaces = user | (0 if network else CLONE_NEWNET | CLONE_NEWIPC)
    checked("a network namespace", libc.unshare(spaces))
    if user:
        write("/proc/self/setgroups", "deny")
        write("/proc/self/uid_map", f"{uid} {uid} 1")
        write("/proc/self/gid_map", f"{gid} {gid} 1")
    if network:
        return
    import fcntl

    probe = libc.socket(2, 2, 0)  # AF_INET, SOCK_DGRAM
    checked("a socket", probe)
    request = b"lo".ljust(16, b"\0") + (0x1 | 0x40).to_bytes(2, sys.byteorder)
    fcntl.ioctl(probe, 0x8914, request.ljust(40, b"\0"))  # SIOCSIFFLAGS: up, running
    os.close(probe)


def own_devices(spec: dict[str, object]) -> bool:
    """Shared memory and terminals of its own; False where it has no terminals of its own.

    In the memory of other programs lie messages of the engine, which it believes; who reaches
    its sockets (covered) can start programs.
    """
    if libc.unshare(CLONE_NEWNS) or libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None):
        return False
    for place in _list(spec.get("covered")):
        libc.mount(b"/dev/null", os.fsencode(str(place)), None, MS_BIND, None)
    if not any(str(path).startswith(SHARED + "/") for path in _list(spec.get("writable"))):
        libc.mount(b"tmpfs", SHARED.encode(), b"tmpfs", MS_NOSUID | MS_NODEV, b"mode=1777")
    options = b"newinstance,ptmxmode=0666,mode=0620"
    return bool(libc.mount(b"devpts", b"/dev/pts", b"devpts", MS_NOSUID | MS_NOEXEC, options) == 0)


def drop_capabilities(kept: set[int]) -> None:
    """No capability but those kept, and none that an executed file could give back."""
    libc.prctl(PR_CAP_AMBIENT, 4, 0, 0, 0)
    number = 0
    while libc.prctl(PR_CAPBSET_DROP, number, 0, 0, 0) == 0 if number not in kept else True:
        number += 1
    mask = sum(1 << one for one in kept) if os.geteuid() == 0 else 0
    sets = (ctypes.c_uint32 * 6)(mask, mask, 0, 0, 0, 0)
    header = _CapHeader(0x20080522, 0)
    checked("capset", libc.capset(ctypes.byref(header), ctypes.byref(sets)))


def restrict(spec: dict[str, object], devices: tuple[str, ...]) -> None:
    """Landlock itself, as far as this kernel has it. devices: those that may be used."""
    abi = int(str(spec["abi"]))
    handled = ALL_OF_ABI[min(abi, 5)]
    attributes = _Ruleset(handled, 0, 0)
    if abi >= 4 and not spec["network"] and not spec["namespaces"]:
        attributes.net = TCP
    if abi >= 6:
        attributes.scoped = SCOPED
    size = 24 if abi >= 6 else 16 if abi >= 4 else 8
    rules = libc.syscall(CREATE_RULESET, ctypes.byref(attributes), ctypes.c_size_t(size), 0)
    checked("a Landlock ruleset", rules)
    hidden = [str(path) for path in _list(spec["hidden"])]
    allow(rules, "/", READ_DIR, handled)
    for place in readable("/", hidden):
        allow(rules, place, READ, handled)
    for name in devices:
        allow(rules, f"/dev/{name}", handled & ~(MAKE_CHAR | MAKE_BLOCK), handled)
    own = [str(path) for path in _list(spec.get("own"))]
    for path in _list(spec["writable"]):
        for place in around(str(path), own):
            allow(rules, place, handled & ~(MAKE_CHAR | MAKE_BLOCK | IOCTL_DEV), handled)
    checked("Landlock", libc.syscall(RESTRICT_SELF, rules, 0))
    os.close(rules)


def readable(folder: str, hidden: list[str]) -> list[str]:
    """What to allow so that everything below can be read but what is hidden, and /dev.

    Rights hold for all that lies below, so folders that hold something hidden are
    allowed entry by entry.
    """
    excluded = {"/dev", *hidden}
    places: list[str] = []
    queue = [folder]
    for current in queue:
        try:
            entries = list(os.scandir(current))
        except OSError:
            continue
        for entry in entries:
            path = entry.path
            if path in excluded or entry.is_symlink():
                continue
            if any(other.startswith(path + "/") for other in excluded):
                queue.append(path)
            else:
                places.append(path)
    return places


def around(folder: str, own: list[str]) -> list[str]:
    """The folder; where one of glmcode's own lies in it, what is in there beside that.

    Nothing can be made in the folders on the way, or they could be renamed with what they hold.
    """
    inside = any(other.startswith(folder.rstrip("/") + "/") for other in own)
    return readable(folder, own) if inside else [folder]


def allow(rules: int, path: str, access: int, handled: int) -> None:
    """Allow access to a path and what is below it; a path that isn't there is left out."""
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not os.path.isdir(path):  # noqa: PTH112 (no pathlib here: it costs milliseconds)
            access &= OF_FILES
        rule = _Beneath(access & handled, place)
        if rule.access:
            done = libc.syscall(ADD_RULE, rules, RULE_PATH_BENEATH, ctypes.byref(rule), 0)
            checked(f"a rule for {path}", done)
    finally:
        os.close(place)


def checked(what: str, result: int) -> None:
    """Raise Refused when a call has failed."""
    if result < 0:
        raise Refused(f"{what}: {os.strerror(ctypes.get_errno())}")


def write(path: str, text: str) -> None:
    with open(path, "w") as file:  # noqa: PTH123
        file.write(text)


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


if __name__ == "__main__":
    try:
        main()
    except (Refused, OSError) as error:
        print(f"glmcode: the sandbox could not be set up: {error}", file=sys.stderr)
        sys.exit(126)
