from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glmcode.glm.interrupt import cut_interrupted
from glmcode.glm.pieces import text_pieces
from glmcode.glm.tokenizer import GlmTokenizer
from tests.glm.samples import THOUGHT, call, golden_parse, parse_pieces

READ = call("Read", file_path="a.py")


def ids_of(tokenizer: GlmTokenizer, raw: str) -> list[int]:
    return tokenizer.encode(text_pieces(raw, tokenizer.control_names))


def text_of(tokenizer: GlmTokenizer, ids: list[int]) -> str:
    return b"".join(map(tokenizer.token_bytes, ids)).decode()


@pytest.mark.parametrize(
    ("raw", "kept"),
    [
        ("", ""),
        ("\n", "\n"),
        ("\n<think>", "\n<think></think>"),
        ("\n<think>look at", "\n<think>look at</think>"),
        (f"{THOUGHT}I will", f"{THOUGHT}I will"),
        (f"{THOUGHT}I look.\n{READ}\nand", f"{THOUGHT}I look.\n{READ}\nand"),
        (f"{THOUGHT}I look.\n{READ[:-12]}", f"{THOUGHT}I look.\n"),
        (f"{THOUGHT}{READ}<tool_call>", f"{THOUGHT}{READ}"),
        (f"{THOUGHT}{READ}\n<tool_call>Wri", f"{THOUGHT}{READ}\n"),
        (f"{THOUGHT}<tool_call>Now\n<tool_call>Re", THOUGHT),
        (f"{THOUGHT}Use the <tool_call> tag for", f"{THOUGHT}Use the <tool_call> tag for"),
        (f"\n<think>look\n{READ[:-12]}", "\n<think>look\n</think>"),
        (f"\n<think>look\n{READ}", f"\n<think>look\n{READ}</think>"),
        (f"{THOUGHT}a<|user|>b", f"{THOUGHT}a"),
    ],
)
def test_an_interrupted_answer_is_cut_at_its_last_closed_structure(
    tokenizer: GlmTokenizer, raw: str, kept: str
) -> None:
    assert text_of(tokenizer, cut_interrupted(tokenizer, ids_of(tokenizer, raw))) == kept


def test_half_a_character_is_dropped(tokenizer: GlmTokenizer) -> None:
    whole = ids_of(tokenizer, f"{THOUGHT}ok ")
    byte_ids = [tokenizer.encode_text("𝔘"), tokenizer.encode_text("ab")]
    assert len(byte_ids[0]) == 4
    for count in range(4):
        assert cut_interrupted(tokenizer, [*whole, *byte_ids[0][:count]]) == whole
    assert cut_interrupted(tokenizer, [*whole, *byte_ids[0]]) == [*whole, *byte_ids[0]]
    thinking = ids_of(tokenizer, "\n<think>ok")
    closing = tokenizer.control_id("</think>")
    assert cut_interrupted(tokenizer, [*thinking, byte_ids[0][0]]) == [*thinking, closing]


@settings(max_examples=200)
@given(case=st.sampled_from(golden_parse()), data=st.data())
def test_what_is_kept_is_a_prefix_that_stands_on_its_own(
    tokenizer: GlmTokenizer, case: dict[str, str], data: st.DataObject
) -> None:
    ids = ids_of(tokenizer, case["raw"])
    ids = ids[: data.draw(st.integers(0, len(ids)))]
    kept = cut_interrupted(tokenizer, ids)
    closing = tokenizer.control_id("</think>")
    body = kept[:-1] if kept[-1:] == [closing] and ids[: len(kept)] != kept else kept
    assert ids[: len(body)] == body
    reply = parse_pieces(tokenizer.pieces(kept), "interrupted")
    assert [r.reason for r in reply.rejected if r.reason == "truncated"] == []
    assert cut_interrupted(tokenizer, kept) == kept


@settings(max_examples=100)
@given(ids=st.lists(st.integers(-2, 1000), max_size=30))
def test_any_ids_can_be_cut(tokenizer: GlmTokenizer, ids: list[int]) -> None:
    kept = cut_interrupted(tokenizer, ids)
    assert len(kept) <= len(ids) + 1
