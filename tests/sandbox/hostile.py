"""Tries to get out of the sandbox it is run in. Prints {attempt: "DONE" or why it was refused}.

    python hostile.py FACTS     (JSON: paths, ports and process numbers of what lies outside)

Each attempt is harmless where it succeeds: it acts on files and processes that the test made,
or writes what is there already. Standard library only.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

facts = json.loads(sys.argv[1])
workspace, outside, state = (Path(facts[name]) for name in ("workspace", "outside", "state"))
victim, parent = facts["victim"], facts["parent"]
libc = ctypes.CDLL(None, use_errno=True)
attempts: dict[str, Callable[[], object]] = {}


def attempt(function: Callable[[], object]) -> Callable[[], object]:
    attempts[function.__name__] = function
    return function


def call(result: int) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


@attempt
def write_outside() -> None:
    (outside / "new").write_text("x")


@attempt
def change_outside() -> None:
    with (outside / "file").open("a") as file:
        file.write("x")


@attempt
def truncate_outside() -> None:
    os.truncate(outside / "file", 0)


@attempt
def remove_outside() -> None:
    (outside / "file").unlink()


@attempt
def make_folder_outside() -> None:
    (outside / "folder").mkdir()


@attempt
def write_through_a_link() -> None:
    (workspace / "link").symlink_to(outside / "file")
    (workspace / "link").write_text("x")


@attempt
def write_through_a_linked_folder() -> None:
    (workspace / "linked").symlink_to(outside)
    (workspace / "linked" / "new").write_text("x")


@attempt
def rename_over_outside() -> None:
    (workspace / "mine").write_text("x")
    (workspace / "mine").rename(outside / "file")


@attempt
def rename_from_outside() -> None:
    (outside / "file").rename(workspace / "stolen")


@attempt
def hard_link_and_write() -> None:
    os.link(outside / "file", workspace / "hard")
    (workspace / "hard").write_text("x")


@attempt
def write_by_own_root() -> None:
    Path(f"/proc/self/root{outside}/new").write_text("x")


@attempt
def write_by_the_root_of_another() -> None:
    Path(f"/proc/{victim}/root{outside}/new").write_text("x")


@attempt
def write_by_the_root_of_the_parent() -> None:
    Path(f"/proc/{parent}/root{outside}/new").write_text("x")


@attempt
def write_by_the_folder_of_another() -> None:
    Path(f"/proc/{victim}/cwd/new").write_text("x")


@attempt
def read_the_command_line_of_another() -> None:
    if b"time.sleep(300)" not in Path(f"/proc/{victim}/cmdline").read_bytes():
        raise FileNotFoundError(errno.ENOENT, "that is somebody else")


@attempt
def read_the_environment_of_another() -> None:
    Path(f"/proc/{victim}/environ").read_bytes()


@attempt
def read_the_memory_of_another() -> None:
    Path(f"/proc/{victim}/mem").open("rb").close()


@attempt
def trace_another() -> None:
    call(libc.ptrace(16, victim, 0, 0))  # PTRACE_ATTACH
    libc.ptrace(17, victim, 0, 0)


@attempt
def signal_another() -> None:
    os.kill(victim, signal.SIGUSR1)


@attempt
def signal_the_parent() -> None:
    os.kill(parent, 0)


@attempt
def connect_by_tcp() -> None:
    socket.create_connection(("127.0.0.1", facts["tcp"]), 2).close()


@attempt
def connect_by_tcp_far_away() -> None:
    socket.create_connection(("192.0.2.1", 80), 2).close()


@attempt
def send_by_udp() -> None:
    """Sending to nobody succeeds; the answer is what the outside would give."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.settimeout(1)
        udp.connect(("127.0.0.1", facts["udp"]))
        udp.send(b"x")
        udp.recv(10)


@attempt
def connect_to_an_abstract_socket() -> None:
    _connect("\0" + facts["abstract"])


@attempt
def connect_to_a_socket_in_tmp() -> None:
    _connect(facts["socket"])


@attempt
def connect_to_a_socket_elsewhere() -> None:
    _connect(facts["socket_elsewhere"])


@attempt
def connect_to_the_engine() -> None:
    _connect(facts["engine"])


def _connect(address: str) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(address)


@attempt
def read_the_key() -> None:
    (state / "key").read_bytes()


@attempt
def read_the_key_by_another_way() -> None:
    Path(f"/proc/self/root{state}/key").read_bytes()


@attempt
def link_the_key() -> None:
    os.link(state / "key", workspace / "key")
    (workspace / "key").read_bytes()


@attempt
def list_the_state_folder() -> None:
    os.listdir(state)  # noqa: PTH208


@attempt
def change_the_state_folder() -> None:
    (state / "new").write_text("x")


@attempt
def change_a_mode_outside() -> None:
    (outside / "file").chmod(0o600)


@attempt
def change_the_shared_memory_of_another() -> None:
    with Path(facts["memory"]).open("r+b") as memory:
        memory.write(memory.read())


@attempt
def print_on_the_terminal_of_another() -> None:
    with Path(facts["terminal"]).open("wb") as terminal:
        terminal.write(b"\x1b]52;c;ZXZpbA==\x07")


