from __future__ import annotations

from pathlib import Path

import pytest

from tests.tools.toolbox import Toolbox, commit


@pytest.fixture
def box(tmp_path: Path) -> Toolbox:
    return Toolbox(tmp_path)


def item(content: str, status: str = "pending") -> dict[str, str]:
    return {"content": content, "status": status}


def test_the_list_is_kept_and_counted(box: Toolbox) -> None:
    todos = [item("a", "completed"), item("b", "in_progress"), item(" c "), item("d")]
    assert box.call("TodoWrite", todos=todos) == (
        "todo list of 4: 1 completed, 1 in_progress, 2 pending"
    )
    assert box.ctx.todos == [*todos[:2], item("c"), item("d")]


def test_a_new_list_takes_the_place_of_the_old_one_and_may_be_empty(box: Toolbox) -> None:
    box.call("TodoWrite", todos=[item("a"), item("b")])
    assert box.call("TodoWrite", todos=[item("b", "completed")]) == "todo list of 1: 1 completed"
    assert box.call("TodoWrite", todos=[]) == "todo list cleared"
    assert box.ctx.todos == []


def test_only_one_item_may_be_in_progress(box: Toolbox) -> None:
    box.call("TodoWrite", todos=[item("old")])
    answer = box.call("TodoWrite", todos=[item("a", "in_progress"), item("b", "in_progress")])
    assert answer == (
        "error: 2 items are in_progress; at most one may be: set the others to pending and send "
        "the whole list again"
    )
    assert box.ctx.todos == [item("old")]


@pytest.mark.parametrize(
    ("todos", "said"),
    [
        ([item("a", "done")], "'done' is not one of"),
        ([{"content": "a"}], "'status' is a required property"),
        ([item("  ")], "item 1 is empty"),
        (["a"], "is not of type 'object'"),
        ("a", "is not of type 'array'"),
    ],
)
def test_a_list_that_cannot_be_kept_is_an_error(box: Toolbox, todos: object, said: str) -> None:
    assert said in box.call("TodoWrite", todos=todos)
    assert box.ctx.todos == []


def test_nothing_is_kept_before_the_commit_and_the_person_sees_the_list(box: Toolbox) -> None:
    action = box.prepare("TodoWrite", todos=[item("a", "completed"), item("b", "in_progress")])
    assert box.ctx.todos == []
    assert action.preview.body == "[x] a\n[>] b"
    assert commit(action).for_user == action.preview
    assert action.paths == ()


def test_more_keys_than_needed_do_no_harm(box: Toolbox) -> None:
    todo = {**item("a"), "activeForm": "doing a", "id": "1"}
    assert box.call("TodoWrite", todos=[todo]) == "todo list of 1: 1 pending"
    assert box.ctx.todos == [item("a")]
