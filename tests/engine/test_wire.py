from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glmcode.engine.wire import (
    Chunked,
    Endless,
    Incoming,
    Sized,
    WireError,
    answer,
    parse_head,
    request_body,
    response_body,
)

NEXT = b"GET /next HTTP/1.1\r\n\r\n"


def chunked(parts: list[bytes], trailer: bytes = b"") -> bytes:
    coded = b"".join(b"%x;note=1\r\n%s\r\n" % (len(part), part) for part in parts if part)
    return coded + b"0\r\n" + trailer + b"\r\n"


@given(st.lists(st.binary(max_size=40), max_size=6), st.lists(st.integers(1, 30), min_size=1))
def test_a_chunked_body_ends_at_the_same_byte_however_it_is_split(
    parts: list[bytes], steps: list[int]
) -> None:
    whole = chunked(parts, b"Expires: never\r\n")
    stream = whole + NEXT
    body, taken, at, turn = Chunked(), 0, 0, 0
    while not body.done:
        piece = stream[at : at + steps[turn % len(steps)]]
        taken += body.feed(piece)
        at += len(piece)
        turn += 1
    assert taken == len(whole)


@given(st.binary(max_size=60), st.integers(1, 20))
def test_a_sized_body_ends_at_its_length(data: bytes, step: int) -> None:
    body, taken = Sized(len(data)), 0
    stream = data + NEXT
    while not body.done:
        taken += body.feed(stream[taken : taken + step])
    assert taken == len(data)


def test_a_chunk_size_that_is_none_is_an_error() -> None:
    with pytest.raises(WireError, match="not a chunk size"):
        Chunked().feed(b"xyz\r\n")
    with pytest.raises(WireError, match="too long"):
        Chunked().feed(b"1" * 100_000)


def test_what_frames_a_body_is_read_from_the_head() -> None:
    post = b"POST /v1/x HTTP/1.1\r\n%s\r\n\r\n"
    assert isinstance(request_body(parse_head(post % b"Transfer-Encoding: chunked")), Chunked)
    sized = request_body(parse_head(post % b"content-length: 12"))
    assert isinstance(sized, Sized) and sized.left == 12
    assert request_body(parse_head(post % b"A: b")).done
    with pytest.raises(WireError):
        request_body(parse_head(post % b"Content-Length: -4"))


@pytest.mark.parametrize(
    "lines",
    [
        b"Content-Length: 4\r\nContent-Length: 40",
        b"Content-Length: 4\r\nTransfer-Encoding: chunked",
        b"Content-Length : 4",
        b"Transfer-Encoding: gzip, chunked",
        b"Transfer-Encoding: xchunked",
        b"Transfer-Encoding:\r\n chunked",
        b"A: b\nTransfer-Encoding: chunked",
        b"A: b\rContent-Length: 4",
        b"no header at all",
    ],
)
def test_a_head_that_two_readers_could_frame_differently_is_refused(lines: bytes) -> None:
    with pytest.raises(WireError):
        parse_head(b"POST /v1/x HTTP/1.1\r\n" + lines + b"\r\n\r\n")


@pytest.mark.parametrize("length", ["²", "٣", "+4", "4_0", "0x4", " "])
def test_a_length_is_digits_and_nothing_else(length: str) -> None:
    coded = length.encode("latin-1", "replace")
    with pytest.raises(WireError):
        request_body(parse_head(b"POST / HTTP/1.1\r\nContent-Length: " + coded + b"\r\n\r\n"))
    if length.strip():
        with pytest.raises(WireError):
            Chunked().feed(length.encode() + b"\r\nabcd\r\n0\r\n\r\n")


def test_some_responses_have_no_body_whatever_their_head_says() -> None:
    def response(status: str) -> bytes:
        return f"HTTP/1.1 {status}\r\nContent-Length: 5\r\n\r\n".encode()

    assert response_body(parse_head(response("200 OK")), "HEAD").done
    assert response_body(parse_head(response("204 No Content")), "GET").done
    assert response_body(parse_head(response("304 Not Modified")), "GET").done
    assert response_body(parse_head(response("100 Continue")), "POST").done
    assert not response_body(parse_head(response("200 OK")), "GET").done
    assert isinstance(response_body(parse_head(b"HTTP/1.1 200 OK\r\n\r\n"), "GET"), Endless)


def test_who_closes_the_connection_is_read_from_the_head() -> None:
    assert parse_head(b"GET / HTTP/1.1\r\nConnection: Close\r\n\r\n").closes
    assert parse_head(b"GET / HTTP/1.0\r\n\r\n").closes
    assert not parse_head(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").closes
    assert not parse_head(b"GET / HTTP/1.1\r\n\r\n").closes


def test_a_path_is_told_without_its_query() -> None:
    assert parse_head(b"GET /v1/models?x=/sleep HTTP/1.1\r\n\r\n").path == "/v1/models"


def _read(data: bytes) -> Incoming:
    reader = asyncio.StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    return Incoming(reader)


def test_heads_and_what_follows_are_read_apart() -> None:
    async def run() -> None:
        incoming = _read(b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc" + NEXT)
        first = await incoming.head()
        assert first is not None and first.method == "POST"
        data = await incoming.some()
        incoming.put_back(data[3:])
        second = await incoming.head()
        assert second is not None and second.path == "/next"
        assert await incoming.head() is None

    asyncio.run(run())


@pytest.mark.parametrize("data", [b"GET / HT", b"\r\n\r\n", b"nonsense\r\n\r\n", b"x" * 200_000])
def test_what_is_not_http_is_an_error_and_no_hang(data: bytes) -> None:
    async def run() -> None:
        with pytest.raises(WireError):
            await _read(data).head()

    asyncio.run(run())


def test_an_answer_says_how_long_it_is() -> None:
    head, _, body = answer(503, {"a": 1}).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    assert b"Content-Length: %d" % len(body) in head


@pytest.mark.parametrize("size", [b"-6", b"+3", b"0x3", b"1_0", b"", b" ", b"\xb2", b"3 3"])
def test_a_chunk_s_size_is_hexadecimal_digits_and_nothing_else(size: bytes) -> None:
    with pytest.raises(WireError, match="not a chunk size"):
        Chunked().feed(size + b"\r\nx")


def test_a_chunk_s_size_may_have_words_and_spaces_after_it() -> None:
    body = Chunked()
    data = b"3 ;name=value\r\nabc\r\n0;x\r\n\r\n"
    assert body.feed(data) == len(data) and body.done


@pytest.mark.parametrize(
    "lines",
    [
        b"Content-Length: 3\r\nContent-Length: 4",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        b"Content-Length : 3",
        b" Content-Length: 3",
        b"X: a\nContent-Length: 3",
        b"X: a\rY: b",
        b"nothing",
    ],
)
def test_a_head_that_two_could_read_differently_is_refused(lines: bytes) -> None:
    with pytest.raises(WireError):
        parse_head(b"POST /v1/x HTTP/1.1\r\n" + lines + b"\r\n\r\n")


@pytest.mark.parametrize(
    "lines",
    [
        b"Content-Length: 3\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: gzip, chunked",
        b"Transfer-Encoding: identity",
        b"Content-Length: \xb2",
        b"Content-Length: " + b"1" * 5000,
    ],
)
def test_a_body_whose_end_is_told_oddly_is_refused(lines: bytes) -> None:
    with pytest.raises(WireError):
        request_body(parse_head(b"POST /v1/x HTTP/1.1\r\n" + lines + b"\r\n\r\n"))
