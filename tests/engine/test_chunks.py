from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Sequence

import h11
import pytest

from glmcode.engine.chunks import own_process, read_together, whole_chunks
from glmcode.engine.sse import DONE, ObjectStream, StreamError

LIBRARY = """
from glmcode.engine.chunks import read_together
from h11 import SEND_BODY
from h11._readers import READERS
before = dict(READERS[SEND_BODY])
told = read_together()
print(told, before == READERS[SEND_BODY])
"""
HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunked(parts: Sequence[bytes]) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)


def answer(pieces: Sequence[bytes]) -> tuple[bytes, int, bool]:
    """What h11 reads of an answer that comes in pieces: body, how many events, whether it ended."""
    http = h11.Connection(h11.CLIENT)
    http.send(h11.Request(method="GET", target="/", headers=[("host", "x")]))
    http.send(h11.EndOfMessage())
    body, events = b"", 0
    for piece in pieces:
        http.receive_data(piece)
        while (event := http.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
            if isinstance(event, h11.Data):
                body += bytes(event.data)
                events += 1
            elif isinstance(event, h11.EndOfMessage):
                return body, events, True
    return body, events, False


@pytest.fixture(autouse=True, scope="module")
def _ours() -> None:
    own_process()


def test_in_somebody_elses_process_h11_stays_as_it_is() -> None:
    done = subprocess.run([sys.executable, "-c", LIBRARY], capture_output=True, text=True)
    assert done.stdout == "False True\n", done.stderr


def test_many_small_chunks_are_one_event() -> None:
    assert read_together()
    parts = [b"data: %d\n\n" % n for n in range(500)]
    whole = HEAD + chunked(parts) + b"0\r\n\r\n"
    body, events, ended = answer([whole])
    assert (body, ended) == (b"".join(parts), True)
    assert events == 1


@pytest.mark.parametrize("seed", range(20))
def test_an_answer_is_the_same_wherever_it_is_cut(seed: int) -> None:
    read_together()
    dice = random.Random(seed)
    parts = [dice.randbytes(dice.choice((1, 2, 15, 300))) for _ in range(60)]
    whole = HEAD + chunked(parts) + b"0\r\nx-trailer: 1\r\n\r\n"
    cuts = sorted(dice.sample(range(1, len(whole)), 40))
    pieces = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    body, _, ended = answer(pieces)
    assert (body, ended) == (b"".join(parts), True)


def test_every_byte_by_itself_gives_the_same_answer() -> None:
    read_together()
    parts = [b"a", b"bc\r\n", b"0\r\n\r\n"]
    whole = HEAD + chunked(parts) + b"0\r\n\r\n"
    body, _, ended = answer([whole[i : i + 1] for i in range(len(whole))])
    assert (body, ended) == (b"".join(parts), True)


@pytest.mark.parametrize(
    "bad",
    [
        b"3\r\nabcX\r\n",
        b"3\r\nabc\rX",
        b"-3\r\nabc\r\n",
        b"0x3\r\nabc\r\n",
        b" 3\r\nabc\r\n",
        b"z\r\nabc\r\n",
        b"3\nabc\n",
    ],
)
def test_what_is_no_chunk_is_refused_after_good_ones(bad: bytes) -> None:
    read_together()
    with pytest.raises(h11.RemoteProtocolError):
        answer([HEAD + chunked([b"abc", b"def"]) + bad + b"0\r\n\r\n" + b"\n" * 30_000])


def test_chunks_with_extensions_and_huge_ones_are_read_too() -> None:
    read_together()
    big = b"x" * 1_000_000
    whole = HEAD + b"3;name=value\r\nabc\r\n" + chunked([b"de", b"f", big, b"g"]) + b"0\r\n\r\n"
    pieces = [whole[at : at + 65_536] for at in range(0, len(whole), 65_536)]
    body, _, ended = answer(pieces)
    assert (body == b"abcdef" + big + b"g", ended) == (True, True)


def test_a_line_end_that_is_owed_comes_first() -> None:
    assert whole_chunks(b"\r\n1\r\na\r\n1\r\nb\r\n1\r\n", 2) == ([b"a", b"b"], 14)
    assert whole_chunks(b"1\r\na\r\n", 2) == ([], 0)


@pytest.mark.parametrize("seed", range(20))
def test_events_are_the_same_wherever_the_body_is_cut(seed: int) -> None:
    dice = random.Random(seed)
    forms = [
        b'data: {"n": %d}\n\n',
        b'data:{"n": %d}\n\n',
        b'data: {"n":\ndata: %d}\n\n',
        b'data: {"n": %d}\r\n\r\n',
        b': comment\n\n\ndata: {"n": %d}\n\n',
        b'id: 7\ndata: {"n": %d} \n\n',
    ]
    body = b"".join(dice.choice(forms) % n for n in range(80)) + b"data: [DONE]\n\n"
    cuts = sorted(dice.sample(range(1, len(body)), 30))
    stream, found = ObjectStream(), []
    for start, end in zip([0, *cuts], [*cuts, len(body)], strict=True):
        found += stream.feed(body[start:end])
    found += stream.close()
    assert found == [*({"n": n} for n in range(80)), DONE]


def test_an_error_that_an_event_line_announces_is_one_though_events_come_together() -> None:
    body = b'data: {"a": 1}\n\nevent: error\ndata: {"code": 5}\n\ndata: {"b": 2}\n\n'
    for cut in range(1, len(body)):
        stream = ObjectStream()
        found = stream.feed(body[:cut]) + stream.feed(body[cut:])
        assert found == [{"a": 1}, {"error": {"code": 5}}, {"b": 2}]


def test_an_event_that_is_not_json_is_refused_among_good_ones() -> None:
    with pytest.raises(StreamError):
        ObjectStream().feed(b'data: {"a": 1}\n\ndata: {"a": 1} {"b": 2}\n\ndata: {"c": 3}\n\n')
