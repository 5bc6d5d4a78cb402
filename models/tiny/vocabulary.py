"""The tiny model's tokenizer: byte-level BPE of about 1,000 tokens plus GLM's control tokens.

Words are cut off from what surrounds them (`test_name`, `(name`, `/name` all hold the same
tokens of `name`), because copying names is most of what the model does; a space joins only
words of prose. Text is encoded as glmcode does it: every run between two control tokens in
one piece, and no text can become a control token.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from models.tiny.conversation import Piece

CONTROLS = (
    "<|endoftext|>", "[MASK]", "[gMASK]", "[sMASK]", "<sop>", "<eop>", "<|system|>", "<|user|>",
    "<|assistant|>", "<|observation|>", "<think>", "</think>", "<tool_call>", "</tool_call>",
    "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>", "<tool_response>",
    "</tool_response>", "/nothink",
)  # fmt: skip
# Special in GLM's own file: these are dropped by decode(skip_special_tokens=True).
SPECIAL = frozenset(CONTROLS[:10])
SPLIT = (
    r"\t| \p{L}+(?![\p{L}\p{N}_(/:=]|\.\p{L})|\p{L}+|\p{N}|_| ?[^\s\p{L}\p{N}_]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def train(texts: Iterable[str], size: int) -> Tokenizer:
    """A tokenizer of `size` tokens, control tokens included."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size - len(CONTROLS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        special_tokens=[],
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def save(tokenizer: Tokenizer, folder: Path) -> None:
    """Write tokenizer.json with the control tokens added, and tokenizer_config.json."""
    table = json.loads(tokenizer.to_str())
    base = len(table["model"]["vocab"])
    table["added_tokens"] = [
        {
            "id": base + i,
            "content": control,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": control in SPECIAL,
        }
        for i, control in enumerate(CONTROLS)
    ]
    (folder / "tokenizer.json").write_text(json.dumps(table, ensure_ascii=False) + "\n")
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": 16384,
        "clean_up_tokenization_spaces": False,
        "eos_token": CONTROLS[0],
        "pad_token": CONTROLS[0],
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1) + "\n")


class Codec:
    """Pieces to ids and back, from a folder that holds tokenizer.json."""

    def __init__(self, folder: Path) -> None:
        table = json.loads((folder / "tokenizer.json").read_text())
        self.controls = {t["content"]: t["id"] for t in table["added_tokens"]}
        table["added_tokens"] = []
        self._tokenizer = Tokenizer.from_str(json.dumps(table))

    def size(self) -> int:
        """Number of ids, control tokens included."""
        return self._tokenizer.get_vocab_size() + len(self.controls)

    def fragments(self) -> list[str]:
        """Every token of two or more small letters: what random names are made of."""
        return sorted(
            token
            for token in self._tokenizer.get_vocab()
            if len(token) > 1 and token.isascii() and token.isalpha() and token.islower()
        )

    def text_ids(self, text: str) -> list[int]:
        """The ids of plain text; never a control id."""
        ids: list[int] = self._tokenizer.encode(text).ids
        return ids

    def encode(self, pieces: Iterable[Piece]) -> tuple[list[int], list[bool]]:
        """The ids of the pieces, and for each whether the model is to write it."""
        ids: list[int] = []
        answers: list[bool] = []
        for piece in pieces:
            new = [self.controls[piece.text]] if piece.control else self.text_ids(piece.text)
            ids += new
            answers += [piece.answer] * len(new)
        return ids, answers

    def decode(self, ids: Iterable[int]) -> str:
        """Readable text, control tokens included."""
        names = {number: name for name, number in self.controls.items()}
        out: list[str] = []
        run: list[int] = []
        for number in [*ids, -1]:
            if number in names or number == -1:
                out.append(self._tokenizer.decode(run))
                run = []
                out.append(names.get(number, ""))
            else:
                run.append(number)
        return "".join(out)
