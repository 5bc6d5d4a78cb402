from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glmcode.base.textfile import (
    BinaryFile,
    common_head,
    common_tail,
    decode,
    encode,
    line_count,
    lines_with_ends,
    only_line_end,
    split_lines,
)


@given(st.binary(max_size=200))
def test_what_is_decoded_is_encoded_to_the_same_bytes(data: bytes) -> None:
    try:
        text = decode(data)
    except BinaryFile:
        return
    assert encode(text, text.text) == data


@given(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=50),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]),
)
def test_every_encoding_with_a_mark_is_read_and_written_back(text: str, encoding: str) -> None:
    data = text.encode(encoding)
    if not text.startswith("\ufeff") and not data.startswith(b"\xff\xfe\x00\x00\x00\x00"):
        found = decode(data)
        assert found.text == text
        assert encode(found, found.text) == data


@given(st.text(alphabet="a\r\n\x0b\x0c\x1c\x85\u2028", max_size=40))
def test_lines_are_cut_at_the_three_ends_only(text: str) -> None:
    lines = re.split(r"\r\n|\n|\r", text)
    if lines[-1] == "":
        lines.pop()
    assert split_lines(text) == lines
    assert line_count(text) == len(lines)
    assert "".join(lines_with_ends(text)) == text
    assert len(lines_with_ends(text)) == len(lines)


@given(st.text(alphabet="ab", max_size=12), st.text(alphabet="ab", max_size=12))
def test_common_ends_are_as_long_as_they_can_be(a: str, b: str) -> None:
    head = common_head(a, b)
    assert a[:head] == b[:head]
    assert head == min(len(a), len(b)) or a[head] != b[head]
    limit = min(len(a), len(b)) - head
    tail = common_tail(a, b, limit)
    assert a[len(a) - tail :] == b[len(b) - tail :]
    assert tail == limit or a[-1 - tail] != b[-1 - tail]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("", None),
        ("a", None),
        ("a\nb\n", "\n"),
        ("a\r\n", "\r\n"),
        ("a\r", "\r"),
        ("a\r\nb\n", None),
    ],
)
def test_the_only_line_end_is_known(text: str, kind: str | None) -> None:
    assert only_line_end(text) == kind


def test_text_in_old_japanese_and_chinese_encodings_is_text() -> None:
    for encoding in ("shift-jis", "euc-jp", "gbk", "big5", "koi8-r", "cp1252"):
        sample = {"koi8-r": "Привет", "cp1252": "“naïve”"}.get(encoding, "日本")
        assert decode(f"x = 1 # {sample}\n".encode(encoding)).guessed
