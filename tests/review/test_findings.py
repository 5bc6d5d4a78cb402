from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from glmcode.agent_structured import check_schema
from glmcode.review.diff import FileDiff, parse_diff
from glmcode.review.findings import SCHEMA, Finding, Judged, merge, read_answer
from glmcode.review.showing import overview, pack, show_file

DIFF = b"""\
diff --git a/src/old.py b/src/new.py
similarity index 80%
rename from src/old.py
rename to src/new.py
--- a/src/old.py
+++ b/src/new.py
@@ -10,5 +10,6 @@ def f():
 a = 1
-b = a / 2
+b = a / 0
+c = b
 d = 4
 e = 5
 return d
@@ -100,3 +101,3 @@
 x
-y = 1
+y = 2
 z
diff --git a/logo.png b/logo.png
index 1..2 100644
Binary files a/logo.png and b/logo.png differ
diff --git a/run.sh b/run.sh
old mode 100644
new mode 100755
"""
FILES = parse_diff(DIFF)


def told(**more: Any) -> dict[str, Any]:
    return {"file": "src/new.py", "line": 11, "code": "", "severity": "error", "reason": "x"} | more


def place(**more: Any) -> tuple[str, int | None]:
    (found,) = read_answer({"findings": [told(**more)], "verdict": "block"}, FILES).findings
    return found.file, found.line


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("src/new.py", "src/new.py"), ("src/old.py", "src/new.py"), ("b/src/new.py", "src/new.py"),
        ("./src/new.py", "src/new.py"), ("new.py", "src/new.py"), (" src/new.py ", "src/new.py"),
        ("other.py", ""),
    ],
)  # fmt: skip
def test_a_file_is_found_by_its_names_and_never_mistaken(name: str, file: str) -> None:
    assert place(file=name)[0] == file


@pytest.mark.parametrize(
    ("line", "code", "expected"),
    [
        (11, "b = a / 0", 11),
        (14, "b = a / 0", 11),
        (11, "+ b = a / 0", 11),
        (999, "y = 2", 102),
        (12, "   c  =  b ", 12),
        (11, "", 11),
        (9, "", None),
        (50, "no such line", None),
        (12, "no such line", 12),
        (103, "", 103),
        (200, "y = 1", 102),
        (0, "a = 1", 10),
    ],
)
def test_a_line_is_the_one_whose_text_was_copied_else_the_number_if_it_was_shown(
    line: int, code: str, expected: int | None
) -> None:
    assert place(line=line, code=code) == ("src/new.py", expected)


def test_a_file_without_lines_and_an_unknown_file_have_no_line() -> None:
    assert place(file="run.sh", line=3) == ("run.sh", None)
    one = told(file="nowhere.c\n", line=11, code="b = a / 0")
    (found,) = read_answer({"findings": [one], "verdict": "block"}, FILES).findings
    assert found == Finding("", None, "error", "of nowhere.c⏎, which is not in the diff: x")


def test_merging_says_each_thing_once_the_worst_first_and_blocks_only_with_a_reason() -> None:
    note = Finding("a", 1, "note", "same  Thing")
    error = Finding("a", 1, "error", "Same thing")
    other = Finding("b", None, "warning", "else")
    whole = merge([Judged("pass", (other, note)), Judged("block", (error,), ("x",))])
    assert whole == Judged("block", (error, other), ("x",))
    assert merge([Judged("block", (other,))]).verdict == "warn"
    assert merge([]) == merge([Judged("warn")]) == Judged("pass")
    many = merge([Judged("warn", tuple(Finding("a", n, "note", "r") for n in range(70)))])
    assert len(many.findings) == 50 and many.left_out == ("20 further findings",)


def test_the_schema_is_one() -> None:
    check_schema(SCHEMA, "findings.SCHEMA")


def test_what_is_shown_has_the_numbers_of_the_new_file() -> None:
    text = show_file(FILES[0])
    assert text.splitlines()[:4] == [
        "=== src/old.py -> src/new.py (renamed): +3 -2",
        "@@ def f():",
        "    10  a = 1",
        "       -b = a / 2",
    ]
    assert "    11 +b = a / 0" in text and "   102 +y = 2" in text


def test_the_overview_names_every_file_up_to_a_bound() -> None:
    assert overview(FILES).splitlines()[1:] == [
        "logo.png: binary",
        "run.sh: +0 -0, mode 100644 -> 100755",
    ]
    assert overview(FILES * 100, 5).splitlines()[-1] == "and 295 more files"
    long = [replace(FILES[0], path=f"{n}/" + "long/" * 300) for n in range(200)]
    assert len(overview(long)) < 8_100 and overview(long).endswith("and 195 more files")


def big_diff(files: int, lines: int) -> bytes:
    chance = random.Random(7)
    out = []
    for number in range(files):
        text = [f"+value_{number}_{at} = {chance.random()}" for at in range(lines)]
        head = f"diff --git a/f{number}.py b/f{number}.py\nnew file mode 100644\n--- /dev/null\n"
        out.append(f"{head}+++ b/f{number}.py\n@@ -0,0 +1,{lines} @@\n" + "\n".join(text) + "\n")
    return "".join(out).encode()


def lines_of(files: Iterable[FileDiff]) -> list[tuple[str, int | None, str]]:
    hunks = ((file.path, hunk) for file in files for hunk in file.hunks)
    return [(path, line.new, line.text) for path, hunk in hunks for line in hunk.lines]


@pytest.mark.parametrize(("files", "lines"), [(40, 3), (3, 400), (1, 2_000)])
def test_packing_shows_every_line_once_within_the_limit(files: int, lines: int) -> None:
    found = parse_diff(big_diff(files, lines))
    parts, left = pack(found, lambda text: len(text) // 3, 1_000)
    assert left == [] and all(len(part.text) // 3 <= 1_020 for part in parts)
    shown = [
        (file.path, line.new, line.text)
        for part in parts
        for file in part.files
        for hunk in file.hunks
        for line in hunk.lines
    ]
    assert shown == [
        (file.path, line.new, line.text)
        for file in found
        for hunk in file.hunks
        for line in hunk.lines
    ]


def test_what_cannot_be_shown_is_left_out_by_name() -> None:
    long = (
        b"diff --git a/min.js b/min.js\n--- a/min.js\n+++ b/min.js\n@@ -1 +1 @@\n-x\n+"
        + b"y" * 9_000
        + b"\n"
    )
    parts, left = pack([*FILES, *parse_diff(long)], lambda text: len(text) // 3, 300)
    assert left == ["logo.png (binary)", "min.js (lines too long to be shown)"]
    assert [file.path for part in parts for file in part.files] == ["src/new.py", "min.js"]
