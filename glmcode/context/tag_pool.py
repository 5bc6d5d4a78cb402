"""Runs tag_worker.py: several files at once, each in bounded time, none able to do harm.

A thread for each worker sends batches and waits. A worker that dies or falls silent is killed;
the file it was at gets no answer, and a new worker goes on with the rest; where workers die one
after the other without having answered anything, the pool gives up. Workers end when their
input does, so none is left behind, whatever happens to this process. Must not decide what is
parsed, nor keep anything.
"""

from __future__ import annotations

import json
import os
import queue
import select
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from threading import Event, Thread

from glmcode.context.languages import LANGUAGES

SILENCE_S = 8.0
"""Seconds that one file may take before its worker is killed."""
MAX_WORKERS = 4
MAX_LOST = 8
"""Workers in a row that may die without one answer between them."""
_ROOT = Path(__file__).resolve().parents[2]
_MAIN = "import sys; sys.path += sys.argv[1:]; from glmcode.context.tag_worker import main; main()"
_CHUNK = 1 << 16


@dataclass(frozen=True, slots=True)
class Source:
    """A file to parse: a key of the caller's, the language's name, the content."""

    key: bytes
    language: str
    data: bytes


class _WorkerLost(Exception):
    """The worker died, fell silent, or could not be started."""


class TagPool:
    """Workers that are started when there is work; use as a context manager.

    add() takes a batch and may wait while enough is under way; what was answered is handed to
    `done(key, encoded tags)`, from the workers' threads, one call at a time for each worker.
    """

    def __init__(self, done: Callable[[bytes, bytes], None]) -> None:
        self._done = done
        self._work: queue.Queue[list[Source] | None] = queue.Queue(maxsize=2 * MAX_WORKERS)
        self._threads: list[Thread] = []
        self._stop = Event()
        self._lost = 0
        self._most = min(MAX_WORKERS, len(os.sched_getaffinity(0)))

    def __enter__(self) -> TagPool:
        return self

    def __exit__(self, *exception: object) -> None:
        """Wait for what was added; after an exception, stop at once."""
        if exception[0] is not None:
            self._stop.set()
        for _ in self._threads:
            self._put(None)
        for thread in self._threads:
            thread.join()

    def add(self, batch: Sequence[Source]) -> None:
        """Have a batch parsed. A second worker starts when the first has more than it can do."""
        if len(self._threads) < self._most and (not self._threads or not self._work.empty()):
            thread = Thread(target=self._serve, daemon=True)
            self._threads.append(thread)
            thread.start()
        self._put(list(batch))

    def _put(self, item: list[Source] | None) -> None:
        while not self._stop.is_set():
            try:
                self._work.put(item, timeout=0.2)
                return
            except queue.Full:
                continue

    def _serve(self) -> None:
        worker: _Worker | None = None
        try:
            while not self._stop.is_set():
                try:
                    batch = self._work.get(timeout=0.2)
                except queue.Empty:
                    continue
                if batch is None:
                    return
                worker = self._parse(batch, worker)
        finally:
            if worker is not None:
                worker.kill()

    def _parse(self, batch: list[Source], worker: _Worker | None) -> _Worker | None:
        """Have all files of a batch answered, with as many workers as that takes."""
        while batch and not self._stop.is_set():
            answered = 0
            try:
                if worker is None:
                    worker = _Worker()
                worker.send(batch)
                for source in batch:
                    self._done(source.key, worker.receive(self._stop))
                    answered += 1
                    self._lost = 0
            except _WorkerLost:
                if worker is not None:
                    worker.kill()
                worker = None
                answered += 1
                self._lost += 1
                if self._lost >= MAX_LOST:
                    self._stop.set()
            batch = batch[answered:]
        return worker


class _Worker:
    """One process of tag_worker.py; raises _WorkerLost when it cannot go on."""

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
            raise _WorkerLost("not started") from error
        self._pending = bytearray()

    def send(self, batch: Sequence[Source]) -> None:
        head = json.dumps([[source.language, len(source.data)] for source in batch])
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(head.encode() + b"\n")
            self._process.stdin.write(b"".join(source.data for source in batch))
            self._process.stdin.flush()
        except OSError as error:
            raise _WorkerLost("gone") from error

    def receive(self, stop: Event) -> bytes:
        """The next answer."""
        while (end := self._pending.find(b"\n")) < 0:
            self._more(stop)
        size = int(self._pending[:end])
        del self._pending[: end + 1]
        while len(self._pending) < size:
            self._more(stop)
        answer = bytes(self._pending[:size])
        del self._pending[:size]
        return answer

    def _more(self, stop: Event) -> None:
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        waited = 0.0
        while not select.select([descriptor], [], [], 0.25)[0]:
            waited += 0.25
            if waited >= SILENCE_S or stop.is_set():
                raise _WorkerLost("silent")
        chunk = os.read(descriptor, _CHUNK)
        if not chunk:
            raise _WorkerLost("ended")
        self._pending += chunk

    def kill(self) -> None:
        """End the process and wait for it."""
        for pipe in (self._process.stdin, self._process.stdout):
            try:
                if pipe is not None:
                    pipe.close()
            except OSError:
                pass
        self._process.kill()
        self._process.wait()


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
