from __future__ import annotations

import difflib

from hypothesis import given
from hypothesis import strategies as st

from glmcode.repl.diff import counts, cut_diff, read_diff

BODY = """--- a/calc.py
+++ b/calc.py
@@ -8,3 +8,3 @@ def f():
 before
-    return a - b
+    return a + b
 after
@@ -30,2 +30,3 @@
 x
+y
 z
\\ No newline at end of file
"""


def test_lines_carry_the_number_they_have_in_the_file() -> None:
    shown = [(line.kind, line.number, line.text) for line in read_diff(BODY)]
    assert shown == [
        ("context", 8, "before"),
        ("remove", 9, "    return a - b"),
        ("add", 9, "    return a + b"),
        ("context", 10, "after"),
        ("hunk", None, ""),
        ("context", 30, "x"),
        ("add", 31, "y"),
        ("context", 32, "z"),
        ("note", None, "No newline at end of file"),
    ]
    assert counts(read_diff(BODY)) == (2, 1)


def test_lines_that_look_like_a_header_are_content_inside_a_hunk() -> None:
    body = "@@ -1,2 +1,2 @@\n--- old\n+++ new\n-@@ x\n+@@ -1 +1 @@\n"
    assert [(line.kind, line.text) for line in read_diff(body)] == [
        ("remove", "-- old"),
        ("add", "++ new"),
        ("remove", "@@ x"),
        ("add", "@@ -1 +1 @@"),
    ]


def test_what_lies_between_two_files_is_not_counted_as_unchanged_lines() -> None:
    one = "@@ -9 +9 @@\n-a\n+b\n@@ -20 +20 @@\n-a\n+b\n"
    kinds = [(line.kind, line.left_out) for line in read_diff(f"list\n{one}\nnext:\n{one}")]
    assert [one for one in kinds if one[0] == "hunk"] == [("hunk", 10), ("hunk", 10)]


def test_what_does_not_look_like_a_diff_is_still_shown() -> None:
    shown = read_diff("@@ -1,9 +1,9 @@\n+a\n[the diff goes on]")
    assert shown[-1].text == "[the diff goes on]"
    assert [line.text for line in read_diff("just words\nmore")] == ["just words", "more"]


def test_a_long_diff_is_cut_in_the_middle_with_counts() -> None:
    body = "@@ -0,0 +1,100 @@\n" + "".join(f"+line {n}\n" for n in range(1, 101))
    cut = cut_diff(read_diff(body), 20)
    assert len(cut) == 20
    assert cut[0].text == "line 1" and cut[-1].text == "line 100"
    assert [line.text for line in cut if line.kind == "note"] == ["81 more lines (+81 -0)"]
    assert cut_diff(read_diff(body), 100) == read_diff(body)


LINES = st.lists(
    st.sampled_from(["a", "b", "--- x", "+++ y", "@@ z @@", "", " c", "\\ d"]), max_size=12
)


@given(LINES, LINES)
def test_every_line_of_a_real_diff_is_shown_with_its_kind(old: list[str], new: list[str]) -> None:
    lines = list(difflib.unified_diff(old, new, "a", "b", lineterm=""))
    shown = read_diff("\n".join(lines))
    content = [line for line in lines[2:] if not line.startswith("@@ ")]
    kinds = {"+": "add", "-": "remove", " ": "context"}
    assert [(line.kind, line.text) for line in shown if line.kind != "hunk"] == [
        (kinds[line[0]], line[1:]) for line in content
    ] or not lines
