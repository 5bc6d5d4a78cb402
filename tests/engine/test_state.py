from __future__ import annotations

import pytest

from glmcode.engine.state import EngineStatus, describe, status_from_json


def test_a_status_survives_its_json_form() -> None:
    status = EngineStatus(
        state="failed", profile="tiny", reason="it died", kind="crash", log=("a", "b"), window=9
    )
    assert status_from_json(status.to_json()) == status


def test_a_newer_status_is_read_as_far_as_it_is_known() -> None:
    value = {"state": "ready", "profile": "x", "mood": "good", "window": 5}
    assert status_from_json(value) == EngineStatus(state="ready", profile="x", window=5)
    with pytest.raises(KeyError):
        status_from_json({"window": 5})


@pytest.mark.parametrize(
    ("status", "line"),
    [
        (EngineStatus(state="absent", profile="x"), "absent"),
        (
            EngineStatus(
                state="starting", profile="x", phase="loading weights", percent=42.0, eta_s=9.6
            ),
            "starting: loading weights, 42 %, about 10 s left",
        ),
        (
            EngineStatus(state="starting", profile="x", phase="importing vLLM"),
            "starting: importing vLLM",
        ),
        (
            EngineStatus(state="ready", profile="x", model="m", window=202752, card_window=202752),
            "ready: m, window 202,752 tokens",
        ),
        (
            EngineStatus(
                state="busy",
                profile="x",
                model="m",
                window=158000,
                card_window=202752,
                requests=1,
            ),
            "busy: m, window 158,000 of 202,752 (what the GPUs' memory allows) tokens, "
            "1 request(s) running",
        ),
        (EngineStatus(state="failed", profile="x", reason="it died"), "failed: it died"),
    ],
)
def test_a_person_reads_one_line(status: EngineStatus, line: str) -> None:
    assert describe(status) == line
