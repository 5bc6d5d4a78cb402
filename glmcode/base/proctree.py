"""The processes below a process: who they are, and signals to them.

Linux reads /proc, other systems ask `ps`. Process numbers may be used again: a list is true
for the moment; only a parent that has not yet reaped can be sure of its children.
Used in the warden, so standard library only, and cheap to import.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Collection


def descendants(
    root: int,
    *,
    group: int = 0,
    also: Collection[int] = (),
    but_not: Collection[int] = (),
) -> list[int]:
    """Living processes below `root`, parents first.

    With those of process group `group`, those in `also`, and what is below them; those in
    `but_not` are left out with everything below them.
    """
    table = _table_of_proc() if sys.platform == "linux" else _table_of_ps()
    below: dict[int, list[int]] = {}
    queue = [root]
    for pid, parent, pgid in table:
        below.setdefault(parent, []).append(pid)
        if pid != root and (pid in also or (group and pgid == group)):
            queue.append(pid)
    seen = set(queue)
    for pid in queue:
        children = [c for c in below.get(pid, ()) if c not in but_not and c not in seen]
        queue += children
        seen.update(children)
    return queue[1:]


def _table_of_proc() -> list[tuple[int, int, int]]:
    """(pid, parent, group) of all living processes."""
    table = []
    for name in os.listdir("/proc"):  # noqa: PTH208 (pathlib costs more than the scan)
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123
                    state, parent, group = file.read().rpartition(b")")[2].split()[:3]
            except (OSError, ValueError):
                continue
            if state not in b"ZX":
                table.append((int(name), int(parent), int(group)))
    return table


def _table_of_ps() -> list[tuple[int, int, int]]:
    lines, me = _ps("-A", "-o", "pid=,ppid=,pgid=,stat=")
    rows = [line.split() for line in lines.splitlines()]
    table = [(int(r[0]), int(r[1]), int(r[2])) for r in rows if len(r) > 3 and r[3][:1] != b"Z"]
    return [row for row in table if row[0] != me]


def _ps(*arguments: str) -> tuple[bytes, int]:
    """What `ps` prints, and its own process number."""
    import subprocess

    with subprocess.Popen(["/bin/ps", *arguments], stdout=subprocess.PIPE) as ps:
        return ps.communicate()[0], ps.pid


def command_line(pid: int) -> str:
    """What the process was started as, short; "process PID" where that cannot be read."""
    try:
        if sys.platform == "linux":
            with open(f"/proc/{pid}/cmdline", "rb") as file:  # noqa: PTH123
                words = file.read(400).replace(b"\0", b" ")
        else:
            words = _ps("-o", "args=", "-p", str(pid))[0]
    except OSError:
        words = b""
    text = " ".join(words.decode("utf-8", "replace").split())
    text = "".join(c if c.isprintable() else "?" for c in text)
    return (text if len(text) <= 60 else text[:59] + "…") or f"process {pid}"


def name_of(pid: int) -> str:
    """The short name of its program, "" where that cannot be read."""
    try:
        with open(f"/proc/{pid}/comm") as file:  # noqa: PTH123
            return file.read().strip()
    except (OSError, UnicodeDecodeError):
        return ""


def has_as_input(pid: int, pipe: os.stat_result) -> bool:
    """Whether its standard input is this very pipe."""
    try:
        mine = os.stat(f"/proc/{pid}/fd/0")  # noqa: PTH116
    except OSError:
        return False
    return (mine.st_dev, mine.st_ino) == (pipe.st_dev, pipe.st_ino)


def group_of(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except OSError:
        return 0


def send(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except OSError:
        pass
