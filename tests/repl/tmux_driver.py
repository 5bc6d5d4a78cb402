"""Runs the real command in tmux, types, and looks with capture-pane: a terminal that many use.

Each session has a server of its own, which ends with it. The face is that of PtySession.
"""

from __future__ import annotations

import contextlib
import shlex
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.repl.pty_driver import PATIENCE_S, environment_of


class TmuxSession:
    """A command in a pane. `screen` is the session itself: `visible` and `text` ask tmux."""

    def __init__(self, argv: list[str], cwd: Path, env: dict[str, str], size: tuple[int, int]):
        self._name = f"glmcode-test-{uuid.uuid4().hex[:12]}"
        words = [
            "env",
            "-i",
            *(f"{k}={v}" for k, v in env.items() if k not in ("TERM", "XTERM_VERSION")),
        ]
        command = shlex.join([*words, "TERM=tmux-256color", *argv])
        columns, rows = size
        options = "set -g status off; set -g remain-on-exit on; set -g history-limit 100000"
        self._tmux(
            "start-server", ";", *shlex.split(options.replace(";", " ';' ")), ";",
            "new-session", "-d", "-x", str(columns), "-y", str(rows), "-c", str(cwd), command,
        )  # fmt: skip
        self.screen = self

    @property
    def visible(self) -> str:
        return _trimmed(self._tmux("capture-pane", "-p"))

    @property
    def text(self) -> str:
        return _trimmed(self._tmux("capture-pane", "-p", "-S", "-"))

    def type(self, text: str) -> None:
        """Type, byte by byte as a keyboard sends them."""
        codes = [f"{byte:02x}" for byte in text.encode()]
        for start in range(0, len(codes), 500):
            self._tmux("send-keys", "-H", *codes[start : start + 500])

    def paste(self, text: str) -> None:
        """Paste, bracketed if the program asked for that."""
        buffer = ["load-buffer", "-"]
        subprocess.run(self._words(*buffer), input=text, text=True, check=True)
        self._tmux("paste-buffer", "-p", "-r")

    def read(self, seconds: float = 0.0) -> None:
        """tmux reads by itself."""
        time.sleep(seconds)

    def wait_until(self, condition: Callable[[], bool], what: str) -> None:
        """Until the condition holds; fails with the screen after PATIENCE_S."""
        end = time.monotonic() + PATIENCE_S
        while not condition():
            time.sleep(0.05)
            assert time.monotonic() < end, f"never came: {what}\n{self.text}"

    def wait_for(self, text: str) -> None:
        """Until the text stands anywhere, scrolled away or not."""
        self.wait_until(lambda: text in self.text, text)

    def wait_for_visible(self, text: str) -> None:
        """Until the text stands on the screen."""
        self.wait_until(lambda: text in self.visible, text)

    def wait_gone(self, text: str) -> None:
        """Until the text no longer stands on the screen."""
        self.wait_until(lambda: text not in self.visible, f"the end of {text}")

    def wait_exit(self) -> int:
        """Until the command has ended; its exit code."""
        self.wait_until(lambda: self._ask("#{pane_dead}") == "1", "the end")
        return int(self._ask("#{pane_dead_status}") or -1)

    def resize(self, columns: int, rows: int) -> None:
        """Change the size of the window; what stands there is wrapped anew."""
        self._tmux("resize-window", "-x", str(columns), "-y", str(rows))

    def close(self) -> None:
        """End the server, and with it whatever runs in it."""
        with contextlib.suppress(subprocess.CalledProcessError):
            self._tmux("kill-server")

    def _ask(self, what: str) -> str:
        return self._tmux("display-message", "-p", what).strip()

    def _words(self, *words: str) -> list[str]:
        return ["tmux", "-L", self._name, "-f", "/dev/null", "-u", *words]

    def _tmux(self, *words: str) -> str:
        done = subprocess.run(self._words(*words), capture_output=True, check=True)
        return done.stdout.decode("utf-8", "replace")


@contextlib.contextmanager
def in_tmux(
    folder: Path, *arguments: str, size: tuple[int, int] = (100, 30)
) -> Iterator[TmuxSession]:
    """`glmcode ARGUMENTS` in folder/workspace, in a tmux of its own."""
    workspace = folder / "workspace"
    workspace.mkdir(exist_ok=True)
    argv = [sys.executable, "-m", "glmcode", *arguments]
    session = TmuxSession(argv, workspace, environment_of(folder), size)
    try:
        yield session
    finally:
        session.close()


def _trimmed(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.split("\n")).rstrip("\n")
