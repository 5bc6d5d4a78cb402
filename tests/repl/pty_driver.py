"""Runs the real command in a real pseudo-terminal, types, and looks at what stands there."""

from __future__ import annotations

import codecs
import contextlib
import fcntl
import os
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.repl.pty_screen import PtyScreen

PATIENCE_S = 90.0


class PtySession:
    """A process on a pseudo-terminal. `screen` is what it shows; `raw` all that it wrote."""

    def __init__(
        self,
        argv: Sequence[str],
        cwd: Path,
        env: dict[str, str],
        size: tuple[int, int],
        emulator: Callable[[int, int], Any] = PtyScreen,
    ) -> None:
        self.master, slave = os.openpty()
        self._set_size(*size)
        self.before = termios.tcgetattr(slave)
        self.process = subprocess.Popen(
            argv,
            cwd=cwd,
            env=env,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        self.slave = slave
        self.raw = ""
        self.screen: Any = emulator(*size)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def type(self, text: str) -> None:
        """Type; "\\r" is the Enter key."""
        os.write(self.master, text.encode())

    def read(self, seconds: float = 0.0) -> None:
        """Take what was written, for so long or until nothing is there."""
        end = time.monotonic() + seconds
        while True:
            left = max(0.0, end - time.monotonic())
            if not select.select([self.master], [], [], left)[0]:
                return
            try:
                data = os.read(self.master, 65_536)
            except OSError:
                return
            if not data:
                return
            text = self._decoder.decode(data)
            self.raw += text
            self.screen.feed(text)

    def wait_until(self, condition: Callable[[], bool], what: str) -> None:
        """Read until the condition holds; fails with the screen after PATIENCE_S."""
        end = time.monotonic() + PATIENCE_S
        while not condition():
            self.read(0.02)
            if self.process.poll() is not None:
                self.read(0.2)
                assert condition(), f"it ended before: {what}\n{self.screen.text}"
            assert time.monotonic() < end, f"never came: {what}\n{self.screen.text}"

    def wait_for(self, text: str) -> None:
        """Read until the text stands anywhere, scrolled away or not."""
        self.wait_until(lambda: text in self.screen.text, text)

    def wait_for_visible(self, text: str) -> None:
        """Read until the text stands on the screen."""
        self.wait_until(lambda: text in self.screen.visible, text)

    def wait_gone(self, text: str) -> None:
        """Read until the text no longer stands on the screen."""
        self.wait_until(lambda: text not in self.screen.visible, f"the end of {text}")

    def wait_exit(self) -> int:
        """Read until the process has ended; its exit code."""
        end = time.monotonic() + PATIENCE_S
        while self.process.poll() is None:
            self.read(0.02)
            assert time.monotonic() < end, f"it did not end\n{self.screen.text}"
        self.read(0.1)
        return self.process.returncode

    def resize(self, columns: int, rows: int) -> None:
        """Change the size of the terminal; the kernel tells the process."""
        self.read(0.1)
        self.screen.resize(columns, rows)
        self._set_size(columns, rows)

    def terminal_is_restored(self) -> bool:
        """Whether the terminal's modes are as they were before the process ran."""
        cursor = self.screen.modes.get("25", True)
        paste = not self.screen.modes.get("2004", False)
        return termios.tcgetattr(self.slave) == self.before and cursor and paste

    def close(self) -> None:
        """End the process, whatever state it is in."""
        if self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        os.close(self.master)
        os.close(self.slave)

    def _set_size(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


@contextlib.contextmanager
def glmcode(
    folder: Path,
    *arguments: str,
    size: tuple[int, int] = (100, 30),
    env: dict[str, str] | None = None,
    program: Sequence[str] = ("-m", "glmcode"),
    offers: bool = False,
    cwd: Path | None = None,
    emulator: Callable[[int, int], Any] = PtyScreen,
) -> Iterator[PtySession]:
    """`glmcode ARGUMENTS` in folder/workspace (or cwd), with its state below folder/home.

    offers: make the offer that is made once, before the first question about a command. What
    was printed for good must not have changed when it ends.
    """
    workspace = folder / "workspace"
    workspace.mkdir(exist_ok=True)
    python = [] if program[0] == "bash" else [sys.executable]
    argv = [*python, *program, *arguments]
    environment = environment_of(folder, offers=offers) | (env or {})
    session = PtySession(argv, cwd or workspace, environment, size, emulator)
    try:
        yield session
        assert not session.screen.committed.changed, session.screen.committed.changed
    finally:
        session.close()


def environment_of(folder: Path, *, offers: bool = False) -> dict[str, str]:
    """The environment of a session whose state is below folder/home."""
    kept = ("PATH", "HOME", "PYTHONPATH", "LANG", "VIRTUAL_ENV")
    environment = {name: os.environ[name] for name in kept if name in os.environ}
    environment |= {
        "TERM": "xterm-256color",
        "XTERM_VERSION": "as those do not wrap anew",
        "GLMCODE_HOME": str(folder / "home"),
    }
    if not offers:
        environment["GLMCODE_PERMISSIONS__SANDBOX_AUTO_ALLOW"] = "false"
    return environment
