"""Long campaigns, run by `make soak` (`pytest tests/soak`) and never with the suite."""

from __future__ import annotations

from pathlib import Path

import pytest


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave these out unless they are asked for by name."""
    return None if any("soak" in argument for argument in config.args) else True
