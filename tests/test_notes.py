from __future__ import annotations

import os
import pty

import pytest

from glmcode.core.events import Waiting
from glmcode.notes import Notes


def waits(notes: Notes, seconds: range, percent: bool) -> None:
    for second in seconds:
        share = 100.0 * second / 60 if percent else None
        left = 60.0 - second if percent else None
        notes.event(Waiting(seconds=float(second), prompt_tokens=9_000, percent=share, eta_s=left))


def test_how_far_a_prompt_is_is_said_with_verbose_and_else_only_that_it_takes_long(
    capfd: pytest.CaptureFixture[str],
) -> None:
    waits(Notes(verbose=False), range(2, 31), percent=True)
    lines = capfd.readouterr().err.splitlines()
    assert lines == [f"waiting for the engine: {n} s (9,000 tokens)" for n in (10, 20, 30)]
    waits(Notes(verbose=True), range(2, 31), percent=True)
    lines = capfd.readouterr().err.splitlines()
    assert lines[6] == (
        "waiting for the engine: 20 s (9,000 tokens), 33 % computed, about 40 s left"
    )
    assert len(lines) == 10
    waits(Notes(verbose=True), range(2, 31), percent=False)
    lines = capfd.readouterr().err.splitlines()
    assert lines[0] == "waiting for the engine: 10 s (9,000 tokens)" and len(lines) == 3


def test_on_a_terminal_how_far_a_prompt_is_is_said_now_and_then() -> None:
    ours, theirs = pty.openpty()
    was = os.dup(2)
    try:
        os.dup2(theirs, 2)
        waits(Notes(verbose=False), range(2, 31), percent=True)
    finally:
        os.dup2(was, 2)
    lines = os.read(ours, 9_000).decode().splitlines()
    for descriptor in (ours, theirs, was):
        os.close(descriptor)
    assert [line.partition(" s (")[0] for line in lines] == [
        f"waiting for the engine: {n}" for n in (2, 12, 22)
    ]
    assert lines[1].endswith("20 % computed, about 48 s left")


def test_a_new_silence_is_counted_from_its_beginning(capfd: pytest.CaptureFixture[str]) -> None:
    notes = Notes(verbose=False)
    waits(notes, range(2, 12), percent=False)
    waits(notes, range(2, 12), percent=False)
    assert len(capfd.readouterr().err.splitlines()) == 2
