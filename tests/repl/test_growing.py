from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from glmcode.core.events import Delta
from glmcode.repl.columns import columns
from glmcode.repl.growing import KEY_CHARS, Growing, _Strings, _whole
from glmcode.repl.paint import Painter
from tests.fake_engine import FakeEngine, Reply
from tests.repl.pty_driver import glmcode
from tests.repl.test_turns import reach, ready

VALUES = st.recursive(
    st.one_of(st.text(max_size=20), st.integers(), st.booleans(), st.none()),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)  # fmt: skip
OBJECTS = st.dictionaries(st.text(max_size=12), VALUES, max_size=5)


def painter(width: int = 80) -> Painter:
    return Painter(width, colour=False)


def row(growing: Growing, width: int = 80) -> str:
    return growing.row(painter(width))[0]


@given(OBJECTS, st.lists(st.integers(0, 400), max_size=8), st.booleans())
@example({"a": '\U0001f642\ud83d\\"\n\x00'}, [3, 4, 5, 6, 7, 8, 9, 10], True)
def test_what_grows_in_json_is_read_as_json_wherever_it_is_cut(
    told: dict[str, object], cuts: list[int], ascii_only: bool
) -> None:
    text = json.dumps(told, ensure_ascii=ascii_only)
    places = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    strings, got = _Strings(), {}
    for start, end in pairwise(places):
        for key, piece in strings.feed(text[start:end]):
            got[key] = got.get(key, "") + piece
    expected = {k: v for k, v in json.loads(text).items() if isinstance(v, str) and v}
    assert {_whole(k): _whole(v) for k, v in got.items()} == {
        _whole(k): _whole(v) for k, v in expected.items()
    }


@given(st.text(alphabet='{}[]:,"\\u0n x', max_size=60))
def test_whatever_is_no_json_is_taken_without_a_word(text: str) -> None:
    growing = Growing(0)
    for character in ("", *text):
        growing.feed(Delta(kind="call", text=character, name="Write"))
    assert row(growing).startswith("  … writing a call: Write")


def test_a_key_without_an_end_is_not_kept_whole() -> None:
    strings = _Strings()
    for _ in range(100):
        assert list(strings.feed('{"' if not strings._depth else "k" * 1_000)) == []
    assert len(strings._key) == KEY_CHARS


@pytest.mark.parametrize("keys", [("file_path", "content"), ("content", "file_path")])
@pytest.mark.parametrize("whole", [True, False])
def test_file_and_lines_are_told_in_both_protocols(keys: tuple[str, str], whole: bool) -> None:
    arguments = {"file_path": "src/a.py", "content": "x = 1\n" * 12}
    growing = Growing(0)
    if whole:
        for key in keys:
            growing.feed(Delta(kind="call", text=arguments[key], name="Write", argument=key))
    else:
        for character in json.dumps({key: arguments[key] for key in keys}):
            growing.feed(Delta(kind="call", text=character, name="Write"))
    count = " (12 lines so far)" if keys[1] == "content" else ""
    assert row(growing) == f"  … writing a call: Write src/a.py{count}"


def test_a_command_shows_its_beginning_and_a_path_its_end() -> None:
    growing = Growing(0)
    growing.feed(Delta(kind="call", text="make all; " * 20, name="Bash", argument="command"))
    assert row(growing, 40) == "  … Bash make all; make all; make all; …"
    growing = Growing(0)
    path = "a/very/long/path/" * 5 + "end.py"
    growing.feed(Delta(kind="call", text=path, name="Edit", argument="file_path"))
    assert row(growing, 40).endswith("/long/path/end.py") and "…/" in row(growing, 40)


@pytest.mark.parametrize("width", [10, 11, 15, 20, 33, 40, 60, 80, 300])
def test_it_takes_one_row_whatever_it_holds(width: int) -> None:
    for text in ("漢字/🙂/" * 40, "x" * 300, "a\nb\x1b[2J\u202e" * 20):
        growing = Growing(0)
        growing.feed(Delta(kind="call", text=text, name=f"Na{text}", argument="file_path"))
        growing.feed(Delta(kind="call", text="\n" * 1_234, argument="content"))
        lines = growing.row(painter(width))
        assert len(lines) == 1 and columns(lines[0]) <= width
        assert not re.search("[\x00-\x1f\u202e]", lines[0])


def test_a_growing_call_is_seen_over_a_real_stream(tmp_path: Path) -> None:
    write = {"file_path": "src/module.py", "content": "x = 1\n" * 40}
    call = {"name": "Write", "arguments": write}
    script = [Reply(calls=[call], chunk=6, hang_after_events=40)]
    with FakeEngine(script) as engine, glmcode(tmp_path, *reach(engine)) as session:
        ready(session)
        session.type("go\r")
        session.wait_until(
            lambda: (
                re.search(r"Write src/module.py \(\d\d lines so far\)", session.screen.visible)
                is not None
            ),
            "the file and its lines",
        )
        session.type("\x1b")
        session.wait_for("interrupted")
