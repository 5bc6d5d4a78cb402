"""Pieces: what a prompt and an answer are made of, a control token or plain content.

The renderer writes `Control | Text`, the parser reads `Control | bytes` (bytes, because a
token may hold half a character). Keeping the two kinds apart by type, and not by looking
at the text, is what makes forged structure impossible. Must not know token ids.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

CONTROL_NAMES = (
    "<|endoftext|>",
    "[MASK]",
    "[gMASK]",
    "[sMASK]",
    "<sop>",
    "<eop>",
    "<|system|>",
    "<|user|>",
    "<|assistant|>",
    "<|observation|>",
    "<think>",
    "</think>",
    "<tool_call>",
    "</tool_call>",
    "<arg_key>",
    "</arg_key>",
    "<arg_value>",
    "</arg_value>",
    "<tool_response>",
    "</tool_response>",
    "/nothink",
)
"""GLM-4.6's control tokens. Which of them a checkpoint has is read from its tokenizer."""

STOP_NAMES = ("<|endoftext|>", "<|user|>", "<|observation|>", "<|assistant|>", "<|system|>")
"""The tokens that end an answer: the sampling parameter `stop_token_ids`, by name."""


@dataclass(frozen=True, slots=True)
class Control:
    """One control token, by the name that the tokenizer file gives it."""

    name: str


@dataclass(frozen=True, slots=True)
class Text:
    """Content, ours or untrusted alike; whatever it holds, it never becomes control."""

    text: str


Piece: TypeAlias = Control | Text
"""What the renderer writes."""

ReplyPiece: TypeAlias = Control | bytes
"""What the parser reads."""


def pieces_text(pieces: Iterable[Piece]) -> str:
    """The pieces as one text, controls spelled by their names."""
    return "".join(p.text if isinstance(p, Text) else p.name for p in pieces)


def control_pattern(names: Iterable[str]) -> re.Pattern[str]:
    """A pattern that finds each of the names, the longest first where several begin."""
    ordered = sorted(names, key=len, reverse=True)
    return re.compile("(" + "|".join(re.escape(name) for name in ordered) + ")")


def text_pieces(text: str, names: Iterable[str]) -> list[Piece]:
    """Text whose spelled tags count as controls: for debugging, never for a prompt."""
    return [Control(part) if tag else Text(part) for tag, part in _parts(text, names)]


def raw_pieces(raw: bytes) -> list[ReplyPiece]:
    """A raw answer as the parser reads it: every tag of GLM-4.6 in it is a control."""
    text = raw.decode("utf-8", "surrogateescape")
    return [
        Control(part) if tag else part.encode("utf-8", "surrogateescape")
        for tag, part in _parts(text, CONTROL_NAMES)
    ]


def _parts(text: str, names: Iterable[str]) -> Iterator[tuple[bool, str]]:
    for index, part in enumerate(control_pattern(names).split(text)):
        if part:
            yield index % 2 == 1, part
