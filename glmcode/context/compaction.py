"""Compaction: the question, the judgement of its answer, and the segment that replaces all.

A segment is one user message (summary, the person's requests, files, todo list) and a tail
of whole steps, which keep their token ids. Without a usable summary it is mechanical: the
same message without one, with more of the person's words. Pure: values in, values out; how
tokens are counted is handed in. Must not ask a model or write a journal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from glmcode.base.data import prompt_text
from glmcode.context.budget import shrink
from glmcode.core.messages import AssistantMessage, Message, ToolMessage, UserMessage

TOKENS_PER_WORD = 2
"""Tokens that a word of a summary takes, with its share of paths and names: on the safe side."""
SHORT_TOKENS = 400
"""An earlier message of the person longer than this is shortened."""
MOST_FILES = 60
_FRAME_TOKENS = 256
"""Tokens of a segment's own words, on the safe side."""

Count = Callable[[Message], int]

TOO_LONG = "the summary was longer than it may be"
_HEAD = "[This conversation was compacted: this message stands for all that was said before it.]"
_MECHANICAL = "[No summary could be made. Look at the files again for what you need to know.]"
_OLD = "# A summary that was made earlier, of the beginning\n"
_GO_ON = (
    "Go on with the work from here. The contents of files are not part of this message: read "
    "a file again before you change it."
)
_CUT = "\n[… {} characters left out …]\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """What outlives every compaction: the person's words so far, and files with what was done.

    requests: every message of the person before the segment's tail, oldest first. files: path
    -> "read" or "changed", the last touched last. summary: the last one that could be made.
    """

    requests: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    summary: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """What a segment may hold, in tokens: its message and tail together, and the tail alone.

    most: of both together, where the person's words would have to be cut otherwise.
    """

    whole: int
    tail: int
    most: int


def instruction(max_tokens: int, focus: str = "") -> str:
    """The user message that asks for a summary of at most max_tokens tokens.

    focus: what the person wants kept in particular, in their own words.
    """
    words = max(50, max_tokens // TOKENS_PER_WORD // 50 * 50)
    text = f"{prompt_text('compact.md')}\n\nWrite at most {words} words."
    return f"{text}\n\nThe user asks to keep in particular: {focus}" if focus.strip() else text


def judged(reply: AssistantMessage) -> tuple[str, str]:
    """(summary, fault) of an answer to the question; one of them is "". Its calls are ignored."""
    text = reply.text.strip()
    match reply.stop:
        case "length":
            return "", TOO_LONG
        case "repetition":
            return "", "the summary repeated itself"
        case _ if not text:
            return "", "the summary was empty"
    return text, ""


def touched(messages: Sequence[Message], keys: Mapping[str, str]) -> dict[str, str]:
    """Paths that calls named and that were answered without an error, the last touched last.

    keys: tool name -> what it does to a file ("read" or "changed").
    """
    good = {m.call_id for m in messages if isinstance(m, ToolMessage) and not m.is_error}
    files: dict[str, str] = {}
    for message in messages:
        for call in message.calls if isinstance(message, AssistantMessage) else ():
            path = call.arguments.get("file_path")
            if call.name in keys and call.id in good and isinstance(path, str):
                before = files.pop(path, "")
                files[path] = "changed" if before == "changed" else keys[call.name]
    return files


def carry(before: Carried, messages: Sequence[Message], keys: Mapping[str, str]) -> Carried:
    """What is carried on when these messages go."""
    said = [m.text for m in messages if isinstance(m, UserMessage) and m.origin == "person"]
    files = dict(before.files)
    for path, done in touched(messages, keys).items():
        earlier = files.pop(path, "")
        files[path] = "changed" if earlier == "changed" else done
    return replace(before, requests=(*before.requests, *said), files=files)


def carried_from(entry: Mapping[str, Any]) -> Carried:
    """What a stored compaction line carries on; an entry without it gives nothing."""
    requests, files = entry.get("requests"), entry.get("files")
    return Carried(
        requests=tuple(map(str, requests)) if isinstance(requests, list) else (),
        files={str(k): str(v) for k, v in files.items()} if isinstance(files, dict) else {},
        summary=str(entry.get("carried", "")),
    )


def tail_start(messages: Sequence[Message], count: Count, limit: int) -> int:
    """Where a tail of at most `limit` tokens begins: at a step's boundary, never at results."""
    start, tokens = len(messages), 0
    for place in range(len(messages) - 1, -1, -1):
        tokens += count(messages[place])
        if tokens > limit:
            break
        if not isinstance(messages[place], ToolMessage):
            start = place
    return start


