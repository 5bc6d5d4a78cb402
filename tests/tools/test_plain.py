from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glmcode.tools.plain import Plain


def plain(*pieces: bytes) -> str:
    stream = Plain()
    return "".join(stream.feed(piece) for piece in pieces) + stream.end()


CASES = [
    (b"plain\ttext\n", "plain\ttext\n"),
    (b"no newline", "no newline"),
    (b"a\r\nb\r\n", "a\nb\n"),
    (b"a\r\r\nb", "a\nb"),
    (b"10%\r50%\r100%\n", "100%\n"),
    (b"10%\r50%\r", "50%"),
    (b"50%\r\x1b[Kdone\n", "done\n"),
    (b"\x1b[1Gone\x1b[0Gtwo\x1b[Gthree\n", "three\n"),
    (b"m\x08mo\x08or\x08re", "more"),
    (b"\x08\x08a", "a"),
    (b"\x1b[1;31mred\x1b[0m \x1b[38;2;1;2;3mtrue\x1b[m", "red true"),
    (b"\x1b]0;title\x07text", "text"),
    (b"\x1b]8;;http://x.org\x1b\\link\x1b]8;;\x1b\\", "link"),
    (b"\x1b]52;c;aGVsbG8=\x07", ""),
    (b"\x1b(B\x1b)0\x1b=\x1b>\x1b7\x1b8\x1bM", ""),
    (b"\x1bPq#0;2;0\x1b\\after", "after"),
    (b"\x1b[?25l\x1b[?1049hx\x1b[2J\x1b[H", "x"),
    (b"\x1b", ""),
    (b"\x1b[", ""),
    (b"a\x1b]never closed\nb\n", "a]never closed\nb\n"),
    (b"a\x1b]never closed", "a]never closed"),
    (b"a\0b\0", "a\u2400b\u2400"),
    (b"\x01\x02\x7f\x07\x0c", "\u2401\u2402\u2421\u240c"),
    ("\x9b31m\x85".encode(), "\ufffd31m\ufffd"),
    (b"\xff\xfe\x00", "\ufffd\ufffd\u2400"),
    (b"\xe2\x82", "\ufffd"),
    ("é漢😀\u202e".encode(), "é漢😀\u202e"),
    (b"", ""),
]


@pytest.mark.parametrize(("data", "text"), CASES)
def test_what_a_terminal_would_do_is_undone(data: bytes, text: str) -> None:
    assert plain(data) == text


@pytest.mark.parametrize(("data", "text"), CASES)
def test_the_split_into_pieces_does_not_matter(data: bytes, text: str) -> None:
    whole = plain(data)
    assert plain(*(data[i : i + 1] for i in range(len(data)))) == whole
    for cut in range(len(data)):
        assert plain(data[:cut], data[cut:]) == whole


PIECES = st.sampled_from(
    [
        b"a",
        b"\r",
        b"\n",
        b"\x08",
        b"\x1b",
        b"[",
        b"]",
        b"31m",
        b"\x07",
        b"\\",
        b"\0",
        b"\xc3",
        b"\xa9",
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.lists(PIECES, max_size=30))
def test_any_split_of_any_bytes_gives_the_same_harmless_text(pieces: list[bytes]) -> None:
    whole = plain(b"".join(pieces))
    assert plain(*pieces) == whole
    assert all(c in "\t\n" or ord(c) >= 32 for c in whole)
    assert not any(0x7F <= ord(c) < 0xA0 for c in whole)


def test_control_characters_in_an_unfinished_title_are_harmless() -> None:
    assert plain(b"\x1b]\x00a\x9b") == "]\u2400a\ufffd"


def test_a_flushed_line_goes_on_where_it_stood() -> None:
    stream = Plain()
    assert stream.feed(b"Password") == ""
    assert stream.flush() == "Password"
    assert stream.feed(b": wrong\n") == ": wrong\n"


@pytest.mark.parametrize("first", [b"10%", b"10%\r"])
@pytest.mark.parametrize("second", [b"\r20%\n", b"\r\r20%\n"])
def test_what_would_overwrite_a_flushed_line_starts_a_new_one(first: bytes, second: bytes) -> None:
    stream = Plain()
    stream.feed(first)
    assert stream.flush() == "10%"
    assert stream.feed(second) == "\n20%\n"


def test_a_flushed_line_may_end_in_two_characters() -> None:
    stream = Plain()
    stream.feed(b"done\r")
    assert stream.flush() == "done"
    assert stream.feed(b"\nnext\n") == "\nnext\n"


def test_flush_never_shows_half_a_character_or_half_a_sequence() -> None:
    stream = Plain()
    assert stream.feed(b"a\xe2\x82") + stream.flush() == "a"
    assert stream.feed(b"\xac\x1b[3") + stream.flush() == "€"
    assert stream.feed(b"1mred") + stream.flush() == "red"


def test_a_line_without_end_is_let_go_in_parts() -> None:
    stream = Plain()
    text = "".join(stream.feed(b"x" * 10_000) for _ in range(100))
    assert len(text) > 900_000
    assert len(text + stream.end()) == 1_000_000


@pytest.mark.parametrize(
    "unit",
    [
        b"\x1b",
        b"\x1b]",
        b"\x1b[",
        b"\x1b[1;",
        b"\r",
        b"\x08",
        b"a\x08\r",
        b"\0",
        b"\xff",
        b"\x1b[1m\x1b[0m",
    ],
)
def test_hostile_output_takes_linear_time(unit: bytes) -> None:
    data = unit * (1_000_000 // len(unit))
    start = time.process_time()
    plain(*(data[i : i + 65536] for i in range(0, len(data), 65536)))
    assert time.process_time() - start < 5
