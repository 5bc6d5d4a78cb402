"""Pieces to an answer, while they stream: reasoning, text, calls and rejected calls.

One pass, no rescans: the answer's bytes are collected once, the parser only notes offsets
and moves between places; what each call is worth is decided when the answer has ended
(glm/calls.py), so everything shown before is provisional. Only controls are structure: a
tag that the model spelled with ordinary tokens is data. Feeding never raises, whatever
the pieces. Must not run, validate or repair calls.

Rules that are not obvious:
- The first `</think>` ends the reasoning. Calls count after it, or as the very last thing
  of reasoning that was never closed, if the model itself stopped there.
- `</arg_value>` closes a value only when white space and then `<arg_key>` or `</tool_call>`
  follow. If closing tags are left over behind a call, nobody knows where values ended: the
  call whose value holds an unclosed `<arg_value>` is rejected, or, where none shows such a
  sign, every call that has a value.
- The first stop control ends the answer. Nothing after it counts, but a closing tag there
  makes calls ambiguous like any that is left over.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias

from glmcode.core.events import Delta
from glmcode.glm.calls import MAX_NAME, Ending, FinishReason, may_be_name, span_name
from glmcode.glm.pieces import STOP_NAMES, Control, ReplyPiece
from glmcode.glm.reply import Answer, ParsedReply, read_reply
from glmcode.glm.shown import Display, Kind
from glmcode.glm.spans import CallList, CallSpan, JsonStrings

__all__ = ["ParsedReply", "ReplyParser"]

_Place: TypeAlias = Literal[
    "plain", "name", "json", "key", "key_end", "value", "value_end", "args_end"
]
"""Where the parser stands. plain: reasoning or text; all others are within a call. json: a
call in JSON notation; value_end: an `</arg_value>` was seen, what follows decides; key_end
and args_end: between the tags of arguments."""

_EXPECTED = {
    ("name", "<arg_key>"),
    ("name", "</tool_call>"),
    ("json", "</tool_call>"),
    ("key", "</arg_key>"),
    ("key_end", "<arg_value>"),
    ("value_end", "<arg_key>"),
    ("value_end", "</tool_call>"),
}
_INDENT = 64
_CLOSING = ("</arg_value>", "</arg_key>", "</tool_call>")
_CALL_TAGS = ("<tool_call>", "<arg_key>", "<arg_value>", *_CLOSING)


class ReplyParser:
    """Reads one answer. Feed its pieces in order, then call `finish` once."""

    def __init__(
        self, schemas: Mapping[str, Mapping[str, Any]], make_id: Callable[[int], str]
    ) -> None:
        """schemas: tool name -> JSON Schema of its parameters.

        make_id gives the id of the n-th call, from 0, accepted and rejected alike.
        """
        self._schemas = schemas
        self._make_id = make_id
        self._answer = bytearray()
        self._place: _Place = "plain"
        self._stop: str | None = None
        self._thinking = False
        self._thought = False
        self._reasoning: list[tuple[int, int]] = []
        self._begin = 0
        self._blank = True
        self._line_blank = True
        self._quoted_think: int | None = None
        self._calls = CallList()
        self._span = CallSpan(0, 0, False)
        self._is_mention = False
        self._mark = 0
        self._key = (0, 0)
        self._value_end = 0
        self._depth = self._quoted_calls = 0
        self._quoting = False
        self._last_tag = ""
        self._last_tag_end = 0
        self._strings = JsonStrings()
        self._display = Display()

    @property
    def in_call(self) -> bool:
        """Whether a call is open that would be truncated if the answer were cut here."""
        return self.has_open_call and not self._thinking

    @property
    def has_open_call(self) -> bool:
        """Whether a call is open, in reasoning too, that is more than a mention of its tag."""
        return self._place != "plain" and not self._is_mention

    @property
    def call_count(self) -> int:
        """How many calls have begun and still count."""
        return len(self._calls.spans)

    @property
    def in_reasoning(self) -> bool:
        """Whether reasoning was opened and not closed."""
        return self._thinking

    @property
    def ended(self) -> bool:
        """Whether a stop control was fed: nothing that follows counts."""
        return self._stop is not None

    def feed(self, piece: ReplyPiece) -> list[Delta]:
        """Take the next piece; returns what can be shown of it, provisionally."""
        if self._stop is not None:
            self._after_stop(piece)
            return []
        if not piece:
            return []
        if isinstance(piece, Control):
            return self._take_control(piece.name)
        self._answer += piece
        if self._thinking:
            self._take_bytes(piece)
            return self._display.show("reasoning", piece)
        return self._take_bytes(piece)

    def _after_stop(self, piece: ReplyPiece) -> None:
        """A closing tag after the end: the stop may have stood within a value."""
        closing = isinstance(piece, Control) and piece.name in _CLOSING
        if closing and self._place == "plain" and self._calls.real:
            self._calls.left_over(len(self._answer))

    # Bytes

    def _take_bytes(self, data: bytes) -> list[Delta]:
        match self._place:
            case "plain":
                if data.isspace():
                    self._line_blank = self._line_blank or b"\n" in data
                else:
                    self._blank = False
                    newline = data.rfind(b"\n")
                    self._line_blank = newline >= 0 and not data[newline + 1 :].strip()
                return self._show("text", data)
            case "value":
                return self._show("call", data)
            case "value_end" if not data.isspace():
                return self._value_goes_on(len(self._answer))
            case "name":
                return self._name_grows(data)
            case "json":
                self._strings.scan(data)
                return self._show("call", data)
            case "key_end" | "args_end" if not data.isspace():
                self._span.fault = True
        return []

    def _name_grows(self, data: bytes) -> list[Delta]:
        if self._is_mention:
            return self._show("text", data)
        start = self._span.name_start
        head = bytes(self._answer[start : start + MAX_NAME + 1])
        if head.lstrip().startswith(b"{"):
            self._place = "json"
            self._strings = JsonStrings()
            whole = bytes(self._answer[start:])
            self._strings.scan(whole)
            return self._show("call", whole)
        if may_be_name(head):
            return []
        self._is_mention = True
        return self._show("text", bytes(self._answer[self._span.start :]))

    def _value_goes_on(self, until: int) -> list[Delta]:
        """The `</arg_value>` that was seen is data, and what came after it up to `until`."""
        self._place = "value"
        self._depth = max(0, self._depth - 1)
        return self._show("call", bytes(self._answer[self._value_end : until]))

    def _show(self, kind: Kind, data: bytes) -> list[Delta]:
        """What to show of text and calls; in reasoning, `feed` shows everything as such."""
        return [] if self._thinking else self._display.show(kind, data)

    # Controls

    def _take_control(self, name: str) -> list[Delta]:
        deltas = self._display.flush()
        if name in STOP_NAMES:
            self._stop = name
            return deltas
        start = len(self._answer)
        tag = name.encode()
        self._answer += tag
        if not self._thinking:
            return deltas + self._step(name, start, tag)
        if name == "</think>":
            self._close_reasoning(start)
            return deltas
        self._step(name, start, tag)
        return deltas + self._display.show("reasoning", tag)

    def _step(self, name: str, start: int, tag: bytes) -> list[Delta]:
        place = self._place
        if place == "plain":
            return self._in_plain(name, start, tag)
        if place == "value" or (place == "value_end" and (place, name) not in _EXPECTED):
            deltas = self._value_goes_on(start) if place == "value_end" else []
            return deltas + self._in_value(name, start, tag)
        if place == "json" and self._strings.inside:
            self._strings.scan(tag)
            return self._show("call", tag)
        return self._between_tags(name, start, tag)

    def _in_plain(self, name: str, start: int, tag: bytes) -> list[Delta]:
        if name == "<tool_call>":
            self._open(start, inline=not self._line_blank)
            return []
        if name in _CLOSING and self._calls.real:
            self._calls.left_over(len(self._answer))
            self._line_blank = True
            return []
        if name in ("<think>", "</think>") and not self._thinking and self._think(name, start):
            return []
        self._blank = self._line_blank = False
        return self._show("text", tag)

    def _in_value(self, name: str, start: int, tag: bytes) -> list[Delta]:
        if name == "</arg_value>":
            self._value_end = start
            self._place = "value_end"
            return []
        if name == "<arg_value>":
            self._depth += 1
            self._quoting = self._quoting or self._last_tag != "</arg_key>"
        elif name == "<tool_call>":
            self._quoting = self._quoting or self._last_tag != "</tool_call>"
            self._quoted_calls += self._begins_line(start)
        elif name == "</tool_call>":
            self._quoted_calls = max(0, self._quoted_calls - 1)
        self._last_tag = name
        self._last_tag_end = start + len(tag)
        return self._show("call", tag)

    def _begins_line(self, start: int) -> bool:
        """Whether only white space (a few bytes of it) stands before an offset of a value."""
        before = bytes(self._answer[max(self._mark, start - _INDENT) : start])
        line = before.rpartition(b"\n")
        return not line[2].strip() and (bool(line[1]) or start - self._mark < _INDENT)

    def _value_closed(self) -> None:
        """Note the argument, and whether its value looks like one that was cut short."""
        span = self._span
        span.arguments.append((*self._key, self._mark, self._value_end))
        nested = max(self._depth, self._quoted_calls)
        if not nested and self._last_tag == "<tool_call>":
            rest = self._answer[self._last_tag_end : self._value_end][: MAX_NAME + 1]
            nested = int(rest.decode(errors="replace").strip() in self._schemas)
        span.nested += nested
        span.quoting = span.quoting or (self._quoting and nested > 0)

    def _between_tags(self, name: str, start: int, tag: bytes) -> list[Delta]:
        """Tags of a call outside its values; what is not expected is a fault, and goes on."""
        span, place = self._span, self._place
        if (place, name) not in _EXPECTED:
            span.fault = True
        if name not in _CALL_TAGS:
            return self._show("text", tag) if self._is_mention else []
        if span.name_end < 0:
            span.name_end = start
            self._label(span_name(span, self._answer), "")
        if place == "value_end":
            self._value_closed()
        if name == "<tool_call>":
            span.fault = True
            self._close(start)
            line = bytes(self._answer[span.name_start : start]).rpartition(b"\n")
            self._open(start, inline=not line[1] or bool(line[2].strip()))
            return []
        if name != "</tool_call>":
            return self._argument_tag(name, start)
        self._close(len(self._answer))
        return [] if span.tags or self._thinking else self._display.call_begins()

    def _argument_tag(self, name: str, start: int) -> list[Delta]:
        first = not self._span.tags
        self._span.tags = True
        self._is_mention = False
        if name == "<arg_key>":
            self._place = "key"
            self._mark = len(self._answer)
        elif name == "</arg_key>":
            self._key = (self._mark, start) if self._place == "key" else (start, start)
            key = self._answer[self._key[0] : self._key[1]].decode(errors="replace")
            self._label(self._display.call[1], key.strip())
            self._place = "key_end"
        elif name == "<arg_value>":
            self._place = "value"
            self._mark = len(self._answer)
            self._depth = self._quoted_calls = 0
            self._quoting = False
            self._last_tag = ""
        else:
            self._place = "args_end"
        return self._display.call_begins() if first and not self._thinking else []

    def _open(self, start: int, inline: bool) -> None:
        self._span = CallSpan(start, len(self._answer), inline)
        self._calls.spans.append(self._span)
        self._place = "name"
        self._is_mention = False
        self._label("", "")

    def _close(self, end: int) -> None:
        span, name = self._span, self._display.call[1]
        span.end = end
        within_line = span.inline and not span.tags and name not in self._schemas
        self._calls.closed(mention=self._place != "json" and (not name or within_line))
        self._place = "plain"
        self._is_mention = False
        self._blank = False
        self._line_blank = True

    def _label(self, name: str, argument: str) -> None:
        self._display.call = (len(self._calls.spans) - 1, name, argument)

    # Reasoning

    def _think(self, name: str, start: int) -> bool:
        """A think tag in the text. False: it is text itself."""
        if name == "<think>":
            if self._blank:
                self._thinking = self._thought = True
                self._begin = len(self._answer)
                self._display.begin()
            elif self._quoted_think is None:
                self._quoted_think = start
            return self._thinking
        if self._quoted_think is not None:
            self._calls.forget_from(self._quoted_think)
            self._quoted_think = None
            return False
        if not self._thought:
            self._close_reasoning(start)
            return True
        if self._calls.real:
            self._calls.reject_from(self._calls.real[0], len(self._answer))
            self._line_blank = True
            return True
        if self._blank:
            self._begin = len(self._answer)
        return self._blank

    def _close_reasoning(self, end: int) -> None:
        self._reasoning.append((self._begin, end))
        self._calls.forget_from(0)
        self._thinking = False
        self._thought = True
        self._place = "plain"
        self._is_mention = False
        self._begin = len(self._answer)
        self._blank = self._line_blank = True
        self._display.begin()

    def finish(self, reason: FinishReason, stop_control: str | None = None) -> ParsedReply:
        """What the answer says. stop_control: the stop that the engine named, not fed here."""
        stop = self._stop or stop_control
        whole = Answer(
            data=bytes(self._answer),
            reasoning=tuple(self._reasoning),
            begin=self._begin,
            thinking=self._thinking,
            spans=tuple(self._calls.spans),
        )
        ending = Ending(reason=reason, observed=stop == "<|observation|>")
        return read_reply(whole, ending, self._schemas, self._make_id, stop)
