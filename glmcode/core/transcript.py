"""The transcript: an append-only list of messages under a frozen preamble.

A compaction begins a new segment: other messages under the same preamble, in the same object,
because a running turn holds it. `segment` counts them, so that whoever renders notices. A rewind
goes back to the first messages of a segment; `cuts` holds how many stayed, each time.

The pairing rule is enforced when a message is written, never repaired afterwards: while
an assistant message has unanswered calls, only their tool messages are accepted, so every
prefix that is ever sent is well formed. Must not render, count or store anything itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from glmcode.core.messages import AssistantMessage, Message, ToolMessage, UserMessage
from glmcode.core.tool import ToolSpec


class TranscriptError(Exception):
    """A message may not be appended here: a fault of ours, never of the model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preamble:
    """The fixed head of every prompt of a session: tool specs, then one system message."""

    specs: tuple[ToolSpec, ...]
    system: str


_NUMBERED = re.compile(r"call_(\d+)_")


def _number(call_id: str) -> int:
    """The reply's number in an id that we made, else 0."""
    match = _NUMBERED.match(call_id)
    return int(match[1]) if match else 0


class Transcript:
    """Append-only messages; `record` is called with each message before it counts.

    record writes the journal line and may raise: then the message is not appended.
    thinking: whether the model may think about what is said from now on.
    replies: how many assistant messages there ever were; it only grows, and is never below a
    number that stands in a call's id, so that new ids made from it are new.
    """

    def __init__(
        self,
        preamble: Preamble,
        record: Callable[[Message], None] = lambda message: None,
        messages: tuple[Message, ...] = (),
    ) -> None:
        self.preamble = preamble
        self._record = record
        self._messages: list[Message] = []
        self._open: list[str] = []
        self._owed: list[Message] = []
        self.thinking = True
        self.replies = 0
        self.segment = 0
        self.cuts: list[int] = []
        for message in messages:
            self._accept(message)

    def __len__(self) -> int:
        return len(self._messages)

    @property
    def messages(self) -> tuple[Message, ...]:
        """All messages so far; a copy."""
        return tuple(self._messages)

    def since(self, position: int) -> list[Message]:
        """The messages from index `position` on."""
        return self._messages[position:]

    @property
    def open_calls(self) -> tuple[str, ...]:
        """Ids of calls that still need an answer, in order."""
        return tuple(self._open)

    def append(self, message: Message) -> None:
        """Record and append. Raises TranscriptError, or whatever `record` raises."""
        self._check(message)
        self._pay()
        self._record(message)
        self._accept(message)

    def append_unrecorded(self, message: Message) -> None:
        """Append although the journal failed: keeps the pairing rule while a turn dies.

        It is recorded before the next message that can be.
        """
        self._check(message)
        self._accept(message)
        self._owed.append(message)

    def restart(self, messages: Sequence[Message], record: Callable[[], None]) -> None:
        """Replace all messages by a new segment; `record` is called before it counts.

        Raises TranscriptError when calls are open, here or at the segment's end, and whatever
        `record` raises: then nothing has changed.
        """
        fresh = Transcript(self.preamble, messages=tuple(messages))
        if self._open or fresh.open_calls:
            raise TranscriptError(f"unanswered calls: {', '.join(self._open or fresh._open)}")
        record()
        self._messages = fresh._messages
        self._owed.clear()
        self.segment += 1

    def rewind(self, keep: int, record: Callable[[], None]) -> None:
        """Back to the first `keep` messages; `record` is called before it counts.

        Raises TranscriptError when calls are open, here or there, and whatever `record` raises.
        """
        if not 0 <= keep <= len(self._messages):
            raise TranscriptError(f"a rewind to {keep} of {len(self._messages)} messages")
        fresh = Transcript(self.preamble, messages=tuple(self._messages[:keep]))
        if self._open or fresh.open_calls:
            raise TranscriptError(f"unanswered calls: {', '.join(self._open or fresh._open)}")
        self._pay()
        record()
        self.cuts.append(keep)
        self._messages = fresh._messages

    def _pay(self) -> None:
        while self._owed:
            self._record(self._owed[0])
            del self._owed[0]

    def _check(self, message: Message) -> None:
        match message:
            case ToolMessage():
                if not self._open or message.call_id != self._open[0]:
                    raise TranscriptError(f"no open call {message.call_id!r} to answer now")
            case UserMessage() | AssistantMessage():
                if self._open:
                    raise TranscriptError(f"unanswered calls: {', '.join(self._open)}")
                if isinstance(message, AssistantMessage):
                    ids = message.call_ids()
                    if len(set(ids)) != len(ids):
                        raise TranscriptError(f"call ids repeat: {ids}")

    def _accept(self, message: Message) -> None:
        self._check(message)
        match message:
            case ToolMessage():
                self._open.pop(0)
            case AssistantMessage():
                self._open = list(message.call_ids())
                self.replies = max([self.replies + 1, *map(_number, self._open)])
            case UserMessage():
                pass
        self._messages.append(message)
