"""Forwards connections byte by byte, as `ssh -L LISTEN:TARGET` does; for tests.

    python tests/relay.py LISTEN TARGET [--delay S] [--piece N]

LISTEN and TARGET are paths of Unix sockets, or ports of 127.0.0.1. An old socket at LISTEN is
replaced (StreamLocalBindUnlink). A connection is taken before the target was reached, as ssh does,
and closed when it cannot be. delay: seconds that each piece travels; piece: most bytes of one.
It prints a line when it listens. kill -9 is a cut line, SIGSTOP a network that is gone.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
from pathlib import Path
from typing import Any


async def pour(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float, piece: int
) -> None:
    """Until one side ends, which is passed on as the end of this direction alone."""
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(piece):
            if delay:
                await asyncio.sleep(delay)
            writer.write(data)
            await writer.drain()
        writer.write_eof()


async def serve(listen: str, target: str, delay: float, piece: int) -> None:
    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = None
        with contextlib.suppress(OSError):
            there = await connect(target)
        if there is not None:
            ways = [pour(reader, there[1], delay, piece), pour(there[0], writer, delay, piece)]
            await asyncio.gather(*ways)
            there[1].close()
        writer.close()

    server: Any
    if listen.isdigit():
        server = await asyncio.start_server(take, "127.0.0.1", int(listen))
    else:
        Path(listen).unlink(missing_ok=True)
        server = await asyncio.start_unix_server(take, listen)
    print("listening", flush=True)
    await server.serve_forever()


async def connect(target: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if target.isdigit():
        return await asyncio.open_connection("127.0.0.1", int(target))
    return await asyncio.open_unix_connection(target)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("listen")
    parser.add_argument("target")
    parser.add_argument("--delay", type=float, default=0.0)
    parser.add_argument("--piece", type=int, default=65_536)
    given = parser.parse_args()
    asyncio.run(serve(given.listen, given.target, given.delay, given.piece))


if __name__ == "__main__":
    main()
