from __future__ import annotations

from typing import Any

from glmcode.core.events import Delta, Event
from glmcode.engine.joined import Joined


def told(*pieces: Any) -> list[Event]:
    events: list[Event] = []
    joined = Joined(events.append)
    for piece in pieces:
        if isinstance(piece, Delta):
            joined.take(piece)
        else:
            joined.add(*piece)
    joined.flush()
    return events


def test_neighbouring_pieces_of_a_stream_are_one_and_others_are_not() -> None:
    call = Delta(kind="call", text="a", call_index=1, name="Write", argument="content", tokens=2)
    other = Delta(kind="call", text="b", call_index=2, name="Write", argument="content")
    assert told(("reasoning", "x"), ("text", "y"), ("text", "z"), call, call, other) == [
        Delta(kind="reasoning", text="x"),
        Delta(kind="text", text="yz"),
        Delta(kind="call", text="aa", call_index=1, name="Write", argument="content"),
        other,
    ]


def test_the_tokens_of_joined_pieces_are_counted_together() -> None:
    (event,) = told(Delta(kind="text", text="a", tokens=2), Delta(kind="text", text="b", tokens=3))
    assert isinstance(event, Delta)
    assert event.tokens == 5


def test_nothing_is_held_back_after_a_flush_and_nothing_told_twice() -> None:
    events: list[Event] = []
    joined = Joined(events.append)
    joined.add("text", "a")
    joined.flush()
    joined.flush()
    joined.add("text", "b")
    joined.flush()
    assert events == [Delta(kind="text", text="a"), Delta(kind="text", text="b")]
