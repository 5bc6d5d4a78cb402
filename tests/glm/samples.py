"""What the tests of the dialect share: the golden cases, short ways to parse, strategies."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from glmcode.glm.parser import ParsedReply, ReplyParser
from glmcode.glm.pieces import CONTROL_NAMES, Control, ReplyPiece, raw_pieces

GOLDEN = Path(__file__).parent.parent / "golden"


def golden_render() -> list[dict[str, Any]]:
    return [json.loads(line) for line in (GOLDEN / "render.jsonl").read_text().splitlines()]


def golden_parse() -> list[dict[str, Any]]:
    return [json.loads(line) for line in (GOLDEN / "parse.jsonl").read_text().splitlines()[1:]]


def golden_schemas() -> dict[str, Any]:
    first = json.loads((GOLDEN / "parse.jsonl").read_text().splitlines()[0])
    return {t["function"]["name"]: t["function"]["parameters"] for t in first["tools"]}


SCHEMAS = golden_schemas()


def parse_pieces(pieces: Iterable[ReplyPiece], finish: Any = "stop") -> ParsedReply:
    parser = ReplyParser(SCHEMAS, lambda index: f"call_{index}")
    for piece in pieces:
        parser.feed(piece)
    return parser.finish(finish)


def parse(raw: str | bytes, finish: Any = "stop") -> ParsedReply:
    return parse_pieces(raw_pieces(raw.encode() if isinstance(raw, str) else raw), finish)


def as_golden(reply: ParsedReply) -> dict[str, Any]:
    return {
        "reasoning": reply.reasoning,
        "content": reply.text,
        "calls": [{"name": c.name, "arguments": c.arguments} for c in reply.calls],
        "rejected": [r.reason for r in reply.rejected],
    }


def cut_bytes(pieces: Iterable[ReplyPiece], sizes: Sequence[int]) -> list[ReplyPiece]:
    """The same stream with its bytes cut into pieces of these sizes, over and over."""
    cut: list[ReplyPiece] = []
    turn = 0
    for piece in pieces:
        if isinstance(piece, Control):
            cut.append(piece)
            continue
        at = 0
        while at < len(piece):
            size = sizes[turn % len(sizes)]
            turn += 1
            cut.append(piece[at : at + size])
            at += size
    return cut


TAGS = st.sampled_from([Control(name) for name in CONTROL_NAMES])
CALL_TAGS = st.sampled_from(
    [
        Control(name)
        for name in (
            "<tool_call>",
            "</tool_call>",
            "<arg_key>",
            "</arg_key>",
            "<arg_value>",
            "</arg_value>",
        )
    ]
)
WORDS = st.sampled_from(
    [
        *(b"Read", b"Now", b"file_path", b"look at it", b'{"name": "Now"}', b"[1,", b"3"),
        *(b"\n", b" ", b"\r\n", b"{", b'"', b"\\", b"\xff", "é".encode(), b"\xc3"),
    ]
)
SOUP = st.lists(st.one_of(CALL_TAGS, TAGS, WORDS, st.binary(max_size=6)), max_size=40)
"""Any sequence of pieces; hypothesis shortens it to what matters."""


def call(name: str, **arguments: str) -> str:
    inner = "".join(
        f"<arg_key>{key}</arg_key>\n<arg_value>{value}</arg_value>\n"
        for key, value in arguments.items()
    )
    return f"<tool_call>{name}\n{inner}</tool_call>"


THOUGHT = "\n<think>t</think>\n"
CALLED = "<|observation|>"
DONE = "<|user|>"
