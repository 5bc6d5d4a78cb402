from __future__ import annotations

import pytest

from tests.engine.chaos_kit import Chaos
from tests.engine.engine_kit import Home


@pytest.mark.parametrize("seed", [1, 2])
def test_after_random_operations_every_request_has_an_end_and_nothing_is_left(
    home: Home, seed: int
) -> None:
    home.profile("fake", "--gap", "0.01", "--workers", "1")
    chaos = Chaos(home, seed)
    chaos.run(60)
    chaos.finish()
    # How many are answered before a kill is a matter of time; none at all would prove nothing.
    assert chaos.ends["answered"], (chaos.ends, chaos.reasons)
