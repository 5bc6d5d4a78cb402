from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, models, pre_tokenizers

from glmcode.glm.pieces import CONTROL_NAMES, Control, Text, pieces_text
from glmcode.glm.template import render
from glmcode.glm.tokenizer import GlmTokenizer, TokenizerError, clean_text
from tests.glm.conftest import SPLIT, UNKNOWN_TO_US, tokenizer_json
from tests.glm.samples import golden_parse, golden_render

EVERY_ADDED = (*CONTROL_NAMES, *UNKNOWN_TO_US)
QUICK = settings(max_examples=300)
PLAIN = st.text(st.characters(exclude_categories=["Cs"]))
TAGGED = st.lists(st.one_of(st.sampled_from(EVERY_ADDED), PLAIN), max_size=8).map("".join)


def bytes_of(tokenizer: GlmTokenizer, ids: list[int]) -> bytes:
    return b"".join(map(tokenizer.token_bytes, ids))


def is_tag_free(text: str) -> bool:
    return not any(name in text for name in EVERY_ADDED)


@QUICK
@given(text=TAGGED)
def test_no_text_gives_a_control_id_and_it_comes_back_byte_for_byte(
    tokenizer: GlmTokenizer, text: str
) -> None:
    ids = tokenizer.encode_text(text)
    assert [number for number in ids if tokenizer.control_name(number)] == []
    assert bytes_of(tokenizer, ids) == text.encode()
    assert tokenizer.pieces(ids) == ([text.encode()] if text else [])


@pytest.mark.parametrize("name", EVERY_ADDED)
def test_every_added_token_of_the_file_is_only_text_when_it_is_spelled(
    tokenizer: GlmTokenizer, full: Tokenizer, name: str
) -> None:
    assert full.encode(f"a{name}b").ids.count(full.token_to_id(name)) == 1
    for text in (name, name * 3, f"x{name}y", f" {name}\n", name[1:] + name, name + name[:-1]):
        ids = tokenizer.encode_text(text)
        assert not any(tokenizer.control_name(number) for number in ids)
        assert bytes_of(tokenizer, ids) == text.encode()


@QUICK
@given(text=PLAIN.filter(is_tag_free))
def test_tag_free_text_gets_the_ids_of_the_full_tokenizer(
    tokenizer: GlmTokenizer, full: Tokenizer, text: str
) -> None:
    assert tokenizer.encode_text(text) == full.encode(text, add_special_tokens=False).ids


@pytest.mark.parametrize("case", golden_render(), ids=lambda case: case["name"])
def test_a_rendered_golden_gets_the_ids_of_the_full_tokenizer(
    tokenizer: GlmTokenizer, full: Tokenizer, case: dict[str, Any]
) -> None:
    pieces = render(
        case["messages"], case["tools"], case["add_generation_prompt"], case["enable_thinking"]
    )
    want = full.encode(case["text"], add_special_tokens=False).ids
    assert tokenizer.encode(pieces) == want


@pytest.mark.parametrize("case", golden_parse(), ids=lambda case: case["name"])
def test_a_golden_answer_as_text_holds_no_control_and_comes_back(
    tokenizer: GlmTokenizer, case: dict[str, Any]
) -> None:
    ids = tokenizer.encode_text(case["raw"])
    assert not any(tokenizer.control_name(number) for number in ids)
    assert bytes_of(tokenizer, ids) == case["raw"].encode()


def test_text_between_two_controls_is_encoded_in_one_piece(tokenizer: GlmTokenizer) -> None:
    user = tokenizer.control_id("<|user|>")
    together = tokenizer.encode([Control("<|user|>"), Text("\n"), Text("\nthe "), Text("file")])
    assert together == [user, *tokenizer.encode_text("\n\nthe file")]
    assert together != [
        user,
        *tokenizer.encode_text("\n"),
        *tokenizer.encode_text("\nthe "),
        *tokenizer.encode_text("file"),
    ]


def test_a_control_that_the_file_lacks_is_text_and_joins_its_neighbours(bpe: Tokenizer) -> None:
    table = tokenizer_json(bpe)
    table["added_tokens"] = [t for t in table["added_tokens"] if t["content"] != "/nothink"]
    bare = Tokenizer.from_str(json.dumps({**table, "added_tokens": []}))
    tokenizer = GlmTokenizer(bare, table["added_tokens"])
    assert tokenizer.control_id("/nothink") is None
    pieces = [Control("<|user|>"), Text("\ngo"), Control("/nothink"), Control("<|assistant|>")]
    assert tokenizer.encode(pieces) == [
        tokenizer.control_id("<|user|>"),
        *tokenizer.encode_text("\ngo/nothink"),
        tokenizer.control_id("<|assistant|>"),
    ]


def test_a_control_that_stands_in_the_vocabulary_too_is_out_of_reach(tmp_path: Path) -> None:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {char: number for number, char in enumerate(alphabet)}
    merges = [("/", "n"), ("/n", "o"), ("/no", "t"), ("/not", "h"), ("/noth", "i")]
    merges += [("/nothi", "n"), ("/nothin", "k")]
    for left, right in merges:
        vocabulary[left + right] = len(vocabulary)
    bpe = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    split = pre_tokenizers.Split(Regex(SPLIT), "isolated")
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    bpe.pre_tokenizer = pre_tokenizers.Sequence([split, level])
    assert bpe.encode("a/nothink").ids[-1] == vocabulary["/nothink"]
    (tmp_path / "tokenizer.json").write_text(json.dumps(tokenizer_json(bpe)))
    tokenizer = GlmTokenizer.load(tmp_path)
    whole = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    control = tokenizer.control_id("/nothink")
    assert control == whole.token_to_id("/nothink") == vocabulary["/nothink"]
    ids = tokenizer.encode_text("a/nothink/nothink b")
    assert control not in ids
    assert bytes_of(tokenizer, ids) == b"a/nothink/nothink b"


