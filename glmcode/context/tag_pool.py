"""Runs parse workers: several files at once, each in bounded time, none able to do harm.

A thread for each worker sends batches and waits. A worker that dies or falls silent is killed;
the file it was at gets no answer, and a new worker goes on with the rest; where workers die one
after the other without having answered anything, the pool gives up. Workers end when their
input does, so none is left behind, whatever happens to this process. Must not decide what is
parsed, nor keep anything.
"""

from __future__ import annotations

import os
import queue
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Event, Thread

from glmcode.context.tags import NOTHING, to_bytes
from glmcode.context.worker_process import Worker, WorkerLost

SILENCE_S = 8.0
"""Seconds that one file may take before its worker is killed."""
MAX_WORKERS = 4
MAX_LOST = 8
"""Workers in a row that may die without one answer between them."""


@dataclass(frozen=True, slots=True)
class Source:
    """A file to parse: a key of the caller's, the language's name, the content."""

    key: bytes
    language: str
    data: bytes


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
        worker: Worker | None = None
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

    def _parse(self, batch: list[Source], worker: Worker | None) -> Worker | None:
        """Have all files of a batch answered, with as many workers as that takes."""
        while batch and not self._stop.is_set():
            answered = 0
            try:
                if worker is None:
                    worker = Worker()
                worker.send("tags", [(source.language, source.data) for source in batch])
                for source in batch:
                    self._done(source.key, worker.receive(SILENCE_S, self._stop.is_set))
                    answered += 1
                    self._lost = 0
            except WorkerLost:
                self._lost += 1
                if worker is not None and worker.kill() and answered < len(batch):
                    # This will be so every time: it is an answer, and may be kept.
                    self._done(batch[answered].key, to_bytes(NOTHING))
                    self._lost = 0
                worker = None
                answered += 1
                if self._lost >= MAX_LOST:
                    self._stop.set()
            batch = batch[answered:]
        return worker
