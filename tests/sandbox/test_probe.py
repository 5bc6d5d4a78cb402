from __future__ import annotations

import ctypes
import shutil
import subprocess

from tests.sandbox.kit import WORKING, backend

NAMESPACES = ("--unshare-pid", "--unshare-net", "--unshare-ipc")


def bubblewrap_runs() -> bool:
    program = shutil.which("bwrap")
    if program is None:
        return False
    plain = [program, "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", *NAMESPACES]
    return subprocess.run([*plain, "true"], capture_output=True, check=False).returncode == 0


def abi_of_the_kernel() -> int:
    return int(ctypes.CDLL(None).syscall(444, None, 0, 1))


def test_what_runs_here_when_it_is_called_by_hand_is_found() -> None:
    assert ("bubblewrap" in WORKING) == bubblewrap_runs()


def test_landlock_is_found_where_the_kernel_has_it() -> None:
    assert ("landlock" in WORKING) == (abi_of_the_kernel() >= 1)
    assert backend("landlock").abi == max(0, abi_of_the_kernel())
