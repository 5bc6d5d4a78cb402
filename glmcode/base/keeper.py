"""The keeper of one command: a process of its own that starts, awaits and stops it.

Forked by the warden (warden.py says why). It listens on one socket: a request, then orders,
"T" (SIGTERM, a grace, SIGKILL, to all that the command started) and "K" (SIGKILL now); the end
of the socket means "T". It tells, as marshal values after a 4-byte length:
("keeper", its pid), ("failed", stage, errno), ("started", pid), ("waits", command line),
("exit", code, seconds, timed out, (processes left, names)), ("gone", (could not be killed,
names)). Time limits are kept here, so that a busy event loop cannot miss them.
Must never be run in glmcode's own process.
"""

from __future__ import annotations

import errno
import marshal
import os
import select
import signal
import socket
import sys
import time
from typing import Any

from glmcode.base.proctree import (
    command_line,
    descendants,
    group_of,
    has_as_input,
    name_of,
    send,
)

GRACE_S = 0.8
"""Between SIGTERM and SIGKILL."""
LINGER_S = 0.25
"""How long what the command started may outlive it without being told as left."""
GIVE_UP_S = 5.0
"""After this long of SIGKILLs, what still lives (another user's, stuck in a disk) is told."""
SHOWN = 3
"""How many of the processes that are left are named."""
KEY_READERS = frozenset(
    ("vi", "vim", "vim.basic", "vim.tiny", "vim.nox", "nvim", "view", "ex", "less", "more")
)
"""Programs that, with no terminal and an empty input, read keys from standard error.

Standard error is the writing end of our pipe: no key ever comes, and they wait for ever.
"""
SCRIPT_FD = 64
"""Where a command too long for an argument lies."""
NEVER = float("inf")

PR_SET_NAME, PR_SET_CHILD_SUBREAPER = 15, 36
_RESTORED = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGPIPE", "SIGCHLD", "SIGXFSZ")
_prctl: Any = None


