"""A parse_worker.py that runs: to send it batches, to hear its answers, to end it.

The worker's interpreter starts bare and is told where glmcode and the grammars lie, so that
nothing of the folder that is looked at can be imported. It ends when its input does. Whatever
goes wrong is WorkerLost, and the worker is then of no more use. Must not start one by itself.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from glmcode.context.languages import LANGUAGES

_ROOT = Path(__file__).resolve().parents[2]
_MAIN = (
    "import sys; sys.path += sys.argv[1:]; from glmcode.context.parse_worker import main; main()"
)
_CHUNK = 1 << 16
_GLANCE_S = 0.25


class WorkerLost(Exception):
    """The worker died, fell silent, or could not be started."""


class Worker:
    """One process; every method raises WorkerLost when it cannot go on."""

    def __init__(self) -> None:
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-X", "utf8", "-c", _MAIN, str(_ROOT), *_libraries()],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd="/",
                start_new_session=True,
            )
        except OSError as error:
            raise WorkerLost("not started") from error
        self._pending = bytearray()

    def send(self, what: Literal["tags", "errors"], batch: Sequence[tuple[str, bytes]]) -> None:
        """Hand over (language, content) of files, each of which will be answered."""
        head = json.dumps([what, [[name, len(data)] for name, data in batch]])
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(head.encode() + b"\n")
            self._process.stdin.write(b"".join(data for _, data in batch))
            self._process.stdin.flush()
        except (OSError, ValueError) as error:
            raise WorkerLost("gone") from error

    def receive(self, seconds: float, stopped: Callable[[], bool] = lambda: False) -> bytes:
        """The next answer, if it comes in time."""
        until = time.monotonic() + seconds
        while (end := self._pending.find(b"\n")) < 0:
            self._more(until, stopped)
        size = int(self._pending[:end])
        del self._pending[: end + 1]
        while len(self._pending) < size:
            self._more(until, stopped)
        answer = bytes(self._pending[:size])
        del self._pending[:size]
        return answer

    def _more(self, until: float, stopped: Callable[[], bool]) -> None:
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        while not select.select([descriptor], [], [], _GLANCE_S)[0]:
            if time.monotonic() > until or stopped():
                raise WorkerLost("silent")
        chunk = os.read(descriptor, _CHUNK)
        if not chunk:
            raise WorkerLost("ended")
        self._pending += chunk

    def kill(self) -> bool:
        """End the process and wait for it. True: it had used up a file's processor time."""
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            try:
                if pipe is not None:
                    pipe.close()
            except OSError:
                pass
        return self._process.wait() == -signal.SIGPROF


@lru_cache(maxsize=1)
def _libraries() -> list[str]:
    """The folders in which the worker finds the grammars."""
    folders: set[str] = set()
    for module in ("tree_sitter", *(language.module for language in LANGUAGES)):
        try:
            spec = find_spec(module)
        except (ImportError, ValueError):
            continue
        if spec is not None and spec.origin is not None:
            folders.add(str(Path(spec.origin).parent.parent))
    return sorted(folders)
