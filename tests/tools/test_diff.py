from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glmcode.tools.diff import changed_blocks, diff_texts

LINES = st.lists(st.sampled_from(["a", "b", "c", "d", ""]), max_size=30)


@given(LINES, LINES)
def test_the_blocks_turn_one_text_into_the_other_and_are_few(
    old: list[str], new: list[str]
) -> None:
    out: list[str] = []
    at = 0
    for a, b, c, d in changed_blocks(old, new):
        assert a < b or c < d
        out += old[at:a] + new[c:d]
        at = b
    assert out + old[at:] == new


@given(LINES, LINES, st.booleans(), st.booleans())
@settings(max_examples=60, deadline=None)
def test_the_body_is_a_patch_that_git_applies(
    tmp_path_factory: object, old: list[str], new: list[str], old_end: bool, new_end: bool
) -> None:
    folder = Path(tmp_path_factory.mktemp("diff"))  # type: ignore[attr-defined]
    before = "\n".join(old) + ("\n" if old_end and old else "")
    after = "\n".join(new) + ("\n" if new_end and new else "")
    if before == after or not before or not after:
        return
    (folder / "f").write_text(before)
    patch = f"--- a/f\n+++ b/f\n{diff_texts(before, after).body}\n"
    subprocess.run(
        ["git", "apply", "--unidiff-zero", "-"], cwd=folder, input=patch, text=True, check=True
    )
    assert (folder / "f").read_text() == after


def test_far_apart_changes_are_counted_exactly() -> None:
    old = [f"{n}\n" for n in range(50_000)]
    new = list(old)
    new[10:12] = ["x\n"]
    new[49_000:49_000] = ["y\n", "z\n"]
    diff = diff_texts("".join(old), "".join(new))
    assert (diff.added, diff.removed, diff.counts) == (3, 2, "(+3 -2)")
    assert diff.body.count("@@") == 4


def test_two_texts_with_little_in_common_take_a_moment() -> None:
    began = time.monotonic()
    diff = diff_texts("".join(f"{n % 7}\n" for n in range(20_000)), "8\n" * 20_000)
    assert (diff.added, diff.removed) == (20_000, 20_000)
    diff_texts(
        "".join(f"{n % 50}\n" for n in range(20_000)), "".join(f"{n % 49}\n" for n in range(20_000))
    )
    assert time.monotonic() - began < 15
    assert len(diff.body.split("\n")) < 3_000


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("x" * 50_000 + "A" + "y" * 50_000, "x" * 50_000 + "EVIL" + "y" * 50_000),
        ("x" * 50_000 + "\nz\n", "first\n" + "x" * 40_000 + "EVIL" + "x" * 10_000 + "\nz\n"),
        ("z\n", "x" * 19_000 + "EVIL\nz\n"),
        ("".join(f"{n}{'x' * 9_000}A\n" for n in range(60)),
         "".join(f"{n}{'x' * 9_000}EVIL\n" for n in range(60))),
    ],
)  # fmt: skip
def test_what_changed_in_a_very_long_line_is_in_the_body(old: str, new: str) -> None:
    diff = diff_texts(old, new)
    assert diff.body.count("EVIL") == new.count("EVIL") and len(diff.body) < 500_000


def test_of_a_very_long_line_it_is_told_how_much_is_not_there() -> None:
    new = "EVIL".join(["x" * 50_000] * 2)
    diff = diff_texts("x" * 100_000 + "\n", new + "\n")
    line = diff.body.split("\n")[2]
    assert line.startswith("+[... 49,800 characters]xxx")
    assert line.endswith("xxx[... 30,204 more characters]")
    assert not diff.whole and diff_texts("a\n", "x" * 20_000).whole
    assert not diff_texts("", "a\n" * 3_000).whole
