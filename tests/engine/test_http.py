from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from glmcode.engine.endpoint import Endpoint, address_of
from glmcode.engine.http import HttpTransport, Response, TransportError

HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


def asked(
    folder: Path, answer: bytes, then: Callable[[Response], Awaitable[None]], pause: bool = False
) -> None:
    """A server on a socket that answers every request with these bytes; what `then` makes of it."""
    path = folder / "s.sock"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for piece in (
            (answer[at : at + 7] for at in range(0, len(answer), 7)) if pause else [answer]
        ):
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        writer.close()

    async def main() -> None:
        server = await asyncio.start_unix_server(serve, str(path))
        transport = HttpTransport(address_of(Endpoint(socket=path)), {})
        try:
            response = await transport.open("GET", "/x", ())
            await then(response)
            response.abort()
        finally:
            await transport.close()
            server.close()

    asyncio.run(main())


async def whole(response: Response) -> tuple[list[bytes], str]:
    """The pieces that came, and what ended them."""
    pieces: list[bytes] = []
    try:
        while piece := await response.read():
            pieces.append(piece)
    except TransportError as error:
        return pieces, str(error)
    return pieces, ""


@pytest.mark.parametrize("pause", [False, True])
def test_pieces_that_came_together_are_read_together_and_none_is_lost(
    tmp_path: Path, pause: bool
) -> None:
    async def then(response: Response) -> None:
        pieces, error = await whole(response)
        assert (b"".join(pieces), error) == (b"abcdef", "")
        assert await response.read() == b""
        assert pause or len(pieces) == 1

    asked(tmp_path, HEAD + b"2\r\nab\r\n2\r\ncd\r\n2\r\nef\r\n0\r\n\r\n", then, pause)


@pytest.mark.parametrize("end", [b"", b"2\r\nx", b"nonsense\r\n\r\n"])
def test_what_came_before_a_fault_is_handed_over_and_then_the_fault_is_told_for_good(
    tmp_path: Path, end: bytes
) -> None:
    async def then(response: Response) -> None:
        pieces, error = await whole(response)
        assert b"".join(pieces).startswith(b"abcd") and error
        with pytest.raises(TransportError):
            await response.read()

    asked(tmp_path, HEAD + b"2\r\nab\r\n2\r\ncd\r\n" + end, then)
