from __future__ import annotations

from pathlib import Path

from tests.repl.machine import Machine

SEED = 5
"""One that suspends, kills the engine, pastes much and is hung up; `make soak` rolls the dice."""


def test_a_hundred_random_interactions_lose_nothing_and_leave_the_terminal_as_it_was(
    tmp_path: Path,
) -> None:
    Machine(tmp_path, SEED).run(100)
