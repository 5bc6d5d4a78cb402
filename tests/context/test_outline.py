from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from glmcode.context.outline import outline
from glmcode.context.tags import Definition


def made(*entries: tuple[int, int, str, str]) -> list[Definition]:
    return [Definition(line, line, depth, kind, "n", words) for line, depth, kind, words in entries]


FILE = made(
    (1, 0, "constant", "A = 1"),
    (3, 0, "class", "class B"),
    (4, 1, "function", "def c()"),
    (9, 0, "function", "def d()"),
)


def test_all_of_it_where_it_fits_in_the_order_of_the_source() -> None:
    assert outline(FILE, 42) == "1\tA = 1\n3\tclass B\n4\t  def c()\n9\tdef d()"
    assert outline([], 1_000) == ""


def test_where_it_does_not_fit_the_outer_ones_are_kept_and_the_rest_is_counted() -> None:
    many = [*FILE, *made(*((20 + n, 1, "function", f"def m{n}()") for n in range(90)))]
    assert outline(many, 42) == "3\tclass B\n9\tdef d()\n(92 more definitions)"
    assert outline(many, 52) == "1\tA = 1\n3\tclass B\n9\tdef d()\n(91 more definitions)"
    assert outline(many, 20) == ""


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.text(max_size=30))), st.integers(0, 900))
def test_it_never_takes_more_than_its_room(entries: list[tuple[int, str]], room: int) -> None:
    definitions = made(*((n, depth, "class", t) for n, (depth, t) in enumerate(entries)))
    assert len(outline(definitions, room)) <= room
