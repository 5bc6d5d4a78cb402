"""Five front ends at once on a machine without an engine, with the real vLLM."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from glmcode.engine.paths import engine_paths
from tests import five_kit
from tests.conftest import START_LIMIT_S, end_engines, tiny_home
from tests.repl import pty_driver
from tests.repl.pty_driver import PtySession

STATUS_S = 0.150


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="glm-soak-"))
    monkeypatch.setenv("GLMCODE_HOME", str(folder / "home"))
    monkeypatch.setattr(pty_driver, "PATIENCE_S", START_LIMIT_S)
    tiny_home(folder / "home")
    try:
        yield folder / "home"
    finally:
        end_engines(folder)
        shutil.rmtree(folder, ignore_errors=True)


def while_it_starts() -> None:
    took = five_kit.median(five_kit.statuses_while_it_starts("tiny"))
    print(f"status: {took}", flush=True)
    assert took.processor < STATUS_S


def answered(session: PtySession) -> bool:
    """Below the prompt stands something, and it is ready for the next."""
    below = re.search(r"> hello, this is terminal \d\n+\S", session.screen.text)
    return below is not None and "ready" in session.screen.visible


def test_five_terminals_are_one_engine_and_five_answers(home: Path) -> None:
    for text in five_kit.five_terminals(home, "tiny", answered, while_it_starts):
        assert "Traceback" not in text and "engine failed" not in text
        print(text, flush=True)
    assert engine_paths("tiny").supervisor_log.read_text() == ""


def test_five_headless_runs_are_one_engine_and_five_answers(home: Path) -> None:
    for code, out, err in five_kit.five_runs(home, "tiny", while_it_starts):
        # A greeting is nothing the tiny model learned: it may repeat itself until it is ended.
        assert (code == 0 and out.strip()) or "glmcode: the model " in err, err
    assert engine_paths("tiny").supervisor_log.read_text() == ""
