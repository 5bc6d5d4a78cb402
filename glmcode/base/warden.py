"""The process between glmcode and the commands it runs: nothing that they start can be lost.

base/process.py starts `main` once, in an interpreter of its own. For every command the warden
forks a keeper; the keeper declares itself a subreaper (Linux), starts the command in a session
of its own and waits. So whatever the command starts, double forks and setsid included, stays
below the keeper: "is anything left" is a question to waitpid, and killing is a walk of one
subtree. It is a process of its own because the subreaper flag is process-wide (in glmcode
itself it would catch the orphans of others), because forking a small process is cheap and safe
where glmcode has threads, and because it outlives glmcode: when glmcode is gone, by SIGKILL
too, the keepers see the end of their socket and kill what runs.

Elsewhere than on Linux there is no subreaper: descendants and the command's process group are
found with `ps`, and a daemon that forks twice into another session can escape.

Standard library and proctree.py only: it must start in milliseconds, with no site-packages.
Messages are marshal values after a 4-byte length; process.py says what they mean.
"""

from __future__ import annotations

import gc
import marshal
import os
import resource
import select
import signal
import socket
import sys
import time
from typing import Any

from glmcode.base.proctree import command_line, descendants, group_lives, group_of, send

GRACE_S = 0.8
"""Between SIGTERM and SIGKILL."""
LINGER_S = 0.25
"""How long what the command started may outlive it without being told as left."""
GIVE_UP_S = 5.0
"""After this long of SIGKILLs, what still lives (another user's, stuck in a disk) is told."""
SHOWN = 3
"""How many of the processes that are left are named."""
SCRIPT_FD = 64
"""Where a command too long for an argument lies."""
NEVER = float("inf")

_PR_SET_PDEATHSIG, _PR_SET_NAME, _PR_SET_CHILD_SUBREAPER = 1, 15, 36
_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGPIPE", "SIGCHLD", "SIGXFSZ")
_prctl: Any = None


def main(control_fd: int) -> None:
    """Fork a keeper for each pair (socket, output pipe) that arrives; end when glmcode does."""
    os.set_inheritable(control_fd, False)
    control = socket.socket(fileno=control_fd)
    _load_prctl()
    _set(_PR_SET_NAME, b"glmcode-warden")
    _set(_PR_SET_CHILD_SUBREAPER, 1)
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    gc.freeze()
    wake = _wake_on_sigchld()
    keepers: set[int] = set()
    working = True
    while working or keepers:
        ready = select.select([control_fd, wake] if working else [wake], [], [])[0]
        if wake in ready:
            os.read(wake, 512)
            _bury(keepers)
        if control_fd in ready:
            working = _take_order(control, keepers)


def _take_order(control: socket.socket, keepers: set[int]) -> bool:
    """Fork a keeper; False when glmcode is gone."""
    try:
        message, fds, _, _ = socket.recv_fds(control, 1, 2)
    except OSError:
        return False
    if not message:
        return False
    for fd in fds:
        os.set_inheritable(fd, False)
    talk = socket.socket(fileno=fds[0])
    try:
        pid = os.fork()
    except OSError as error:
        _send(talk, ("failed", "fork", error.errno or 0))
        pid = -1
    if pid == 0:
        control.close()
        status = 1
        try:
            Keeper(talk, fds[1]).run()
            status = 0
        finally:
            os._exit(status)
    talk.close()
    os.close(fds[1])
    keepers |= {pid} - {-1}
    return True


def _bury(keepers: set[int]) -> None:
    """Reap; when somebody killed a keeper, what it has left behind is killed."""
    died = False
    while (ended := _wait_any()) is not None:
        pid, status = ended
        died |= pid in keepers and status != 0
        keepers.discard(pid)
    if died:
        for pid in descendants(os.getpid(), but_not=frozenset(keepers)):
            send(pid, signal.SIGKILL)