class Keeper:
    """One command: started, waited for, and on request stopped with all that it started."""

    def __init__(self, talk: socket.socket, output: int) -> None:
        self.talk = talk
        self.output = output
        self.wake = wake_on_sigchld()
        self.shell = 0
        self.started = 0.0
        self.exit: tuple[int, float] | None = None
        self.empty = self.deaf = self.told = self.timed_out = False
        self.term_at = self.kill_at = self.deadline = NEVER
        self.look_after = 1.0
        self.pipe = os.fstat(output)
        self.known: list[int] = []
        self.helper = ""

    def run(self) -> None:
        """Serve one command until nothing of it is left, or until what is left won't die."""
        set_prctl(PR_SET_NAME, b"glmcode-keeper")
        set_prctl(PR_SET_CHILD_SUBREAPER, 1)
        self._tell("keeper", os.getpid())
        request = _receive(self.talk)
        if request is None:
            return
        self.helper = request["helper"]
        failure = self._start(request)
        os.close(self.output)
        if failure is not None:
            self._tell("failed", *failure)
            return
        self._tell("started", self.shell)
        if request["limit"] is not None:
            self.deadline = self.started + request["limit"]
        pause = 0.01
        while not (self.exit and self.empty):
            now = time.monotonic()
            if now >= self.kill_at + GIVE_UP_S:
                break
            if now >= self.kill_at:
                self._kill_all()
                pause = min(pause * 1.5, 0.2)
                self._listen(pause)
            else:
                self._listen(self._next_event() - now)
            self._reap()
            self._advance(time.monotonic())
        self._tell_exit()
        self._tell("gone", self._left())

    def _start(self, request: dict[str, Any]) -> tuple[str, int] | None:
        """Start the command; None, or the stage that failed and its errno.

        posix_spawn: a second fork of this process would cost more than bash itself.
        """
        try:
            script = _script_file(request["script"])
        except OSError as error:
            return "start", error.errno or 0
        try:
            os.chdir(request["cwd"])
        except OSError as error:
            return "folder", error.errno or 0
        files: list[tuple[Any, ...]] = [
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, self.output, 1),
            (os.POSIX_SPAWN_DUP2, self.output, 2),
        ]
        if script is not None:
            files.append((os.POSIX_SPAWN_DUP2, script, SCRIPT_FD))
        self.started = time.monotonic()
        try:
            self.shell = os.posix_spawn(
                request["argv"][0],
                request["argv"],
                request["env"],
                file_actions=files,
                setsid=True,
                setsigmask=(),
                setsigdef=[getattr(signal, name) for name in _RESTORED],
            )
        except OSError as error:
            again = error.errno in (errno.EAGAIN, errno.ENOMEM)
            return "fork" if again else "exec", error.errno or 0
        os.chdir("/")
        if script is not None:
            os.close(script)
        return None

    def _next_event(self) -> float:
        linger = NEVER
        if self.exit and not self.told:
            linger = self.started + self.exit[1] + LINGER_S
        elif self.exit and _prctl is None:
            linger = time.monotonic() + 0.2
        look_at = self.started + self.look_after
        return min(self.term_at, self.kill_at, self.deadline, linger, look_at)

    def _listen(self, wait_s: float) -> None:
        """Sleep until something happens, at most `wait_s`; take orders T (stop), K (kill now)."""
        talk = self.talk.fileno()
        watched = [self.wake] if self.deaf else [self.wake, talk]
        timeout = None if wait_s == NEVER else max(wait_s, 0.0)
        ready = select.select(watched, [], [], timeout)[0]
        if self.wake in ready:
            os.read(self.wake, 512)
        if talk in ready:
            try:
                orders = self.talk.recv(64)
            except OSError:
                orders = b""
            self.deaf = not orders
            now = time.monotonic()
            if b"K" in orders:
                self.kill_at = min(self.kill_at, now)
            elif self.kill_at == NEVER:
                self.term_at = min(self.term_at, now)

    def _reap(self) -> None:
        while (ended := wait_any()) is not None:
            pid, status = ended
            if pid == self.shell:
                took = time.monotonic() - self.started
                self.exit = (os.waitstatus_to_exitcode(status), took)
        self.empty = _has_no_child() and (_prctl is not None or not self._tree())

    def _advance(self, now: float) -> None:
        """Do what is due: the end of the time limit, SIGTERM, telling the exit."""
        if self.exit:
            self.deadline = NEVER
        if now >= self.deadline:
            self.timed_out = True
            self.deadline, self.term_at = NEVER, min(self.term_at, now)
        if now >= self.started + self.look_after:
            self.look_after = min(2 * self.look_after, self.look_after + 30)
            self._stop_key_readers()
        if now >= self.term_at and self.kill_at == NEVER:
            self.term_at, self.kill_at = NEVER, now + GRACE_S
            self.known = self._tree()
            for pid in self.known:
                send(pid, signal.SIGTERM)
                send(pid, signal.SIGCONT)
        if self.exit and (self.empty or now >= self.started + self.exit[1] + LINGER_S):
            self._tell_exit()

    def _stop_key_readers(self) -> None:
        for pid in self._tree():
            if name_of(pid) in KEY_READERS and has_as_input(pid, self.pipe):
                self._tell("waits", command_line(pid))
                send(pid, signal.SIGTERM)

    def _tell_exit(self) -> None:
        if self.exit and not self.told:
            self.told = True
            self._tell("exit", *self.exit, self.timed_out, self._left())

    def _tree(self) -> list[int]:
        """What lives of the command; without a subreaper, what was known at SIGTERM as well."""
        if _prctl is not None:
            return descendants(os.getpid())
        return descendants(os.getpid(), group=self.shell, also=self.known)

    def _left(self) -> tuple[int, tuple[str, ...]]:
        """How many processes are left, and the command lines of the first of them."""
        pids = [] if self.empty else self._tree()
        if self.helper:
            pids = [pid for pid in pids if name_of(pid) != self.helper]
        return len(pids), tuple(command_line(pid) for pid in pids[:SHOWN])

    def _kill_all(self) -> None:
        """SIGKILL to all, whole groups first: a group cannot fork its way out."""
        pids = self._tree()
        for group in {group_of(pid) for pid in pids} - {os.getpgrp(), 0}:
            try:
                os.killpg(group, signal.SIGKILL)
            except OSError:
                pass
        for pid in pids:
            send(pid, signal.SIGKILL)

    def _tell(self, *message: Any) -> None:
        if not self.deaf:
            send_message(self.talk, message)


def _script_file(script: bytes | None) -> int | None:
    if script is None:
        return None
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("command")
    else:
        import tempfile

        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    view = memoryview(script)
    while view:
        view = view[os.write(fd, view) :]
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def wait_any() -> tuple[int, int] | None:
    try:
        pid, status = os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return None
    return (pid, status) if pid else None


def _has_no_child() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return True
    return False


def wake_on_sigchld() -> int:
    """A descriptor that becomes readable when a child ends."""
    wake, wake_end = os.pipe()
    os.set_blocking(wake_end, False)
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake_end, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    return wake


def load_prctl() -> None:
    global _prctl
    if sys.platform == "linux":
        try:
            import ctypes

            _prctl = ctypes.CDLL(None).prctl
        except (ImportError, OSError, AttributeError):
            pass


def set_prctl(option: int, value: bytes | int) -> None:
    if _prctl is not None:
        _prctl(option, value, 0, 0, 0)


def send_message(talk: socket.socket, message: tuple[Any, ...]) -> bool:
    data = marshal.dumps(message)
    try:
        talk.sendall(len(data).to_bytes(4, "big") + data)
    except OSError:
        return False
    return True


def _receive(talk: socket.socket) -> dict[str, Any] | None:
    """One request; None when the other side is gone before it was whole."""
    data = b""
    size = 4
    while len(data) < size:
        try:
            piece = talk.recv(1 << 16)
        except OSError:
            return None
        if not piece:
            return None
        data += piece
        if size == 4 and len(data) >= 4:
            size = 4 + int.from_bytes(data[:4], "big")
    request: dict[str, Any] = marshal.loads(data[4:size])
    return request