def segment(
    messages: Sequence[Message],
    carried: Callable[[Sequence[Message]], Carried],
    summary: str,
    todos: Sequence[str],
    count: Count,
    sizes: Sizes,
) -> tuple[list[Message], int]:
    """The messages of the new segment, and how many of the old ones its tail holds.

    carried: what is carried on when the messages before the tail go. summary "": mechanical.
    """
    words = carried(messages).requests[-1:]
    taken = sum(count(UserMessage(text=text)) for text in (summary, *words))
    start = tail_start(messages, count, min(sizes.tail, sizes.whole - _FRAME_TOKENS - taken))
    tail = messages[start:]
    known = carried(messages[:start])
    room = sizes.whole - sum(map(count, tail))
    fresh = isinstance(messages[-1], UserMessage) if messages else False
    longest = sizes.most - _FRAME_TOKENS - count(UserMessage(text=summary)) if fresh else room // 2
    asked = any(isinstance(m, UserMessage) and m.origin == "person" for m in tail)
    last = "" if asked or not known.requests else _within(known.requests[-1], longest, count)
    earlier = known.requests if asked else known.requests[:-1]
    parts = _message(replace(known, requests=earlier), summary, todos, room, count)
    parts += ["# The user's last request, word for word\n" + last] if last else []
    parts += [] if _ended(messages) else [_GO_ON]
    text = "\n\n".join(parts)
    return [UserMessage(text=text, origin="glmcode"), *tail], len(tail)


def _ended(messages: Sequence[Message]) -> bool:
    last = messages[-1] if messages else None
    return isinstance(last, AssistantMessage) and not last.call_ids()


def _message(
    known: Carried,
    summary: str,
    todos: Sequence[str],
    room: int,
    count: Count,
) -> list[str]:
    """The parts of the segment's message, but for the last request."""
    parts = [_HEAD, summary or _MECHANICAL]
    if not summary and known.summary:
        parts.append(_OLD + _within(known.summary, room // 4, count))
    said = _earlier(known.requests, room // (8 if summary else 3), count)
    if said:
        parts.append("# What the user said before, oldest first\n" + "\n\n".join(said))
    if known.files:
        lines = [f"{path} ({done})" for path, done in known.files.items()][-MOST_FILES:]
        listed = _within("\n".join(lines), room // 8, count)
        parts.append("# Files that were touched, the last one last\n" + listed)
    if todos:
        listed = _within("\n".join(todos), room // 8, count)
        parts.append("# The todo list\n" + listed)
    return parts


def _earlier(requests: Sequence[str], room: int, count: Count) -> list[str]:
    """The first request, which holds the environment, and the latest others, as they fit."""
    kept: dict[int, str] = {}
    order = [0, *range(len(requests) - 1, 0, -1)] if requests else []
    for place in order:
        text = _within(requests[place], min(SHORT_TOKENS, room // 2), count)
        room -= count(UserMessage(text=text))
        if room < 0 or not text:
            break
        kept[place] = text
    return [kept[place] for place in sorted(kept)]


def _within(text: str, limit: int, count: Count) -> str:
    """The text, or its head and tail where it is longer than `limit` tokens."""

    def make(characters: int) -> str:
        if characters >= len(text):
            return text
        head, tail = characters - characters // 3, characters // 3
        left = len(text) - characters
        return text[:head] + _CUT.format(f"{left:,}") + text[len(text) - tail :]

    return shrink(make, len(text), lambda made: count(UserMessage(text=made)), limit)
