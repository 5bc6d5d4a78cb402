from __future__ import annotations

from pathlib import Path

import pytest

from tests.tools.toolbox import Toolbox

LINES = "one\ntwo\nthree\n"


@pytest.fixture
def box(tmp_path: Path) -> Toolbox:
    box = Toolbox(tmp_path)
    box.put("a.txt", LINES)
    return box


def test_null_for_an_optional_argument_is_an_argument_not_given(box: Toolbox) -> None:
    read = box.call("Read", file_path="a.txt", offset=None, limit=None)
    assert read == box.call("Read", file_path="a.txt")
    assert box.call("Bash", command="echo hi", timeout=None, run_in_background=None)[:3] == "hi\n"
    nothing = dict.fromkeys(("path", "glob", "output_mode", "context", "ignore_case"))
    assert box.call("Grep", pattern="two", head_limit=None, **nothing) == "a.txt:2:two"
    assert box.call("Glob", pattern="*", path=None) == "a.txt"
    edited = box.call("Edit", file_path="a.txt", old_string="two", new_string="2", replace_all=None)
    assert edited == "edited a.txt: 1 replacement at line 2 (+1 -1)"


def test_null_for_a_required_argument_is_an_argument_missing(box: Toolbox) -> None:
    answer = box.call("Read", file_path=None)
    assert answer.startswith("error: file_path: None is not of type 'string'. Read takes: ")


def test_a_number_or_boolean_spelled_as_a_string_is_taken_for_one(box: Toolbox) -> None:
    assert box.call("Read", file_path="a.txt", offset="2", limit="1").startswith("2\ttwo\n[")
    assert "killed" in box.call("Bash", command="sleep 5", timeout="0.2")
    assert box.call("Grep", pattern="TWO", ignore_case="true", context="0") == "a.txt:2:two"
    box.call("Edit", file_path="a.txt", old_string="t", new_string="T", replace_all="True")
    assert (box.ws / "a.txt").read_text() == "one\nTwo\nThree\n"
    answer = box.call(
        "Edit", file_path="a.txt", old_string="T", new_string="t", replace_all="false"
    )
    assert "stands 2 times" in answer


def test_a_whole_number_with_a_point_is_taken_for_a_whole_number(box: Toolbox) -> None:
    assert box.call("Read", file_path="a.txt", offset=2.0, limit=1.0).startswith("2\ttwo\n[")
    grepped = box.call("Grep", pattern="two", context=1.0, head_limit="2.0")
    assert grepped == "a.txt-1-one\na.txt:2:two"


def test_a_list_spelled_as_a_string_is_taken_for_one(box: Toolbox) -> None:
    todos = '[{"content": "a", "status": "pending"}]'
    assert box.call("TodoWrite", todos=todos) == "todo list of 1: 1 pending"


def test_text_is_never_taken_for_anything_else(box: Toolbox) -> None:
    for content in ("5", "true", "null", "[1]", " 7 ", "1e3"):
        box.call("Write", file_path=f"{content}.txt", content=content)
        assert (box.ws / f"{content}.txt").read_bytes() == content.encode()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"offset": "two"}, "offset: 'two' is not of type 'integer'"),
        ({"offset": ""}, "offset: '' is not of type 'integer'"),
        ({"offset": "1.5"}, "offset: '1.5' is not of type 'integer'"),
        ({"offset": "true"}, "offset: 'true' is not of type 'integer'"),
        ({"offset": True}, "offset: True is not of type 'integer'"),
        ({"offset": [1]}, "offset: [1] is not of type 'integer'"),
        ({"offset": "9" * 5_000}, "is not of type 'integer'"),
        ({"offset": "NaN"}, "offset: 'NaN' is not of type 'integer'"),
        ({"offset": "[" * 100_000}, "is not of type 'integer'"),
        ({"lines": 1}, "unknown argument 'lines'"),
    ],
)
def test_what_is_no_such_value_is_an_error_that_tells_the_names(
    box: Toolbox, arguments: dict[str, object], said: str
) -> None:
    answer = box.call("Read", file_path="a.txt", **arguments)
    assert said in answer
    assert answer.endswith(
        "Read takes: file_path (string), offset (integer, optional), limit (integer, optional)."
    )