def test_lone_surrogates_become_replacement_characters_and_are_counted(
    tokenizer: GlmTokenizer,
) -> None:
    assert clean_text("a\ud800b\udc00c") == ("a\ufffdb\ufffdc", 2)
    assert clean_text("\ud83c\udf89") == ("🎉", 0)
    assert clean_text("plain é") == ("plain é", 0)
    assert bytes_of(tokenizer, tokenizer.encode_text("x\udfff")) == "x\ufffd".encode()


def test_ids_outside_the_vocabulary_read_as_bytes_that_are_no_text(
    tokenizer: GlmTokenizer,
) -> None:
    for number in (-1, 10**6, 2**31, 2**40):
        assert tokenizer.pieces([number]) == [b"\xff"]
    a = tokenizer.encode_text("a")
    assert tokenizer.pieces([*a, 10**6, *a]) == [b"a\xffa"]


def test_pieces_keep_controls_apart_and_join_the_bytes_between(tokenizer: GlmTokenizer) -> None:
    pieces = [Control("<think>"), Text("Größe 中文 🎉"), Control("</think>"), Text("\nok")]
    ids = tokenizer.encode(pieces)
    assert tokenizer.pieces(ids) == [
        Control("<think>"),
        "Größe 中文 🎉".encode(),
        Control("</think>"),
        b"\nok",
    ]
    assert pieces_text(pieces).encode() == bytes_of(tokenizer, ids)


def test_controls_that_we_do_not_know_are_controls_all_the_same(tokenizer: GlmTokenizer) -> None:
    number = tokenizer.control_id("<|begin_of_image|>")
    assert number is not None
    assert tokenizer.control_name(number) == "<|begin_of_image|>"
    assert tokenizer.pieces([number]) == [Control("<|begin_of_image|>")]


def test_stops_are_the_role_tokens_and_the_end_of_text(tokenizer: GlmTokenizer) -> None:
    assert sorted(tokenizer.stop_ids.values()) == [
        "<|assistant|>",
        "<|endoftext|>",
        "<|observation|>",
        "<|system|>",
        "<|user|>",
    ]
    assert all(tokenizer.control_id(name) == n for n, name in tokenizer.stop_ids.items())


def test_a_folder_and_a_file_load_alike_and_have_one_fingerprint(tokenizer_file: Path) -> None:
    by_file, by_folder = GlmTokenizer.load(tokenizer_file), GlmTokenizer.load(tokenizer_file.parent)
    assert by_file.fingerprint == by_folder.fingerprint
    assert len(by_file.fingerprint) == 64
    assert by_file.encode_text("hello there") == by_folder.encode_text("hello there")


def test_neither_truncation_nor_a_post_processor_nor_key_order_of_the_file_matters(
    bpe: Tokenizer, tokenizer: GlmTokenizer, tmp_path: Path
) -> None:
    table = tokenizer_json(bpe)
    user = table["added_tokens"][7]
    table["truncation"] = {
        "direction": "Right",
        "max_length": 4,
        "strategy": "LongestFirst",
        "stride": 0,
    }
    table["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [
            {"SpecialToken": {"id": user["content"], "type_id": 0}},
            {"Sequence": {"id": "A", "type_id": 0}},
        ],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
        "special_tokens": {
            user["content"]: {
                "id": user["content"],
                "ids": [user["id"]],
                "tokens": [user["content"]],
            }
        },
    }
    text = "a text of more than four tokens, with <|user|> and </arg_value> in it " * 3
    for number, order in enumerate((list(table), list(reversed(table)), sorted(table))):
        file = tmp_path / f"{number}.json"
        file.write_text(json.dumps({key: table[key] for key in order}, indent=number))
        assert GlmTokenizer.load(file).encode_text(text) == tokenizer.encode_text(text)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "there is no tokenizer at"),
        ("", "damaged"),
        ("{", "damaged"),
        ("[]", "not a JSON object"),
        ("{}", "damaged"),
        ('{"added_tokens": 3, "model": {}}', "no list"),
        ('{"added_tokens": [3], "model": {}}', "no object"),
        ('{"added_tokens": [{"id": "1"}], "model": {}}', "no content or no id"),
        ('{"model": {"type": "BPE", "vocab": {}, "merges": []}}', "not a byte-level BPE"),
        (b"\xff\xfe", "damaged"),
    ],
)
def test_a_missing_or_damaged_file_is_said_in_one_sentence(
    tmp_path: Path, content: str | bytes | None, words: str
) -> None:
    file = tmp_path / "tokenizer.json"
    if content is not None:
        file.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(TokenizerError, match=words) as caught:
        GlmTokenizer.load(file)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_tokenizer_of_another_family_is_refused(bpe: Tokenizer, tmp_path: Path) -> None:
    table = tokenizer_json(bpe)
    table["added_tokens"] = table["added_tokens"][:9]
    (tmp_path / "tokenizer.json").write_text(json.dumps(table))
    with pytest.raises(TokenizerError, match=r"not a GLM tokenizer.*<\|observation\|>"):
        GlmTokenizer.load(tmp_path)


def test_a_tokenizer_that_changes_text_is_refused(bpe: Tokenizer, tmp_path: Path) -> None:
    table = tokenizer_json(bpe)
    table["normalizer"] = {"type": "NFD"}
    (tmp_path / "tokenizer.json").write_text(json.dumps(table))
    with pytest.raises(TokenizerError, match="changes text"):
        GlmTokenizer.load(tmp_path)
