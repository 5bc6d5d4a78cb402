from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from glmcode.glm.decoder import Utf8Stream


@given(text=st.text(st.characters(exclude_categories=["Cs"])), data=st.data())
def test_text_cut_anywhere_comes_out_whole_and_never_half(text: str, data: st.DataObject) -> None:
    raw = text.encode()
    stream = Utf8Stream()
    shown = ""
    at = 0
    while at < len(raw):
        size = data.draw(st.integers(1, 3))
        shown += stream.feed(raw[at : at + size])
        at += size
        assert text.startswith(shown)
    assert shown + stream.flush() == text


def test_a_character_over_three_tokens_waits_for_its_last_byte() -> None:
    stream = Utf8Stream()
    assert [stream.feed(bytes([byte])) for byte in "中".encode()] == ["", "", "中"]
    assert stream.waiting == 0


@given(raw=st.binary(max_size=40))
def test_invalid_bytes_become_replacement_characters_however_they_are_cut(raw: bytes) -> None:
    stream = Utf8Stream()
    shown = "".join(stream.feed(raw[i : i + 1]) for i in range(len(raw))) + stream.flush()
    assert shown == raw.decode(errors="replace")


def test_the_end_shows_half_a_character_as_a_replacement_and_begins_anew() -> None:
    stream = Utf8Stream()
    assert stream.feed(b"a\xe4\xb8") == "a"
    assert stream.waiting == 2
    assert stream.flush() == "\ufffd"
    assert stream.feed(b"b") + stream.flush() == "b"
