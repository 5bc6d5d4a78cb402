from __future__ import annotations

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from glmcode.context.ranking import Ranked
from glmcode.context.rendering import render
from glmcode.context.tags import Definition


@st.composite
def files(draw: st.DrawFn) -> list[Ranked]:
    made = []
    for number in range(draw(st.integers(0, 6))):
        definitions, depth = [], -1
        for at in range(draw(st.integers(0, 12))):
            depth = draw(st.integers(0, depth + 1))
            words = draw(st.text(min_size=1, max_size=40)).replace("\n", " ")
            name = draw(st.sampled_from(["", f"n{at}"]))
            definitions.append(Definition(at + 1, at + 1, depth, "function", name, words))
        scores = tuple(draw(st.floats(0, 1)) for _ in definitions)
        made.append(Ranked(f"folder/file_{number}.py", tuple(definitions), scores, 0.1))
    return made


COUNTERS = [
    len,
    lambda text: math.ceil(len(text.encode("utf-8", "replace")) / 3),
    lambda text: len(text.split()),
    lambda text: text.count("\n") + 1 if text else 0,
    lambda text: len(text) ** 2,
]


@settings(max_examples=300, deadline=None)
@given(files(), st.integers(0, 3_000), st.sampled_from(COUNTERS))
def test_no_budget_is_ever_exceeded(ranked: list[Ranked], budget: int, count: object) -> None:
    assert callable(count)
    text = render(ranked, budget, count)
    assert count(text) <= budget or text == ""


@settings(max_examples=200, deadline=None)
@given(files())
def test_a_budget_that_is_large_enough_shows_every_definition_with_a_name(
    ranked: list[Ranked],
) -> None:
    lines = render(ranked, 10**9, len).split("\n")
    named = sum(bool(d.name) for file in ranked for d in file.definitions)
    shown = [line for line in lines if line.startswith(" ")]
    assert len(shown) >= named
    for file in ranked:
        wanted = not file.definitions or any(d.name for d in file.definitions)
        assert (file.path in lines) is wanted


def test_the_best_fit_is_as_large_as_the_budget_allows() -> None:
    definitions = tuple(Definition(n, n, 0, "function", f"f{n}", f"def f{n}()") for n in range(900))
    scores = tuple(1.0 / (1 + n) for n in range(900))
    ranked = [Ranked("a.py", definitions, scores, 1.0)]
    for budget in (16, 17, 100, 1_000, 5_000, 9_999):
        text = render(ranked, budget, len)
        shown = text.count("\n")
        assert len(text) <= budget
        more = len(f"\n def f{shown}()")
        assert len(text) + more > budget
        assert text.split("\n")[1:] == [f" def f{n}()" for n in range(shown)]


def test_a_nested_definition_brings_what_it_stands_in() -> None:
    definitions = (
        Definition(1, 9, 0, "class", "Outer", "class Outer"),
        Definition(2, 3, 1, "function", "low", "def low()"),
        Definition(4, 5, 1, "function", "high", "def high()"),
        Definition(11, 12, 0, "function", "last", "def last()"),
    )
    ranked = [Ranked("a.py", definitions, (0.0, 0.1, 0.9, 0.05), 1.0)]
    assert render(ranked, 32, len) == "a.py\n class Outer\n  def high()"


def test_a_path_of_any_bytes_stays_on_its_line() -> None:
    name = "a\nb\udcff\x1b[31m.py"
    ranked = [Ranked(name, (Definition(1, 1, 0, "class", "A", "class A"),), (1.0,), 1.0)]
    assert render(ranked, 100, len) == "a?b??[31m.py\n class A"
