"""A short slice of the mutation run, and a check that every entry still fits its line."""

from __future__ import annotations

import pytest

from tests.mutations import MUTATIONS, ROOT, survives

QUICK = ("calls after a rejected one do not run", "deny wins over bypassPermissions")


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: m.name)
def test_every_mutation_names_a_line_that_stands_once(mutation: object) -> None:
    text = (ROOT / mutation.file).read_text(encoding="utf-8")  # type: ignore[attr-defined]
    assert text.count(mutation.old) == 1  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", QUICK)
def test_a_flipped_line_turns_a_test_red(name: str) -> None:
    assert not survives(next(m for m in MUTATIONS if m.name == name))
