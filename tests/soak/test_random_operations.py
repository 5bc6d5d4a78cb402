"""A thousand random operations against the supervisor with a fake engine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.engine.chaos_kit import Chaos
from tests.engine.engine_kit import Home, new_home

OPERATIONS = 1000


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    with new_home(monkeypatch) as made:
        yield made


def test_a_thousand_random_operations_lose_no_request_and_leave_nothing(home: Home) -> None:
    home.profile("fake", "--gap", "0.01", "--workers", "1")
    chaos = Chaos(home, 4)
    chaos.run(OPERATIONS)
    chaos.finish()
    print(dict(chaos.ends), chaos.most_engines)
    for reason, count in chaos.reasons.most_common():
        print(f"{count:4} {reason}")
    assert chaos.ends["answered"] > OPERATIONS // 20, chaos.ends
