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

Standard library, keeper.py and proctree.py only: it must start in milliseconds, without
site-packages.
"""

from __future__ import annotations

import gc
import os
import resource
import select
import signal
import socket
import time
from contextlib import suppress

from glmcode.base.keeper import (
    GIVE_UP_S,
    GRACE_S,
    PR_SET_CHILD_SUBREAPER,
    PR_SET_NAME,
    Keeper,
    load_prctl,
    send_message,
    set_prctl,
    wait_any,
    wake_on_sigchld,
)
from glmcode.base.proctree import descendants, send


def main(control_fd: int) -> None:
    """Fork a keeper for each pair (socket, output pipe) that arrives; end when glmcode does."""
    os.set_inheritable(control_fd, False)
    control = socket.socket(fileno=control_fd)
    load_prctl()
    set_prctl(PR_SET_NAME, b"glmcode-warden")
    set_prctl(PR_SET_CHILD_SUBREAPER, 1)
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    with suppress(OSError, ValueError):
        most = resource.getrlimit(resource.RLIMIT_CORE)[1]
        resource.setrlimit(resource.RLIMIT_CORE, (0, most))
    gc.freeze()
    wake = wake_on_sigchld()
    keepers: set[int] = set()
    last = float("inf")
    while last == float("inf") or keepers:
        wait_s = None if last == float("inf") else max(last - time.monotonic(), 0.0)
        watched = [control_fd, wake] if wait_s is None else [wake]
        ready = select.select(watched, [], [], wait_s)[0]
        if wake in ready:
            os.read(wake, 512)
            _bury(keepers)
        if control_fd in ready and not _take_order(control, keepers):
            # glmcode is gone: the keepers notice it themselves, unless somebody stopped them.
            last = time.monotonic() + GRACE_S + GIVE_UP_S + 1
            for pid in keepers:
                send(pid, signal.SIGCONT)
        if time.monotonic() >= last:
            last = time.monotonic() + 1
            for pid in keepers:
                send(pid, signal.SIGKILL)


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
        send_message(talk, ("failed", "fork", error.errno or 0))
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
    while (ended := wait_any()) is not None:
        pid, status = ended
        died |= pid in keepers and status != 0
        keepers.discard(pid)
    if died:
        for pid in descendants(os.getpid(), but_not=frozenset(keepers)):
            send(pid, signal.SIGKILL)
