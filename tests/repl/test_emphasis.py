from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from glmcode.repl.diff import DiffLine
from glmcode.repl.emphasis import changed_words, emphasised, only_ends


def words(old: str, new: str) -> tuple[list[str], list[str]]:
    before, after = changed_words(old, new)
    return [old[a:b] for a, b in before], [new[a:b] for a, b in after]


def test_only_the_words_that_changed_stand_out() -> None:
    assert words("    return a - b", "    return a + b") == (["-"], ["+"])
    assert words("x = first(a, b)", "x = second(a, b, c)") == (["first"], ["second", ", c"])
    assert words("value = 1", "value = 12") == (["1"], ["12"])
    assert words("a = 漢字", "a = 漢字漢") == ([], ["漢"])
    assert words("naïve name here", "naïveté name here") == (["naïve"], ["naïveté"])


def test_lines_with_little_in_common_stand_out_as_a_whole() -> None:
    assert words("import os", "def f(): return 12") == ([], [])
    assert words("", "new") == ([], [])


def test_a_very_long_line_is_compared_from_its_ends() -> None:
    old = "a b " * 400 + "x" + " c d" * 400
    assert words(old, old.replace("x", "yz")) == (["x"], ["yz"])


def test_in_a_very_long_word_the_place_of_the_change_is_known_on_both_sides() -> None:
    old = "x" * 900
    assert changed_words(old, f"{old}y") == (((900, 900),), ((900, 901),))
    assert changed_words("x" * 30, "x" * 30 + "y") == ((), ())


def block(removed: list[str], added: list[str]) -> list[DiffLine]:
    lines = [DiffLine("remove", n, text) for n, text in enumerate(removed)]
    return lines + [DiffLine("add", n, text) for n, text in enumerate(added)]


def test_a_line_is_compared_with_the_one_that_took_its_place() -> None:
    lines = block(["alpha = 1", "beta = 2"], ["# a comment", "alpha = 3", "beta = 4"])
    assert emphasised(lines) == {
        0: ((8, 9),),
        3: ((8, 9),),
        1: ((7, 8),),
        4: ((7, 8),),
    }


def test_lines_of_which_only_the_end_changed_are_known() -> None:
    assert only_ends(block(["same", "old"], ["same", "new"])) == {0, 2}


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=60), st.text(max_size=60))
def test_what_is_left_without_the_marked_words_is_the_same_on_both_sides(
    old: str, new: str
) -> None:
    before, after = changed_words(old, new)

    def rest(text: str, marked: tuple[tuple[int, int], ...]) -> str:
        at, kept = 0, ""
        for start, end in marked:
            assert at <= start < end <= len(text)
            kept, at = kept + text[at:start], end
        return kept + text[at:]

    if before or after:
        assert rest(old, before) == rest(new, after)
