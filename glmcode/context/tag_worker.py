"""The process that parses: it is given contents of files and answers with their tags.

A process of its own because a grammar is C code that meets whatever stands in a file: it may
crash, take for ever or eat memory, and a process can be killed. It also leaves the caller's
interpreter free. A batch comes on standard input as one JSON line [[language, size], ...] and
then the contents; for each file one line with a size and then that many bytes go out. Started
by tag_pool.py without site packages. Must not open a file.
"""

from __future__ import annotations

import json
import resource
import sys
from typing import BinaryIO

from glmcode.context.languages import BY_NAME
from glmcode.context.tags import tags_of, to_bytes

_MEMORY = 2 << 30


def main() -> None:
    """Serve batches until standard input ends."""
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    while line := source.readline():
        # All of a batch is read before anything is answered, so that neither side can wait
        # for the other with a full pipe.
        batch = [(name, _exactly(source, size)) for name, size in json.loads(line)]
        for name, data in batch:
            answer = to_bytes(tags_of(data, BY_NAME[name]))
            sink.write(b"%d\n" % len(answer))
            sink.write(answer)
            sink.flush()


def _exactly(source: BinaryIO, size: int) -> bytes:
    data = source.read(size)
    if len(data) < size:
        sys.exit(0)
    return data
