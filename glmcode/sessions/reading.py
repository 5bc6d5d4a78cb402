"""Reading a session: the current conversation as a pure fold over the entries of its file.

Kinds: header (first), message, intent, grant, ledger, note, compaction (its messages replace
all before it) and rewind (the first `keep` messages stay). Unknown kinds are ignored. One line
at a time is in memory, and of a conversation that was compacted only what is current. Beside
a message its line may carry `typed` (what the person typed, where more was sent), `state`
(what changed in the tools' state with it) and `closed` (it was written when the session was
opened again, in the place of a result that a crash swallowed). Must not touch anything else
than the file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from glmcode.core.messages import (
    AssistantMessage,
    Message,
    MessageError,
    RejectedCall,
    ToolCall,
    ToolMessage,
    UserMessage,
    message_from_json,
)
from glmcode.sessions import shapes
from glmcode.sessions.lines import Line, SessionError, damaged, read_lines

LOST = "no result: it was not recorded. Look at what is there before you go on"


@dataclass(frozen=True, slots=True)
class Writer:
    """Which model wrote: two writers are the same only if model and tokenizer are.

    tokenizer: sha256 hex of its file in `tokens`, "" in `chat`.
    """

    model: str = ""
    protocol: str = ""
    tokenizer: str = ""


@dataclass(frozen=True, slots=True)
class Intent:
    """What a call was about to do. changes: (path, hash before or None, hash after)."""

    tool: str
    subject: str
    changes: tuple[tuple[str, str | None, str], ...]


@dataclass(slots=True)
class Conversation:
    """What a session file holds now.

    writers: for each message the index of its writer in `known_writers`. typed: message index
    -> what the person typed. open_calls: those of the last step without a result, in order.
    seen: path -> sha256 hex of the content the model knows. compaction: the last one's line,
    without its messages. end: bytes of whole lines; head: bytes of the header's line. ledger: the
    last line about a request whose prompt the next one begins with, None after a compaction or a
    rewind.
    """

    path: Path
    header: Mapping[str, Any]
    head: int
    messages: list[Message] = field(default_factory=list)
    writers: list[int] = field(default_factory=list)
    known_writers: list[Writer] = field(default_factory=list)
    typed: dict[int, str] = field(default_factory=dict)
    open_calls: list[ToolCall | RejectedCall] = field(default_factory=list)
    intents: dict[str, Intent] = field(default_factory=dict)
    grants: list[str] = field(default_factory=list)
    seen: dict[str, str] = field(default_factory=dict)
    cwd: str | None = None
    todos: list[dict[str, str]] = field(default_factory=list)
    compaction: Mapping[str, Any] = field(default_factory=dict)
    ledger: Mapping[str, Any] | None = None
    end: int = 0

    @property
    def session_id(self) -> str:
        """The id that the header holds."""
        return str(self.header["id"])

    def messages_for(self, writer: Writer) -> tuple[tuple[Message, ...], int]:
        """The messages for this writer, and how many lost token ids that another one made."""
        mine = [known == writer for known in self.known_writers]
        found: list[Message] = []
        dropped = 0
        for message, index in zip(self.messages, self.writers, strict=True):
            if isinstance(message, AssistantMessage) and message.token_ids and not mine[index]:
                message = replace(message, token_ids=None)
                dropped += 1
            found.append(message)
        return tuple(found), dropped


def fold(path: Path) -> Conversation:
    """The conversation of a session file. Raises SessionError."""
    folding: _Fold | None = None
    for line in read_lines(path):
        try:
            if folding is None:
                folding = _Fold(path, line)
            else:
                folding.take(line.entry)
        except (MessageError, LookupError, TypeError, ValueError, AttributeError) as error:
            why = f"{type(error).__name__}: {error}"
            raise damaged(path, line.number, why) from error
        folding.told.end = line.end
    if folding is None:
        raise SessionError(f"the session {path} is empty: nothing was recorded in it")
    return folding.told


def fold_messages(path: Path) -> tuple[Message, ...]:
    """The messages that a session file holds now. Raises SessionError."""
    return tuple(fold(path).messages)


def read_checked(path: Path) -> Iterator[dict[str, Any]]:
    """All entries of a session file, for whoever tells of them; its messages are whole.

    Raises SessionError, after the entries that stand before the damage.
    """
    for line in read_lines(path):
        if line.entry.get("t") == "message":
            try:
                message_from_json(line.entry["message"])
            except (MessageError, LookupError, TypeError) as error:
                raise damaged(path, line.number, str(error)) from error
        yield line.entry


class _Fold:
    """The fold's state while it runs. Methods raise ValueError and its like on damage."""

    def __init__(self, path: Path, line: Line) -> None:
        if line.entry.get("t") != "header":
            raise ValueError("a session file begins with its header")
        header = line.entry
        shapes.text(header["id"]), shapes.text(header["workspace"])
        self.told = Conversation(path, header, line.end)
        self._known_at: dict[str, int] = {}
        self._todos_at: list[tuple[int, list[dict[str, str]]]] = []
        self._pending: list[Mapping[str, str | None]] = []
        self._torn = False
        self._writer(header)

    def take(self, entry: Mapping[str, Any]) -> None:
        """Take one entry after the header."""
        told = self.told
        match entry["t"]:
            case "message":
                self._message(entry)
            case "intent":
                told.intents[shapes.text(entry["call"])] = _intent(entry)
            case "grant":
                told.grants.append(str(entry["rule"]))
            case "note" if isinstance(entry.get("engine"), dict):
                self._writer(entry["engine"])
            case "ledger" if _tells_the_prefix(entry):
                told.ledger = entry
            case "compaction":
                self._restart([message_from_json(value) for value in entry["messages"]])
                if "seen" in entry:
                    self._forget({shapes.text(path) for path in entry["seen"]})
                told.compaction = {k: v for k, v in entry.items() if k != "messages"}
            case "rewind":
                self._rewind(entry["keep"])
            case _:
                pass

    def _writer(self, fields: Mapping[str, Any]) -> None:
        writer = Writer(*(str(fields.get(name, "")) for name in Writer.__slots__))
        if not self.told.known_writers or self.told.known_writers[-1] != writer:
            self.told.known_writers.append(writer)

    def _message(self, entry: Mapping[str, Any]) -> None:
        message = message_from_json(entry["message"])
        if not isinstance(message, ToolMessage):
            self._close_lost()
            self._torn = False
        if "typed" in entry:
            self.told.typed[len(self.told.messages)] = shapes.text(entry["typed"])
        closed = bool(entry.get("closed"))
        self._torn = self._torn or closed
        self._add(message)
        self._state(entry.get("state", {}), at_once=closed)

    def _add(self, message: Message) -> None:
        told = self.told
        match message:
            case ToolMessage():
                if not told.open_calls or told.open_calls[0].id != message.call_id:
                    raise ValueError(f"a result of {message.call_id!r}, which no call awaits")
                del told.open_calls[0]
            case _ if told.open_calls:
                raise ValueError(f"the call {told.open_calls[0].id!r} has no result")
            case AssistantMessage():
                told.open_calls = _calls_of(message)
                told.intents.clear()
            case UserMessage():
                pass
        told.messages.append(message)
        told.writers.append(len(told.known_writers) - 1)

    def _close_lost(self) -> None:
        """Results that a full disk swallowed: the conversation went on without their lines."""
        for call in list(self.told.open_calls):
            self._torn = True
            lost = ToolMessage(call_id=call.id, name=call.name, text=LOST, is_error=True)
            self._add(lost)
        self._settle()

    def _state(self, state: Mapping[str, Any], *, at_once: bool) -> None:
        at = len(self.told.messages) - 1
        if "cwd" in state:
            self.told.cwd = shapes.maybe_text(state["cwd"])
        if "todos" in state:
            self.told.todos = shapes.todos(state["todos"])
            self._todos_at.append((at, self.told.todos))
        if at_once:
            self._know(shapes.hashes(state.get("seen", {})))
        elif "seen" in state:
            self._pending.append(shapes.hashes(state["seen"]))
        if not self.told.open_calls:
            self._settle()

    def _settle(self) -> None:
        """What a step taught the model counts when all its results stand in the file.

        Of a step that a crash tore it does not: reads that ran side by side may have been
        noted with the first result, and the model never got the others.
        """
        if not self._torn:
            for seen in self._pending:
                self._know(seen)
        self._pending.clear()

    def _know(self, seen: Mapping[str, str | None]) -> None:
        for path, digest in seen.items():
            if digest is None:
                self.told.seen.pop(path, None)
            else:
                self.told.seen[path] = digest
                self._known_at[path] = len(self.told.messages) - 1

    def _restart(self, messages: list[Message]) -> None:
        told = self.told
        told.messages, told.writers, told.typed = [], [], {}
        told.ledger = None
        told.open_calls = []
        self._known_at = dict.fromkeys(told.seen, -1)
        self._todos_at = [(-1, told.todos)]
        self._settle()
        for message in messages:
            self._add(message)

    def _forget(self, known: set[str]) -> None:
        """Files that the segment no longer shows must be read again before a change."""
        self.told.seen = {p: d for p, d in self.told.seen.items() if p in known}

    def _rewind(self, keep: int) -> None:
        """Back to the first messages; what later ones taught the model it no longer knows."""
        told = self.told
        if not 0 <= keep <= len(told.messages):
            raise ValueError(f"a rewind to {keep} of {len(told.messages)} messages")
        told.ledger = None
        kept, writers = told.messages[:keep], told.writers[:keep]
        told.messages, told.writers, told.open_calls = [], [], []
        self._pending.clear()
        for message in kept:
            self._add(message)
        if told.open_calls:
            raise ValueError(f"a rewind to {keep} messages leaves calls without results")
        told.writers = writers
        told.typed = {at: text for at, text in told.typed.items() if at < keep}
        told.seen = {p: d for p, d in told.seen.items() if self._known_at[p] < keep}
        self._todos_at = [(at, todos) for at, todos in self._todos_at if at < keep]
        told.todos = self._todos_at[-1][1] if self._todos_at else []


def _tells_the_prefix(entry: Mapping[str, Any]) -> bool:
    """Whether a ledger line tells what the engine has of this conversation: not a question on a
    fork, and not what was warmed and broken off, of which that is not known."""
    kind = entry.get("kind")
    return kind not in ("compaction", "question") and not (
        kind == "warm" and entry.get("cached") is None
    )


def _intent(entry: Mapping[str, Any]) -> Intent:
    changes = tuple(
        (shapes.text(c["path"]), shapes.maybe_text(c["before"]), shapes.text(c["after"]))
        for c in entry["changes"]
    )
    return Intent(shapes.text(entry["tool"]), shapes.text(entry["subject"]), changes)


def _calls_of(message: AssistantMessage) -> list[ToolCall | RejectedCall]:
    by_id: dict[str, ToolCall | RejectedCall] = {call.id: call for call in message.rejected}
    by_id |= {call.id: call for call in message.calls}
    ids = message.call_ids()
    if len(by_id) != len(ids):
        raise ValueError(f"call ids repeat: {', '.join(ids)}")
    return [by_id[call_id] for call_id in ids]
