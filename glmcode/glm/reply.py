"""An answer that has ended, read as a whole: reasoning, text, calls and rejections.

The parser has noted where things stand; this takes them out. Must not look at how the
answer came in, and never runs, validates or repairs a call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from glmcode.core.messages import RejectedCall, ToolCall
from glmcode.glm.calls import Ending, Malformed, is_prose, read_call, rejection, span_name
from glmcode.glm.spans import CallSpan


@dataclass(frozen=True, slots=True)
class ParsedReply:
    """What an answer says. stop: the control that ended it, None if it is not known."""

    reasoning: str
    text: str
    calls: tuple[ToolCall, ...]
    rejected: tuple[RejectedCall, ...]
    stop: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The bytes of an answer and where things stand in them, as offsets.

    reasoning: closed think blocks. begin: where the text begins, or, when thinking, the
    reasoning that was never closed. spans: calls in order; only the last may be open.
    """

    data: bytes
    reasoning: tuple[tuple[int, int], ...]
    begin: int
    thinking: bool
    spans: tuple[CallSpan, ...]


def read_reply(
    answer: Answer,
    ending: Ending,
    schemas: Mapping[str, Mapping[str, Any]],
    make_id: Callable[[int], str],
    stop: str | None = None,
) -> ParsedReply:
    """Take an answer apart. make_id: the id of the n-th call, accepted and rejected alike."""
    data = answer.data
    spans = [s for s in answer.spans if not is_prose(s, data, schemas, ending)]
    if ending.observed and not spans:
        spans = list(answer.spans)
    thoughts = list(answer.reasoning)
    text = ""
    if answer.thinking:
        spans, cut = _trailing(spans, data) if ending.reason == "stop" else ([], len(data))
        thoughts.append((answer.begin, cut))
    else:
        text = _outside(spans, data, answer.begin)
    reasoning = [data[s:e].decode(errors="replace").strip() for s, e in thoughts]
    calls: list[ToolCall] = []
    rejected: list[RejectedCall] = []
    for index, span in enumerate(spans):
        call_id = make_id(index)
        why = rejection(span, ending)
        if why is None:
            try:
                name, arguments = read_call(span, data, schemas)
            except Malformed:
                why = "malformed"
            else:
                calls.append(ToolCall(id=call_id, name=name, arguments=arguments))
                continue
        raw = data[span.start : _end(span, data)].decode(errors="replace")
        name, before = span_name(span, data), len(calls)
        rejected.append(RejectedCall(id=call_id, reason=why, raw=raw, name=name, before=before))
    joined = "\n".join(part for part in reasoning if part)
    return ParsedReply(joined, text, tuple(calls), tuple(rejected), stop)


def _end(span: CallSpan, data: bytes) -> int:
    return span.end if span.end >= 0 else len(data)


def _trailing(spans: Sequence[CallSpan], data: bytes) -> tuple[list[CallSpan], int]:
    """The calls at the very end of an answer, and the offset where they begin."""
    kept: list[CallSpan] = []
    cut = len(data)
    for span in reversed(spans):
        if data[_end(span, data) : cut].strip():
            break
        kept.append(span)
        cut = span.start
    return kept[::-1], cut


def _outside(spans: Sequence[CallSpan], data: bytes, begin: int) -> str:
    """The text of an answer without its calls."""
    parts: list[bytes] = []
    for span in spans:
        parts.append(data[begin : span.start])
        begin = _end(span, data)
    parts.append(data[begin:])
    return b"".join(parts).decode(errors="replace").strip()
