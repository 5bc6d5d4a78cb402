"""An interrupted answer, cut where it can stand in the conversation for good.

Text that was written stays; half a character, a tool call that was not closed and all
after it go; reasoning that was open is closed. What is kept is a prefix of the generated
ids (and perhaps `</think>`), so the engine has it in its cache. Must not change kept ids.
"""

from __future__ import annotations

from collections.abc import Sequence

from glmcode.glm.decoder import Utf8Stream
from glmcode.glm.parser import ReplyParser
from glmcode.glm.pieces import Control
from glmcode.glm.tokenizer import GlmTokenizer


def cut_interrupted(tokenizer: GlmTokenizer, ids: Sequence[int]) -> list[int]:
    """The ids of an interrupted answer that are kept. ids: from after `<|assistant|>` on."""
    parser = ReplyParser({}, str)
    call_at = 0
    kept = len(ids)
    for index, number in enumerate(ids):
        open_before, before = parser.has_open_call, parser.call_count
        for piece in tokenizer.pieces([number]):
            parser.feed(piece)
        if parser.ended:
            kept = index
            break
        if parser.call_count > before and not open_before:
            call_at = index
    if parser.has_open_call:
        kept = call_at
    kept = _whole_characters(tokenizer, ids, kept)
    closing = tokenizer.encode([Control("</think>")]) if parser.in_reasoning else []
    return [*ids[:kept], *closing]


def _whole_characters(tokenizer: GlmTokenizer, ids: Sequence[int], kept: int) -> int:
    """The longest prefix of ids[:kept] that does not end within a character."""
    start = kept
    while start > 0 and kept - start < 8 and tokenizer.control_name(ids[start - 1]) is None:
        start -= 1
    stream = Utf8Stream()
    whole = start
    for index in range(start, kept):
        stream.feed(tokenizer.token_bytes(ids[index]))
        if not stream.waiting:
            whole = index + 1
    return whole
