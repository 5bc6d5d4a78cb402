"""Landlock: asks the kernel how much of it there is, and makes the words that use it.

The rules are set by launcher.py in the child, just before the command; here is what may be
known beforehand. The ABI grows with the kernel: 1 files, 2 links and renames between folders,
3 truncation, 4 TCP ports, 5 ioctl on devices, 6 abstract sockets and signals. Must not
restrict this process.
"""

from __future__ import annotations

import marshal
import os
import subprocess
import sys
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from glmcode.sandbox.policy import Layout, SandboxPolicy

LAUNCHER = Path(__file__).with_name("launcher.py")
CREATE_RULESET = 444
VERSION = 1
PROBE_S = 10.0
REFUSED = 126
"""The launcher's exit code when the sandbox could not be set up: nothing has run."""


@lru_cache(maxsize=1)
def landlock_abi() -> int:
    """The version of Landlock that this kernel has switched on; 0: none."""
    if sys.platform != "linux":
        return 0
    try:
        import ctypes

        found = ctypes.CDLL(None).syscall(CREATE_RULESET, None, 0, VERSION)
    except (ImportError, OSError, AttributeError):
        return 0
    return max(0, int(found))


@lru_cache(maxsize=1)
def own_network() -> str:
    """How a child gets a network namespace of its own: "direct" (as root), "user", or ""."""
    for way in ("direct", "user") if os.geteuid() == 0 else ("user",):
        words = launcher_words({"abi": 0, "namespaces": way, "network": False}, ["/bin/true"])
        try:
            done = subprocess.run(words, capture_output=True, timeout=PROBE_S, check=False)
        except (OSError, subprocess.TimeoutExpired):
            continue
        if done.returncode == 0:
            return way
    return ""


def landlock_argv(
    argv: list[str],
    policy: SandboxPolicy,
    laid: Layout,
    *,
    abi: int,
    namespaces: str,
    covered: Iterable[Path] = (),
) -> list[str]:
    """argv under Landlock; argv[0] must be absolute. abi, namespaces: what works (probe.py).
    covered: sockets that are not to be reached, which takes a namespace."""
    spec: dict[str, object] = {
        "abi": abi,
        "writable": [os.fspath(path) for path in laid.writable],
        "hidden": [os.fspath(path) for path in laid.hidden],
        "covered": [os.fspath(path) for path in covered],
        "own": [os.fspath(path) for path in laid.own],
        "network": policy.network,
        "namespaces": namespaces,
        "processes": policy.processes,
        "keep_file_rights": laid.foreign,
    }
    return launcher_words(spec, argv)


def launcher_words(spec: dict[str, object], argv: list[str]) -> list[str]:
    """The launcher with its orders, in an interpreter that reads no one's settings."""
    python = os.path.realpath(sys.executable)  # that of a virtual environment starts slower
    return [python, "-I", "-S", str(LAUNCHER), marshal.dumps(spec).hex(), *argv]
