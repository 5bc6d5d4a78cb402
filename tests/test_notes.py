from __future__ import annotations

import pytest

from glmcode.core.events import Waiting
from glmcode.notes import Notes


def waits(notes: Notes, seconds: range, percent: bool) -> None:
    for second in seconds:
        share = 100.0 * second / 60 if percent else None
        left = 60.0 - second if percent else None
        notes.event(Waiting(seconds=float(second), prompt_tokens=9_000, percent=share, eta_s=left))


def test_how_far_a_prompt_is_is_said_now_and_then_and_more_often_with_verbose(
    capfd: pytest.CaptureFixture[str],
) -> None:
    waits(Notes(verbose=False), range(2, 31), percent=True)
    lines = capfd.readouterr().err.splitlines()
    assert lines[1] == (
        "waiting for the engine: 20 s (9,000 tokens), 33 % computed, about 40 s left"
    )
    assert len(lines) == 3
    waits(Notes(verbose=True), range(2, 31), percent=True)
    assert len(capfd.readouterr().err.splitlines()) == 10
    waits(Notes(verbose=True), range(2, 31), percent=False)
    lines = capfd.readouterr().err.splitlines()
    assert lines[0] == "waiting for the engine: 10 s (9,000 tokens)" and len(lines) == 3


def test_a_new_silence_is_counted_from_its_beginning(capfd: pytest.CaptureFixture[str]) -> None:
    notes = Notes(verbose=False)
    waits(notes, range(2, 12), percent=False)
    waits(notes, range(2, 12), percent=False)
    assert len(capfd.readouterr().err.splitlines()) == 2
