from __future__ import annotations

import re
from pathlib import Path

import pytest

from glmcode.core.events import Appended, Delta, StepStarted, TurnStarted
from glmcode.core.messages import AssistantMessage, ToolCall, ToolMessage
from glmcode.repl.columns import columns
from glmcode.repl.paint import Painter
from glmcode.repl.todo import Todos, changed, current, read_todos
from glmcode.repl.view import View
from tests.fake_engine import FakeEngine, Reply
from tests.repl.pty_driver import glmcode
from tests.repl.test_turns import reach, ready, slow

SGR = re.compile(r"\x1b\[[0-9;]*m")


def plain(lines: list[str]) -> list[str]:
    return [SGR.sub("", line) for line in lines]


def painter(width: int = 60, *, unicode: bool = True) -> Painter:
    return Painter(width, colour=False, unicode=unicode)


def items(*states: str) -> Todos:
    return [(f"item {number}", state) for number, state in enumerate(states, start=1)]


DONE, NOW, OPEN = "completed", "in_progress", "pending"


def test_a_new_list_is_printed_whole_and_then_only_what_changed_of_it() -> None:
    first, second = items(DONE, NOW, OPEN), items(DONE, DONE, NOW)
    assert changed(painter(), first, ()) == [
        "● Todo list  1 of 3 done", "  ✓ item 1", "  ▸ item 2", "  ○ item 3",
    ]  # fmt: skip
    assert changed(painter(), second, first) == [
        "● Todo list  2 of 3 done", "  ✓ item 2", "  ▸ item 3",
    ]  # fmt: skip
    assert changed(painter(), second, second) == []
    assert changed(painter(), (), second) == ["● Todo list  cleared"]
    longer = [*second, ("item 4", OPEN)]
    assert len(changed(painter(), longer, second)) == 5, "another list is printed anew"


def test_a_long_list_is_shown_around_the_item_that_is_worked_on() -> None:
    todos = items(*[DONE] * 10, NOW, *[OPEN] * 10)
    lines = changed(painter(), todos, ())
    assert lines[:4] == [
        "● Todo list  10 of 21 done", "  … 9 before", "  ✓ item 10", "  ▸ item 11",
    ]  # fmt: skip
    assert lines[-2:] == ["  ○ item 17", "  … 4 more  (/todo)"]
    ended = changed(painter(), items(*[DONE] * 21), ())
    assert ended[1] == "  … 13 before" and ended[-1] == "  ✓ item 21"


@pytest.mark.parametrize("width", [10, 12, 20, 33, 40, 80, 300])
@pytest.mark.parametrize(
    "content",
    ["a long item " * 30, "漢字🙂" * 60, "two\nlines \x1b[2J"],
    ids=["long", "wide", "odd"],
)
def test_every_item_takes_one_row(width: int, content: str) -> None:
    todos = [(content, NOW), ("x", OPEN)]
    lines = changed(painter(width), todos, ())
    assert len([line for line in lines if line.startswith("  ▸")]) == 1
    assert lines[-1] == "  ○ x" and lines[-2].startswith("  ▸")
    at = current(painter(width), todos)
    assert len(at) == 1 and at[0].startswith("  ▸ ")
    assert all(columns(line) <= width for line in [*lines[1:], *at])
    assert "\x1b" not in "".join([*lines, *at])


def test_without_unicode_the_marks_are_those_of_the_tools() -> None:
    assert changed(painter(unicode=False), items(DONE, NOW, OPEN), ())[1:] == [
        "  [x] item 1", "  [>] item 2", "  [ ] item 3",
    ]  # fmt: skip


def test_odd_arguments_make_no_list() -> None:
    assert list(read_todos({})) == [] and list(read_todos({"todos": "x"})) == []
    assert list(read_todos({"todos": ["x", {"content": "a"}, {"status": 3}]})) == [
        ("a", ""), ("", "3"),
    ]  # fmt: skip
    assert changed(painter(), [("a", "")], ()) == ["● Todo list  0 of 1 done", "  ○ a"]


def wrote(view: View, todos: Todos, call: str, *, is_error: bool = False) -> list[str]:
    """What the view prints for a call that wrote the list, and its result."""
    arguments = {"todos": [{"content": one, "status": state} for one, state in todos]}
    asked = AssistantMessage(calls=(ToolCall(id=call, name="TodoWrite", arguments=arguments),))
    said = ToolMessage(call_id=call, name="TodoWrite", text="error: no", is_error=is_error)
    return plain([*view.event(Appended(message=asked)), *view.event(Appended(message=said))])


def test_the_view_prints_a_list_once_and_keeps_the_current_item_below_what_streams() -> None:
    view = View(painter(80), clock=lambda: 5.0)
    view.event(TurnStarted())
    assert "● Todo list  0 of 2 done" in wrote(view, items(NOW, OPEN), "1")
    assert wrote(view, items(NOW, OPEN), "2") == []
    assert any("error: no" in line for line in wrote(view, items(DONE), "3", is_error=True))
    assert wrote(view, items(DONE, NOW), "4")[-2:] == ["  ✓ item 1", "  ▸ item 2"]
    view.todos = items(DONE, NOW)
    view.event(StepStarted(number=2))
    assert view.tail(6) == ["  ▸ item 2 (2 of 2)"]
    view.event(Delta(kind="text", text="Now the\nsecond"))
    assert view.tail(6)[-2:] == ["Now the second", "  ▸ item 2 (2 of 2)"]
    assert view.tail(6, asking=True)[-1] == "Now the second"
    assert len(view.tail(2)) == 2 and view.tail(1) == ["Now the second"]


def test_the_list_is_shown_as_it_changes_and_the_current_item_while_a_turn_runs(
    tmp_path: Path,
) -> None:
    def todo(*states: str) -> dict[str, object]:
        written = [{"content": one, "status": state} for one, state in items(*states)]
        return {"name": "TodoWrite", "arguments": {"todos": written}}

    script = [
        Reply(calls=[todo(NOW, OPEN)]),
        Reply(calls=[todo(NOW, OPEN)]),
        Reply(calls=[todo(DONE, NOW)]),
        slow("Words that go on and on. " * 200),
    ]
    with FakeEngine(script) as engine, glmcode(tmp_path, *reach(engine)) as session:
        ready(session)
        session.type("go\r")
        session.wait_for_visible("▸ item 2 (2 of 2)")
        assert session.screen.text.count("● Todo list") == 2
        assert "  ✓ item 1\n  ▸ item 2\n" in session.screen.text
        session.type("\x1b")
        session.wait_for("interrupted")
        session.wait_gone("(2 of 2)")
        session.type("/todo\r")
        session.wait_for("[x]  item 1")
        session.type("\x04")
        assert session.wait_exit() == 0
