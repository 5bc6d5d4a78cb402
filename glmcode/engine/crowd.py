"""How many connections the supervisor bears, and which of them makes room for a new one.

Each takes a descriptor, and one more while the engine is asked for it; a process that has none left
serves nobody, not even who wants to know why. So the limit is raised as far as it may be, a part of
it is kept, and where it is reached the connection that has been silent longest between two requests
is closed: who finds it closed opens another. Must not know what is asked.
"""

from __future__ import annotations

import asyncio
import resource
import socket
import time
from collections.abc import Awaitable, Callable

MOST = 4096
"""Connections at once."""
WANTED = 65_536
"""Descriptors; vLLM, which inherits the limit, wants as many."""
KEPT = 64
"""Descriptors for everything else."""
SILENT_S = 2.0
"""A connection that has said nothing for so long may be closed; a younger one is about to speak."""
AT_ONCE = 16
"""Connections that are taken in before the first of them is counted."""

Accept = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def raise_limit() -> None:
    """Allow this process as many descriptors as it may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED if hard == resource.RLIM_INFINITY else min(WANTED, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def quietly(accept: Accept) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], None]:
    """The same for a server: a task of its own, which may be cancelled without a word.

    Of tasks that asyncio makes itself, Python 3.11 writes a traceback then, and a supervisor that
    leaves cancels all connections that are open.
    """
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await accept(reader, writer)

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    return begin


async def listen(accept: Accept, path: str) -> asyncio.Server:
    """Serve a Unix socket. Many may knock in one moment: a full queue would refuse them."""
    knocking = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        knocking.bind(path)
        server = await asyncio.start_unix_server(quietly(accept), sock=knocking, backlog=AT_ONCE)
    except BaseException:
        knocking.close()
        raise
    knocking.listen(MOST)  # asyncio would take in as many before it looks at one of them
    return server


class Crowd:
    """All connections. Those between two requests stand in the order in which they fell silent."""

    def __init__(self) -> None:
        self._all: set[asyncio.StreamWriter] = set()
        self._silent: dict[asyncio.StreamWriter, float] = {}

    def enters(self, writer: asyncio.StreamWriter) -> bool:
        """A connection has come; whether there is room for it."""
        if len(self._all) >= self._most():
            silent, since = next(iter(self._silent.items()), (None, 0.0))
            if silent is None or time.monotonic() - since < SILENT_S:
                return False
            self.leaves(silent)
            silent.transport.abort()
        self._all.add(writer)
        return True

    def silent(self, writer: asyncio.StreamWriter) -> None:
        """It waits for its next request."""
        if writer in self._all:
            self._silent[writer] = time.monotonic()

    def busy(self, writer: asyncio.StreamWriter) -> None:
        """It has one."""
        self._silent.pop(writer, None)

    def leaves(self, writer: asyncio.StreamWriter) -> None:
        """It is over."""
        self._all.discard(writer)
        self._silent.pop(writer, None)

    def _most(self) -> int:
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft == resource.RLIM_INFINITY:
            return MOST
        return max(1, min(MOST, (soft - KEPT) // 2))
