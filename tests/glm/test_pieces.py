from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from glmcode.glm.pieces import CONTROL_NAMES, Control, Text, pieces_text, raw_pieces, text_pieces


def test_raw_text_is_cut_at_every_tag_of_glm() -> None:
    assert raw_pieces(b"a<think>b</think><tool_call>\xff</arg_value>[gMASK]/nothink") == [
        b"a",
        Control("<think>"),
        b"b",
        Control("</think>"),
        Control("<tool_call>"),
        b"\xff",
        Control("</arg_value>"),
        Control("[gMASK]"),
        Control("/nothink"),
    ]
    assert raw_pieces(b"") == []
    assert raw_pieces(b"<think <arg_keys> <|users|>") == [b"<think <arg_keys> <|users|>"]


@given(raw=st.lists(st.one_of(st.sampled_from(CONTROL_NAMES), st.text(max_size=3))).map("".join))
def test_raw_pieces_put_together_are_the_raw_text(raw: str) -> None:
    data = raw.encode("utf-8", "surrogatepass")
    joined = b"".join(p.name.encode() if isinstance(p, Control) else p for p in raw_pieces(data))
    assert joined == data


def test_the_longest_of_several_names_is_taken() -> None:
    assert text_pieces("abc", ["a", "ab"]) == [Control("ab"), Text("c")]
    assert pieces_text(text_pieces("xabc", ["a", "ab"])) == "xabc"