@attempt
def change_a_kernel_setting() -> None:
    path = Path("/proc/sys/kernel/core_pattern")
    path.write_text(path.read_text())


@attempt
def change_a_control_group() -> None:
    for place in ("/sys/fs/cgroup/cgroup.procs", "/sys/fs/cgroup/pids/cgroup.procs"):
        if Path(place).exists():
            return os.close(os.open(place, os.O_WRONLY))
    raise FileNotFoundError(errno.ENOENT, "no control groups here")


@attempt
def make_a_disk() -> None:
    os.mknod(workspace / "disk", 0o60600, os.makedev(*facts["disk"]))


@attempt
def open_the_disk() -> None:
    places = [Path("/dev") / name for name in os.listdir("/dev")]  # noqa: PTH208
    disks = [place for place in places if place.is_block_device()]
    if not disks:
        raise FileNotFoundError(errno.ENOENT, "no disks here")
    for disk in disks:
        try:
            return os.close(os.open(disk, os.O_RDONLY))
        except OSError as error:
            last = error
    raise last


@attempt
def mount_something() -> None:
    call(libc.mount(b"none", os.fsencode(workspace), b"tmpfs", 0, None))


@attempt
def remount_writable() -> None:
    call(libc.mount(None, b"/", None, 4096 | 32, None))  # MS_BIND | MS_REMOUNT


@attempt
def uncover_the_hidden() -> None:
    call(libc.umount2(os.fsencode(state), 2))


@attempt
def mount_in_namespaces_of_its_own() -> None:
    child = os.fork()
    if child == 0:
        try:
            call(libc.unshare(0x10000000 | 0x00020000))  # a user and a mount namespace
            Path("/proc/self/setgroups").write_text("deny")
            Path("/proc/self/uid_map").write_text(f"0 {os.getuid()} 1")
            libc.umount2(os.fsencode(state), 2)
            libc.umount2(os.fsencode(workspace), 2)
            libc.mount(None, b"/", None, 4096 | 32 | 16384, None)  # a recursive remount, writable
            libc.mount(b"none", b"/proc", b"proc", 0, None)
            (outside / "new").write_text("x")
        except OSError as error:
            os._exit(error.errno or 1)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status:
        raise OSError(status, os.strerror(status))


@attempt
def change_the_root() -> None:
    child = os.fork()
    if child == 0:
        try:
            os.chroot(workspace)
        except OSError as error:
            os._exit(error.errno or 1)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status:
        raise OSError(status, os.strerror(status))


@attempt
def open_by_a_handle() -> None:
    handle = (ctypes.c_uint32 * 4)(8, 1, 2, 0)
    folder = os.open(workspace, os.O_RDONLY)
    result = libc.open_by_handle_at(folder, ctypes.byref(handle), os.O_RDONLY)
    if result < 0 and ctypes.get_errno() != errno.ESTALE:
        call(result)


@attempt
def gain_rights_by_setuid() -> None:
    """A program with the set-user-ID bit gives nothing once this flag is set."""
    lines = Path("/proc/self/status").read_text().splitlines()
    if "NoNewPrivs:\t1" in lines and "CapEff:\t0000000000000000" in lines:
        raise PermissionError(errno.EPERM, "no new privileges")


@attempt
def plant_a_hook() -> None:
    hook = workspace / ".git" / "hooks" / "pre-commit"
    hook.write_text("#!/bin/sh\necho planted\n")
    hook.chmod(0o755)


@attempt
def plant_hooks_by_rename() -> None:
    (workspace / "hooks").mkdir()
    (workspace / "hooks" / "post-commit").write_text("#!/bin/sh\n")
    (workspace / ".git" / "hooks").rename(workspace / "old-hooks")
    (workspace / "hooks").rename(workspace / ".git" / "hooks")


@attempt
def change_the_git_config() -> None:
    with (workspace / ".git" / "config").open("a") as file:
        file.write("[core]\n\tfsmonitor = planted\n")


@attempt
def change_the_git_config_by_git() -> None:
    if os.system("git config core.fsmonitor planted 2>/dev/null"):
        raise PermissionError(errno.EPERM, "git config failed")


@attempt
def point_git_elsewhere() -> None:
    (workspace / ".git" / "commondir").write_text("../planted\n")


@attempt
def plant_settings() -> None:
    (workspace / ".glmcode").mkdir(exist_ok=True)
    (workspace / ".glmcode" / "config.toml").write_text('[permissions]\nallow = ["Bash"]\n')


@attempt
def replace_the_git_folder() -> None:
    (workspace / ".git").rename(workspace / "old-git")
    (workspace / "old-git").rename(workspace / ".git")


@attempt
def replace_the_workspace() -> None:
    workspace.rename(f"{workspace}-moved")
    Path(f"{workspace}-moved").rename(workspace)


def main() -> None:
    told = {}
    for name, function in attempts.items():
        try:
            function()
            told[name] = "DONE"
        except OSError as error:
            told[name] = f"refused: {error}"
    print(json.dumps(told))


main()
