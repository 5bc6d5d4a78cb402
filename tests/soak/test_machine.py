"""Hours of random interactions at the terminal (see tests/repl/machine.py)."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.repl.machine import Machine

ROUNDS = 40
FIRST = random.randrange(10**6)


@pytest.mark.parametrize("seed", range(FIRST, FIRST + ROUNDS))
def test_random_interactions_lose_nothing_and_leave_the_terminal_as_it_was(
    tmp_path: Path, seed: int
) -> None:
    print(f"again: python -m tests.repl.machine {seed}")
    Machine(tmp_path, seed).run(100)
