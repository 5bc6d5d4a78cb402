"""The process that parses: it is given contents of files and answers with what stands in them.

A process of its own because a grammar is C code that meets whatever stands in a file: it may
crash, take for ever or eat memory, and a process can be killed. It also leaves the caller's
interpreter free. A batch comes on standard input as one JSON line [what, [[language, size], ...]]
and then the contents; for each file one line with a size and then that many bytes go out. `what`
is "tags" (the answer is tags.to_bytes) or "errors" (errors.to_bytes). Started by
worker_process.py without site packages. Must not open a file.
"""

from __future__ import annotations

import json
import resource
import signal
import sys
from typing import BinaryIO

from glmcode.context import errors, tags
from glmcode.context.languages import BY_NAME

CPU_S = 4.0
"""Seconds of processor time a file may take; then SIGPROF ends the process."""
_MEMORY = 2 << 30


def main() -> None:
    """Serve batches until standard input ends."""
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    while line := source.readline():
        what, files = json.loads(line)
        # All of a batch is read before anything is answered, so that neither side can wait
        # for the other with a full pipe.
        batch = [(name, _exactly(source, size)) for name, size in files]
        for name, data in batch:
            signal.setitimer(signal.ITIMER_PROF, CPU_S)
            answer = _answer(what, name, data)
            signal.setitimer(signal.ITIMER_PROF, 0)
            sink.write(b"%d\n" % len(answer))
            sink.write(answer)
            sink.flush()


def _answer(what: str, name: str, data: bytes) -> bytes:
    language = BY_NAME[name]
    if what == "errors":
        return errors.to_bytes(errors.errors_of(data, language))
    return tags.to_bytes(tags.tags_of(data, language))


def _exactly(source: BinaryIO, size: int) -> bytes:
    data = source.read(size)
    if len(data) < size:
        sys.exit(0)
    return data
