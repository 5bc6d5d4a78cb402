"""Which sandbox works here: tried once, by running it, and remembered for this process.

An installed bubblewrap proves nothing: containers and hardened kernels refuse the namespaces
it needs. So it is run, with the options that a command would get. Must not decide what a
command may do.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal, TypeAlias

from glmcode.sandbox.landlock import PROBE_S, landlock_abi, launcher_words, own_network
from glmcode.sandbox.seatbelt import PROGRAM as SANDBOX_EXEC

Mechanism: TypeAlias = Literal["bubblewrap", "landlock", "seatbelt", "none"]

SYSTEM_PATH = "/usr/bin:/bin:/usr/local/bin:/usr/sbin:/sbin:/run/current-system/sw/bin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """A mechanism that works here.

    program: the path of bubblewrap. nested: it can forbid further user namespaces. abi:
    Landlock's version. namespaces: how Landlock's child gets a network of its own ("": not).
    why: where there is none, what was tried and said.
    """

    mechanism: Mechanism
    program: str = ""
    nested: bool = False
    abi: int = 0
    namespaces: str = ""
    why: str = ""


@lru_cache(maxsize=1)
def find_backend() -> Backend:
    """The best that works here. Takes some milliseconds the first time; never raises."""
    return choose_backend("")


def choose_backend(wanted: str) -> Backend:
    """The best that works, or the mechanism `wanted` alone ("": any)."""
    tried: list[str] = []
    if sys.platform == "darwin":
        candidates = [_seatbelt]
    elif sys.platform == "linux":
        candidates = [_bubblewrap, _landlock]
    else:
        candidates = []
        tried.append(f"there is none for {sys.platform}")
    for candidate in candidates:
        if wanted in ("", candidate.__name__.lstrip("_")):
            found = candidate(tried)
            if found is not None:
                return found
    return Backend(mechanism="none", why="; ".join(tried) or f"{wanted} is not for this system")


def _bubblewrap(tried: list[str]) -> Backend | None:
    """Only from the system's folders: a bwrap in the person's PATH may be anybody's."""
    program = shutil.which("bwrap", path=SYSTEM_PATH)
    if program is None:
        tried.append("bubblewrap is not installed")
        return None
    said = ""
    spaces = [f"--unshare-{name}" for name in ("user", "pid", "net", "ipc", "uts", "cgroup-try")]
    mounts = ["--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"]
    mounts += ["--ro-bind-try", "/proc/sys", "/proc/sys"]
    mounts += ["--perms", "0111", "--tmpfs", "/tmp", "--remount-ro", "/tmp"]
    for nested in (True, False):
        extra = ["--disable-userns"] if nested else []
        said = _run([program, *spaces, "--cap-drop", "ALL", *extra, *mounts, "--", _true()])
        if not said:
            return Backend(mechanism="bubblewrap", program=program, nested=nested)
    tried.append(f"bubblewrap is refused ({said})")
    return None


def _landlock(tried: list[str]) -> Backend | None:
    abi = landlock_abi()
    if abi < 1:
        tried.append("this kernel has no Landlock, or it is switched off")
        return None
    spec: dict[str, object] = {"abi": abi, "writable": [], "hidden": []}
    said = _run(launcher_words({**spec, "network": True, "namespaces": ""}, [_true()]))
    if said:
        tried.append(f"Landlock is refused ({said})")
        return None
    return Backend(mechanism="landlock", abi=abi, namespaces=own_network())


def _seatbelt(tried: list[str]) -> Backend | None:
    said = _run([SANDBOX_EXEC, "-p", "(version 1)(allow default)", _true()])
    if said:
        tried.append(f"sandbox-exec is refused ({said})")
        return None
    return Backend(mechanism="seatbelt", program=SANDBOX_EXEC)


def _true() -> str:
    return "/bin/true" if Path("/bin/true").exists() else "/usr/bin/true"


def _run(words: list[str]) -> str:
    """Empty when it worked, else what it said, in one line."""
    try:
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, timeout=PROBE_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return " ".join(str(error).split())[:200]
    if done.returncode == 0:
        return ""
    said = " ".join(done.stderr.decode("utf-8", "replace").split())
    return said[:200] or f"exit code {done.returncode}"
