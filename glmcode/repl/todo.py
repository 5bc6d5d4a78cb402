"""The model's todo list as a person sees it: what changed of it, and the item that is worked on.

A list is printed when it is new, and later only the items whose state changed; one that says the
same again prints nothing. Long ones are shown around the item that is worked on, with counts:
/todo shows all of it. Must not hold the list: the tools do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from glmcode.repl.clean import one_line
from glmcode.repl.columns import cut
from glmcode.repl.paint import Painter, Spans

Todos: TypeAlias = Sequence[tuple[str, str]]
"""(content, state) pairs."""

TOOL = "TodoWrite"
SHOWN = 8
STYLES = {"completed": "dim", "in_progress": "bold", "pending": ""}
MARKS = {True: ("✓", "▸", "○"), False: ("[x]", "[>]", "[ ]")}


def read_todos(arguments: Mapping[str, Any]) -> Todos:
    """The list in a call's arguments; what is no item is left out."""
    items = arguments.get("todos")
    if not isinstance(items, list | tuple):
        return []
    return todos_of([one for one in items if isinstance(one, Mapping)])


def todos_of(items: Sequence[Mapping[str, Any]]) -> Todos:
    """The tools' list as pairs."""
    return [(str(one.get("content", "")), str(one.get("status", ""))) for one in items]


def changed(painter: Painter, todos: Todos, before: Todos) -> list[str]:
    """The lines to print where `before` was printed last: none where nothing changed."""
    if list(todos) == list(before):
        return []
    done = sum(state == "completed" for _, state in todos)
    said = f"{done} of {len(todos)} done" if todos else "cleared"
    bullet = [("bullet", f"{painter.marks[0]} "), ("tool", "Todo list"), ("dim", f"  {said}")]
    lines = painter.spans(bullet, hang=2)
    same = [content for content, _ in todos] == [content for content, _ in before]
    if same:
        news = [item for item, old in zip(todos, before, strict=True) if item != old]
        return lines + _items(painter, news[-SHOWN:])
    first, last = _window(todos)
    more = painter.marks[2]
    if first:
        lines += painter.spans([("dim", f"{more} {first} before")], indent=2)
    lines += _items(painter, todos[first:last])
    if last < len(todos):
        lines += painter.spans([("dim", f"{more} {len(todos) - last} more  (/todo)")], indent=2)
    return lines


def current(painter: Painter, todos: Todos) -> list[str]:
    """The item that is worked on, in one row; nothing where none is."""
    for number, (content, state) in enumerate(todos, start=1):
        if state == "in_progress":
            count = f" ({number} of {len(todos)})"
            mark = MARKS[painter.unicode][1]
            room = max(4, painter.width - 2 - len(mark) - 1)
            if room < len(count) + 12:
                count = ""
            text = f"{mark} {cut(one_line(content), room - len(count))}{count}"
            return painter.spans([("dim", text)], indent=2)[:1]
    return []


def _window(todos: Todos) -> tuple[int, int]:
    """Which of a long list is shown: one done, the one that is worked on, what comes next."""
    if len(todos) <= SHOWN:
        return 0, len(todos)
    states = [state for _, state in todos]
    at = next((i for i, state in enumerate(states) if state != "completed"), len(states) - 1)
    if "in_progress" in states:
        at = states.index("in_progress")
    first = min(max(0, at - 1), len(todos) - SHOWN)
    return first, first + SHOWN


def _items(painter: Painter, items: Todos) -> list[str]:
    marks = dict(zip(STYLES, MARKS[painter.unicode], strict=True))
    lines: list[str] = []
    for content, state in items:
        style, mark = STYLES.get(state, ""), marks.get(state, marks["pending"])
        room = max(4, painter.width - 3 - len(mark))
        spans: Spans = [(style, f"{mark} {cut(one_line(content, 400), room)}")]
        lines += painter.spans(spans, indent=2)
    return lines
