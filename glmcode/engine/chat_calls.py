"""Tool calls as chat-completions servers stream them, put together.

Servers differ: arguments in pieces or whole, as a string or an object; with an index, with
the same index for all, or with none; the name once, repeated, or in pieces; ids missing or
repeated. A call whose arguments are not one JSON object is rejected, never repaired.
Must not know the rest of the message.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from glmcode.core.events import Delta
from glmcode.core.messages import RejectedCall, ToolCall
from glmcode.engine.text import Mender, joined
from glmcode.glm.values import read_json


class NotAnObject(Exception):
    """The arguments of a call are not one JSON object."""


@dataclass(slots=True, eq=False)
class _Slot:
    index: int | None
    id: str = ""
    name: str = ""
    pieces: list[str] = field(default_factory=list)
    whole: Mapping[str, Any] | None = None
    shown: Mender = field(default_factory=Mender)

    @property
    def text(self) -> str:
        if self.whole is not None:
            return json.dumps(self.whole, ensure_ascii=False)
        return "".join(self.pieces)


class CallCollector:
    """Collects the calls of one message. names: the tools that the request offered."""

    def __init__(self, names: Collection[str]) -> None:
        self._names = names
        self._slots: list[_Slot] = []

    def __len__(self) -> int:
        return len(self._slots)

    def feed(self, entries: Iterable[Any]) -> list[Delta]:
        """Take a chunk's `tool_calls`; what of it can be shown."""
        return [self._take(entry) for entry in entries if isinstance(entry, dict)]

    def _take(self, entry: dict[str, Any]) -> Delta:
        function = entry.get("function")
        if not isinstance(function, dict):
            function = entry
        call_id, name = _text(entry.get("id")), _text(function.get("name"))
        arguments = function.get("arguments")
        slot = self._slot(entry.get("index"), call_id, name if arguments else "")
        slot.id = slot.id or call_id
        if name:
            slot.name = self._grown(slot.name, name)
        shown = ""
        if isinstance(arguments, dict):
            slot.whole = arguments
            shown = slot.text
        elif isinstance(arguments, str):
            slot.pieces.append(arguments)
            shown = slot.shown.feed(arguments)
        return Delta(kind="call", text=shown, call_index=self._slots.index(slot), name=slot.name)

    def _slot(self, index: Any, call_id: str, name: str) -> _Slot:
        number = index if isinstance(index, int) else None
        for slot in reversed(self._slots):
            if number is not None and slot.index != number:
                continue
            if number is None and call_id and slot.id != call_id:
                continue
            if not self._begins(slot, call_id, name):
                return slot
            break
        self._slots.append(_Slot(index=number))
        return self._slots[-1]

    def _begins(self, slot: _Slot, call_id: str, name: str) -> bool:
        """Whether this entry is another call than the slot's, whatever its index says."""
        if call_id and slot.id and call_id != slot.id:
            return True
        return bool(name) and (slot.whole is not None or _is_object(slot.text))

    def _grown(self, known: str, piece: str) -> str:
        if known == piece and not any(name.startswith(known + piece) for name in self._names):
            return known
        return known + piece

    def result(
        self, finish: Literal["end", "length", "broken"], make_id: Callable[[int], str]
    ) -> tuple[tuple[ToolCall, ...], tuple[RejectedCall, ...]]:
        """Accepted and rejected calls; every id is given once.

        finish "length": the last call is cut. "broken": the stream broke off, and the last
        call counts as never made. make_id: an id for the nth call (from 1) that lacks one.
        """
        calls: list[ToolCall] = []
        rejected: list[RejectedCall] = []
        used: set[str] = set()
        slots = self._slots[:-1] if finish == "broken" else self._slots
        for number, slot in enumerate(slots, start=1):
            call_id = _unused(slot.id, used, make_id(number))
            used.add(call_id)
            cut = finish == "length" and slot is self._slots[-1]
            try:
                arguments = {} if cut else read_arguments(slot)
            except NotAnObject:
                arguments = None
            if arguments is not None and slot.name and not cut:
                calls.append(ToolCall(id=call_id, name=slot.name, arguments=arguments))
                continue
            rejected.append(
                RejectedCall(
                    id=call_id,
                    reason="truncated" if cut else "malformed",
                    raw=_printable(f"{slot.name} {slot.text}"),
                    name=slot.name,
                    before=len(calls),
                )
            )
        return tuple(calls), tuple(rejected)


def read_arguments(slot: _Slot) -> dict[str, Any]:
    """The arguments as an object; nothing at all counts as none. Raises NotAnObject.

    What could mean two things (a key that stands twice) or cannot be written again is none.
    """
    text = joined(slot.text)
    if not text.strip():
        return {}
    value = read_json(text, unique_keys=True)
    if not isinstance(value, dict):
        raise NotAnObject("not one JSON object that can be written again")
    return value


def _text(value: Any) -> str:
    return str(value) if isinstance(value, str | int) else ""


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def _unused(call_id: str, used: set[str], other: str) -> str:
    if not call_id or call_id in used:
        call_id = other
    while call_id in used:
        call_id += "x"
    return call_id


def _printable(text: str) -> str:
    mender = Mender()
    return mender.feed(text) + mender.close()
