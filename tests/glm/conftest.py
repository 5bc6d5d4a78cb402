"""A small GLM tokenizer, trained in a moment: byte-level BPE, GLM's split, GLM's controls."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from glmcode.glm.pieces import CONTROL_NAMES
from glmcode.glm.tokenizer import GlmTokenizer
from tests.glm.samples import golden_parse, golden_render

SPLIT = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
# The session's tokenizer never changes, and a busy machine is no fault of the code.
settings.register_profile(
    "glm",
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("glm")

UNKNOWN_TO_US = ("<|begin_of_image|>", "<|code_prefix|>")
NOT_SPECIAL = CONTROL_NAMES[10:]


def train_bpe(vocabulary: int = 900) -> Tokenizer:
    bpe = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(SPLIT), "isolated")
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    bpe.pre_tokenizer = pre_tokenizers.Sequence([split, level])
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=[],
        show_progress=False,
    )
    texts = [case["raw"] for case in golden_parse()] + [case["text"] for case in golden_render()]
    texts += [
        "/nothink nothink think tool_call arg_value user Größe naïve 中文 日本語 🎉 👩‍💻\r\n\t"
    ] * 9
    bpe.train_from_iterator((text.replace("/nothink", "") for text in texts), trainer)
    return bpe


def tokenizer_json(bpe: Tokenizer) -> dict[str, Any]:
    table: dict[str, Any] = json.loads(bpe.to_str())
    base = bpe.get_vocab_size()
    table["added_tokens"] = [
        {
            "id": base + offset,
            "content": name,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": name not in NOT_SPECIAL,
        }
        for offset, name in enumerate((*CONTROL_NAMES, *UNKNOWN_TO_US))
    ]
    return table


@pytest.fixture(scope="session")
def bpe() -> Tokenizer:
    return train_bpe()


@pytest.fixture(scope="session")
def tokenizer_file(bpe: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    file.write_text(json.dumps(tokenizer_json(bpe)))
    return file


@pytest.fixture(scope="session")
def tokenizer(tokenizer_file: Path) -> GlmTokenizer:
    return GlmTokenizer.load(tokenizer_file)


@pytest.fixture(scope="session")
def full(tokenizer_file: Path) -> Tokenizer:
    return Tokenizer.from_file(str(tokenizer_file))
