from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.engine.engine_kit import Home, new_home


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    with new_home(monkeypatch) as made:
        yield made
