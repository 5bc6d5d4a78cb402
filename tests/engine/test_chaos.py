from __future__ import annotations

import pytest

from tests.engine.chaos_kit import OPTIONS, Chaos
from tests.engine.client_kit import TOKENIZER
from tests.engine.engine_kit import Home


@pytest.mark.parametrize("seed", [1, 2])
def test_after_random_operations_every_request_has_an_end_and_nothing_is_left(
    home: Home, seed: int
) -> None:
    keys = {"tokenizer": str(TOKENIZER), "protocol": "tokens", "map": False, "step_cap": 5}
    home.profile("fake", *OPTIONS, **keys)
    chaos = Chaos(home, seed)
    chaos.run(60)
    chaos.finish()
    # How many are answered before a kill is a matter of time; none at all would prove nothing.
    assert chaos.ends["answered"], (chaos.ends, chaos.reasons)
    assert chaos.eye.seen["moments"], "the queue was looked at"
