from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.engine_kit import Home


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    """A GLMCODE_HOME of its own; whatever runs in it is ended with the test."""
    folder = Path(tempfile.mkdtemp(prefix="glm-"))
    monkeypatch.setenv("GLMCODE_HOME", str(folder))
    monkeypatch.delenv("GLMCODE_ENGINE__PROFILE", raising=False)
    made = Home(folder)
    try:
        yield made
    finally:
        made.close()
        shutil.rmtree(folder, ignore_errors=True)
