"""The Seatbelt profile that runs a command on macOS, through sandbox-exec. Pure.

The last rule that matches decides, so rules for folders stand in the order of their depth.
Loopback stays, as in a network namespace.
"""

from __future__ import annotations

import os
from pathlib import Path

from glmcode.sandbox.policy import Layout, SandboxPolicy, lies_in

PROGRAM = "/usr/bin/sandbox-exec"
DEVICES = ("null", "zero", "random", "urandom", "tty", "ptmx", "dtracehelper", "stdout", "stderr")
LIMIT = 'ulimit -u "$1" 2>/dev/null; shift; exec "$@"'


def seatbelt_argv(
    argv: list[str], policy: SandboxPolicy, laid: Layout, way: Path | None = None
) -> list[str]:
    """argv under Seatbelt; argv[0] must be a bash (for the limit of processes). way: a socket
    that can be reached."""
    limit = [argv[0], "--noprofile", "--norc", "-c", LIMIT, "bash", str(policy.processes)]
    return [PROGRAM, "-p", seatbelt_profile(policy, laid, way), *limit, *argv]


def seatbelt_profile(policy: SandboxPolicy, laid: Layout, way: Path | None = None) -> str:
    """The text of the profile."""
    lines = [
        "(version 1)",
        "(allow default)",
        "(deny file-write*)",
        *(f"(allow file-write* (literal {quoted(f'/dev/{name}')}))" for name in DEVICES),
        '(allow file-write* (regex #"^/dev/(ttys[0-9]+|fd/[0-9]+)$"))',
        *_by_depth(laid),
        *(f"(deny file-write-unlink (literal {quoted(path)}))" for path in _above(laid)),
        "(deny signal (target others))",
        "(allow signal (target same-sandbox))",
        "(deny process-info* (target others))",
        "(allow process-info* (target same-sandbox))",
    ]
    if not policy.network:
        lines += [
            "(deny network*)",
            '(allow network* (local ip "localhost:*"))',
            '(allow network* (remote ip "localhost:*"))',
            *(
                f"(allow network* ({end} unix-socket (subpath {quoted(path)})))"
                for path in laid.writable
                for end in ("local", "remote")
            ),
        ]
    lines += [f"(deny network* (remote unix-socket (subpath {quoted(p)})))" for p in laid.hidden]
    if way is not None:
        lines.append(f"(allow network-outbound (remote unix-socket (literal {quoted(way)})))")
    return "\n".join(lines) + "\n"


def _by_depth(laid: Layout) -> list[str]:
    """Rules for folders, those above first: a deeper place wins."""
    rules = [(path, "deny file-read* file-write*") for path in laid.hidden]
    rules += [(path, "allow file-read* file-write*") for path in laid.writable]
    rules += [(path, "deny file-write*") for path in (*laid.protected, *laid.absent)]
    rules.sort(key=lambda rule: len(rule[0].parts))
    return [f"({what} (subpath {quoted(path)}))" for path, what in rules]


def _above(laid: Layout) -> list[Path]:
    """Folders that hold something closed: they must not be renamed away with it."""
    kept = [*laid.protected, *laid.absent, *laid.hidden]
    folders = {above for path in kept for above in path.parents}
    return sorted(folder for folder in folders if lies_in(folder, laid.writable))


def quoted(path: str | os.PathLike[str]) -> str:
    """A string of the profile's language."""
    text = os.fspath(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'
