"""Asks another program with a time limit that holds whatever the program does.

`subprocess.run` waits again after its kill, for the end of a pipe that a grandchild may hold
and for a process that may hang in the kernel. Here the answer goes to a file, the whole process
group is killed, and nobody is waited for longer than a moment.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

_MOST = 1 << 20
_LAST_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """code: the exit code (minus a signal's number), None when it did not start or not end in
    time; out and err: at most 1 MiB each; fault: why there is no code."""

    code: int | None
    out: str = ""
    err: str = ""
    fault: str = ""

    def why(self) -> str:
        """One line about a failure: the last that it said."""
        if self.fault:
            return self.fault
        lines = [line for line in (self.err or self.out).splitlines() if line.strip()]
        said = lines[-1].strip()[:200] if lines else "it said nothing"
        return f"{said} (exit code {self.code})"


def bounded(words: Sequence[str], limit_s: float, env: Mapping[str, str] | None = None) -> Answer:
    """Run it with nothing to read; returns within limit_s and a moment. Never raises."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        try:
            child = subprocess.Popen(
                list(words),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=None if env is None else dict(env),
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            return Answer(code=None, fault=f"it cannot be started: {error}")
        try:
            code: int | None = child.wait(limit_s)
        except subprocess.TimeoutExpired:
            code = None
        except BaseException:
            _end(child)
            raise
        if code is None:
            _end(child)
            fault = f"no answer within {limit_s:g} s"
            return Answer(code=None, out=_read(out.fileno()), err=_read(err.fileno()), fault=fault)
        return Answer(code=code, out=_read(out.fileno()), err=_read(err.fileno()))


def _end(child: subprocess.Popen[bytes]) -> None:
    with suppress(OSError):
        os.killpg(child.pid, signal.SIGKILL)
    with suppress(subprocess.TimeoutExpired):
        child.wait(_LAST_S)


def _read(descriptor: int) -> str:
    return os.pread(descriptor, _MOST, 0).decode("utf-8", "replace")