class Keeper:
    """One command: started, waited for, and on request stopped with all that it started."""

    def __init__(self, talk: socket.socket, output: int) -> None:
        self.talk = talk
        self.output = output
        self.wake = _wake_on_sigchld()
        self.shell = 0
        self.started = 0.0
        self.exit: tuple[int, float] | None = None
        self.empty = self.deaf = self.told = self.timed_out = False
        self.term_at = self.kill_at = self.deadline = NEVER

    def run(self) -> None:
        """Serve one command until nothing of it is left, or until what is left won't die."""
        _set(_PR_SET_NAME, b"glmcode-keeper")
        _set(_PR_SET_CHILD_SUBREAPER, 1)
        request = _receive(self.talk)
        if request is None:
            return
        failure = self._start(request)
        os.close(self.output)
        if failure is not None:
            self._tell("failed", *failure)
            return
        self._tell("started", self.shell, os.getpid())
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
        """Fork and exec; None, or the stage that failed and its errno."""
        script = _script_file(request["script"])
        report, report_end = os.pipe()
        self.started = time.monotonic()
        try:
            self.shell = os.fork()
        except OSError as error:
            return "fork", error.errno or 0
        if self.shell == 0:
            stage = "start"
            try:
                os.setsid()
                _set(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
                _become_clean(self.output, script)
                stage = "folder"
                os.chdir(request["cwd"])
                stage = "exec"
                os.execve(request["argv"][0], request["argv"], request["env"])
            except OSError as error:
                os.write(report_end, marshal.dumps((stage, error.errno or 0)))
            finally:
                os._exit(127)
        os.close(report_end)
        if script is not None:
            os.close(script)
        answer = os.read(report, 512)
        os.close(report)
        if not answer:
            return None
        os.waitpid(self.shell, 0)
        stage, number = marshal.loads(answer)
        return str(stage), int(number)

    def _next_event(self) -> float:
        linger = NEVER
        if self.exit and not self.told:
            linger = self.started + self.exit[1] + LINGER_S
        elif self.exit and _prctl is None:
            linger = time.monotonic() + 0.2
        return min(self.term_at, self.kill_at, self.deadline, linger)

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
        while (ended := _wait_any()) is not None:
            pid, status = ended
            if pid == self.shell:
                took = time.monotonic() - self.started
                self.exit = (os.waitstatus_to_exitcode(status), took)
        self.empty = _has_no_child() and (_prctl is not None or not group_lives(self.shell))

    def _advance(self, now: float) -> None:
        """Do what is due: the end of the time limit, SIGTERM, telling the exit."""
        if self.exit:
            self.deadline = NEVER
        if now >= self.deadline:
            self.timed_out = True
            self.deadline, self.term_at = NEVER, min(self.term_at, now)
        if now >= self.term_at and self.kill_at == NEVER:
            self.term_at, self.kill_at = NEVER, now + GRACE_S
            for pid in self._tree():
                send(pid, signal.SIGTERM)
                send(pid, signal.SIGCONT)
        if self.exit and (self.empty or now >= self.started + self.exit[1] + LINGER_S):
            self._tell_exit()

    def _tell_exit(self) -> None:
        if self.exit and not self.told:
            self.told = True
            self._tell("exit", *self.exit, self.timed_out, self._left())

    def _tree(self) -> list[int]:
        return descendants(os.getpid(), group=self.shell if _prctl is None else 0)

    def _left(self) -> tuple[int, tuple[str, ...]]:
        """How many processes are left, and the command lines of the first of them."""
        pids = [] if self.empty else self._tree()
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
            self.deaf = not _send(self.talk, message)


def _become_clean(output: int, script: int | None) -> None:
    """In the child: standard files, default signals, no core file, nothing else inherited."""
    null = os.open("/dev/null", os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    if script is not None:
        os.dup2(script, SCRIPT_FD)
    for name in _SIGNALS:
        signal.signal(getattr(signal, name), signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    except (OSError, ValueError):
        pass


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


def _wait_any() -> tuple[int, int] | None:
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


def _wake_on_sigchld() -> int:
    """A descriptor that becomes readable when a child ends."""
    wake, wake_end = os.pipe()
    os.set_blocking(wake_end, False)
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake_end, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    return wake


def _load_prctl() -> None:
    global _prctl
    if sys.platform == "linux":
        try:
            import ctypes

            _prctl = ctypes.CDLL(None).prctl
        except (ImportError, OSError, AttributeError):
            pass


def _set(option: int, value: bytes | int) -> None:
    if _prctl is not None:
        _prctl(option, value, 0, 0, 0)


def _send(talk: socket.socket, message: tuple[Any, ...]) -> bool:
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
