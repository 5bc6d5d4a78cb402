from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glmcode.core.messages import AssistantMessage, RejectedCall, ToolCall, ToolMessage, UserMessage
from glmcode.core.transcript import Preamble
from glmcode.engine.chat_messages import ChatMessages
from glmcode.engine.literals import MARK, NOTE, broken, broken_own
from glmcode.glm.pieces import CONTROL_NAMES, Control, Text
from glmcode.glm.tokenizer import GlmTokenizer

TINY = Path(__file__).resolve().parents[2] / "models" / "tiny" / "tokenizer.json"
ADDED = tuple(token["content"] for token in json.loads(TINY.read_text())["added_tokens"])
FOREIGN = ("<|im_start|>", "<|im_end|>", "<|eot_id|>", "<|start_header_id|>")
HOSTILE = st.lists(
    st.one_of(st.text(max_size=5), st.sampled_from([*ADDED, *FOREIGN, "<", "|>", "</", "·"])),
    max_size=12,
).map("".join)


@pytest.mark.parametrize("word", [*ADDED, *FOREIGN])
def test_each_control_word_is_broken_visibly_and_the_model_is_told(word: str) -> None:
    assert broken(f"a {word} b") == f"a {word[0]}{MARK}{word[1:]} b{NOTE}"


@pytest.mark.parametrize("text", ["", "plain", "a < b || c > d", "<html><think", "x |> y <| z"])
def test_text_without_control_words_stays_as_it_is(text: str) -> None:
    assert broken(text) == broken_own(text) == text


@given(HOSTILE)
def test_no_control_word_is_left_in_any_text(text: str) -> None:
    made = broken(text)
    assert not any(word in made for word in (*ADDED, *FOREIGN))
    assert broken(made.removesuffix(NOTE)) == made.removesuffix(NOTE)


@given(HOSTILE)
def test_no_part_of_a_chat_request_holds_a_control_word(text: str) -> None:
    messages = ChatMessages(Preamble(specs=(), system=f"instructions {text}"))
    call = ToolCall(id=f"c1{text}", name=f"W{text}", arguments={"file_path": "f", "content": text})
    rejected = RejectedCall(id="c2", name=text, reason="malformed", raw=text, before=1)
    messages.extend(
        [
            UserMessage(text=text),
            AssistantMessage(text=text, reasoning=text, calls=(call,), rejected=(rejected,)),
            ToolMessage(call_id=f"c1{text}", name="Bash", text=text),
        ]
    )
    body = json.loads(messages.body({"model": "m"}, question=text))
    said = json.dumps(body, ensure_ascii=False)
    assert not any(word in said for word in {*ADDED, *FOREIGN} - {"<think>", "</think>"})
    for message in body["messages"]:
        if message["role"] != "assistant":
            assert "<think>" not in message["content"]


@given(HOSTILE)
def test_in_the_tokens_protocol_no_text_becomes_a_control_id(text: str) -> None:
    tokenizer = GlmTokenizer.load(TINY)
    clean = text.encode("utf-8", "replace").decode()
    controls = {tokenizer.control_id(name) for name in CONTROL_NAMES}
    pieces = [Control("<|observation|>"), Text(clean), Control("<|assistant|>")]
    ids = tokenizer.encode(pieces)
    assert [number for number in ids if number in controls] == [ids[0], ids[-1]]
