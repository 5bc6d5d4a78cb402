"""The stream of a chat-completions answer, made into one AssistantMessage.

Reads what OpenAI-compatible servers really send (also a whole answer from a server that
does not stream). Reasoning comes as `reasoning_content`, as `reasoning`, or as `<think>` at
the very beginning of the content. Must not send anything or run anything.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from glmcode.core.messages import AssistantMessage, Stop, Usage
from glmcode.core.model import Emit, ModelError
from glmcode.engine.chat_calls import CallCollector
from glmcode.engine.chat_messages import split_think
from glmcode.engine.clock import Clock
from glmcode.engine.faults import Fault, Judge
from glmcode.engine.joined import Joined
from glmcode.engine.repetition import RepetitionDetector, Verbatim
from glmcode.engine.text import Mender
from glmcode.engine.usage import read_usage

_LENGTH = frozenset({"length", "max_tokens", "max_output_tokens", "model_length"})
_CALLS = frozenset({"tool_calls", "function_call", "tool_use"})
_BROKEN = frozenset({"error", "abort", "cancelled", "canceled"})
_OPEN, _CLOSE = "<think>", "</think>"


class ChatSink:
    """exchange.Sink for `chat`. make_id gives an id to the nth call (from 1) without one."""

    def __init__(
        self, emit: Emit, names: Collection[str], make_id: Callable[[int], str], judge: Judge
    ) -> None:
        self.complete = False
        self.enough = False
        self.broken_off = False
        self.streamed = False
        self.usage: dict[str, Any] = {}
        self.metrics: dict[str, Any] = {}
        self._shown = Joined(emit)
        self.flush = self._shown.flush
        self._make_id = make_id
        self._judge = judge
        self._calls = CallCollector(names)
        self._reasoning: list[str] = []
        self._field: str | None = None
        self._content = _Content()
        self._content_mender = Mender()
        self._reasoning_mender = Mender()
        self._finish = ""
        self._detector = RepetitionDetector()
        self._verbatim = Verbatim()

    def feed(self, value: dict[str, Any], clock: Clock) -> bool:
        """See exchange.Sink."""
        for name, store in (("usage", self.usage), ("metrics", self.metrics)):
            if isinstance(value.get(name), dict):
                store.update(value[name])
        brought = False
        choices = value.get("choices")
        for choice in choices if isinstance(choices, list) else []:
            if isinstance(choice, dict) and choice.get("index") in (0, None):
                brought = self._choice(choice) or brought
        return brought

    def _choice(self, choice: dict[str, Any]) -> bool:
        delta = choice.get("delta")
        if not isinstance(delta, dict) or not delta:
            delta = choice.get("message")
        brought = self._delta(delta) if isinstance(delta, dict) else False
        finish = choice.get("finish_reason")
        if isinstance(finish, str) and finish:
            self._finished(finish)
        return brought

    def _finished(self, finish: str) -> None:
        if finish in _BROKEN:
            raise self._judge.ended(f"finish reason {finish!r}")
        if finish == "content_filter":
            text = "the server's content filter stopped the answer: ask in another way"
            raise Fault(ModelError(text), cut=True)
        self._finish = finish
        self.complete = True
        self._show("reasoning", self._reasoning_mender.close())
        self._add_content(self._content_mender.close())
        self._show(*self._content.flush())

    def _delta(self, delta: dict[str, Any]) -> bool:
        only = delta.get("content") if len(delta) == 1 else None
        if isinstance(only, str) and only:  # what nearly all of a stream is
            self._add_content(self._content_mender.feed(only))
            return True
        brought = False
        for name in ("reasoning_content", "reasoning"):
            piece = delta.get(name)
            if isinstance(piece, str) and piece:
                self._field = self._field or name
                if name == self._field:
                    self._add_reasoning(self._reasoning_mender.feed(piece))
                    brought = True
        for piece in (*_content(delta.get("content")), delta.get("refusal")):
            if isinstance(piece, str) and piece:
                self._add_content(self._content_mender.feed(piece))
                brought = True
        entries = delta.get("tool_calls")
        if not isinstance(entries, list):
            legacy = delta.get("function_call")
            entries = [{"index": 0, "function": legacy}] if isinstance(legacy, dict) else []
        for call in self._calls.feed(entries):
            self._watch(call.text, patient=True)
            self.streamed = brought = True
            self._shown.take(call)
        return brought

    def _add_reasoning(self, text: str) -> None:
        self._reasoning.append(text)
        self._show("reasoning", text)

    def _add_content(self, text: str) -> None:
        for kind, shown in self._content.feed(text):
            self._show(kind, shown)

    def _show(self, kind: Any, text: str) -> None:
        if text:
            self._watch(text, patient=kind == "text" and self._verbatim.open)
            if kind == "text":
                self._verbatim.feed(text)
            self.streamed = True
            self._shown.add(kind, text)

    def _watch(self, text: str, *, patient: bool) -> None:
        if text and self._detector.feed((text,), patient=patient):
            self.enough = self.complete = True
            self._finish = "repetition"

    def partial(self) -> AssistantMessage | None:
        """See exchange.Sink: text and reasoning so far, and the calls before the open one."""
        message = self._message("broken", "interrupted", Usage())
        empty = not (message.text or message.reasoning or message.calls)
        return None if empty else message

    def message(self, clock: Clock) -> AssistantMessage:
        """The whole answer."""
        usage = read_usage(self.usage, self.metrics, clock)
        if self._finish in _LENGTH:
            return self._message("length", "length", usage)
        if self._finish == "repetition":
            return self._message("broken", "repetition", usage)
        stop: Stop = "calls" if len(self._calls) or self._finish in _CALLS else "end"
        return self._message("end", stop, usage)

    def _message(self, finish: Any, stop: Stop, usage: Usage) -> AssistantMessage:
        calls, rejected = self._calls.result(finish, self._make_id)
        reasoning, text, field = "".join(self._reasoning), self._content.text, self._field
        if not reasoning:
            reasoning, text, field = split_think(text)
        return AssistantMessage(
            reasoning=reasoning,
            text=text,
            calls=calls,
            rejected=rejected,
            stop=stop,
            usage=usage,
            reasoning_field=field,
        )


class _Content:
    """Content as it grows; tells a leading `<think>` block from the text after it."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._state = "start"
        self._held = ""

    @property
    def text(self) -> str:
        """All content, tags included."""
        return "".join(self._pieces)

    def feed(self, piece: str) -> list[tuple[str, str]]:
        """(kind, text) to show."""
        self._pieces.append(piece)
        if self._state == "text":
            return [("text", piece)]
        held, self._held = self._held + piece, ""
        if self._state == "start":
            return self._start(held)
        if self._state == "gap":
            return self._gap(held)
        return self._thinking(held)

    def flush(self) -> tuple[str, str]:
        """What was held back in case it were part of a tag."""
        held, self._held = self._held, ""
        return "reasoning" if self._state == "think" else "text", held

    def _start(self, held: str) -> list[tuple[str, str]]:
        begin = held.lstrip()
        if begin.startswith(_OPEN):
            self._state = "think"
            return self._thinking(begin[len(_OPEN) :])
        if _OPEN.startswith(begin):
            self._held = held
            return []
        self._state = "text"
        return [("text", held)]

    def _thinking(self, held: str) -> list[tuple[str, str]]:
        before, tag, after = held.partition(_CLOSE)
        if tag:
            self._state = "gap"
            return [("reasoning", before), *self._gap(after)]
        keep = next((n for n in range(len(_CLOSE) - 1, 0, -1) if held.endswith(_CLOSE[:n])), 0)
        self._held = held[len(held) - keep :]
        return [("reasoning", held[: len(held) - keep])]

    def _gap(self, held: str) -> list[tuple[str, str]]:
        if not (text := held.lstrip()):
            return []
        self._state = "text"
        return [("text", text)]


def _content(value: Any) -> list[Any]:
    """The text pieces of a content: a string, or a list of parts."""
    if isinstance(value, list):
        return [part.get("text") if isinstance(part, dict) else part for part in value]
    return [value]
