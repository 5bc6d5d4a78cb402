from __future__ import annotations

import json
import math

import pytest

from glmcode.base.duration import about, left
from glmcode.core.events import EngineProgress, Event, Queued, Waiting, Warming
from glmcode.engine.lane import Place, read_place
from glmcode.engine.state import EngineStatus, describe, queue_lines
from glmcode.repl.status import progress_text, queue_text, waiting_text
from glmcode.waits import Waits, queued_text, silence_text

AHEAD = (("scripted", "scripted run in ~/proj", 40.0, True),)


def lines(waits: Waits, *events: tuple[float, Event]) -> list[str]:
    return [line for now, event in events if (line := waits.line(event, now))]


def quiet() -> Waits:
    return Waits(eager=False, detail=True)


def test_a_phase_is_told_when_it_begins_and_every_ten_seconds_but_not_each_file_of_it() -> None:
    events = [
        (100.0 + n / 10, EngineProgress(phase=f"loading weights ({n // 10}/47)", percent=n / 4))
        for n in range(250)
    ]
    told = lines(quiet(), (100.0, EngineProgress(phase="importing vLLM")), *events)
    assert told[0] == "engine: importing vLLM"
    assert told[1:] == [f"engine: loading weights ({n}/47) {2.5 * n:.0f} %" for n in (0, 10, 20)]


def test_a_place_is_told_after_two_seconds_when_it_changes_and_every_ten() -> None:
    def at(second: float, position: int = 2) -> tuple[float, Event]:
        return 50 + second, Queued(position=position, seconds=second, eta_s=9.4, ahead=AHEAD)

    told = lines(quiet(), *[at(n / 2) for n in range(50)])
    assert told[0] == (
        "queue: 2nd after the scripted run in ~/proj (for 40 s), about 9 s left; waiting for 2 s"
    )
    assert len(told) == 3
    told = lines(quiet(), at(0), at(1), at(2), at(3), at(3.5, 1), at(4), at(4.5, 1), at(7, 1))
    assert [line[7:10] for line in told] == ["2nd", "1st"]
    assert lines(quiet(), at(0), at(1), (53, Waiting(seconds=0.0, prompt_tokens=9))) == []


def test_who_wants_to_know_is_told_each_change_at_once() -> None:
    waits = Waits(eager=True, detail=True)
    events: list[tuple[float, Event]] = [
        (n / 10, Queued(position=3 - n // 10, seconds=n / 10)) for n in range(30)
    ]
    assert [line[7:10] for line in lines(waits, *events)] == ["3rd", "2nd", "1st"]


def test_each_wait_in_the_queue_is_told_anew() -> None:
    waits = quiet()
    place = Queued(position=1, seconds=3.0, ahead=AHEAD)
    silence = Waiting(seconds=0.0, prompt_tokens=9)
    assert len(lines(waits, (10, place), (11, silence), (12, place), (13, place))) == 2


def test_how_far_a_prompt_is_is_told_after_two_seconds_and_every_ten() -> None:
    def at(second: int) -> tuple[float, Event]:
        return second, Waiting(
            seconds=second, prompt_tokens=9_000, percent=2.0 * second, eta_s=50.0 - second,
            estimated=True,
        )  # fmt: skip

    told = lines(quiet(), *map(at, range(25)))
    assert told[0] == "waiting for the engine: 2 s (9,000 tokens), ~4 % computed, about 48 s left"
    assert [line[24:27].split()[0] for line in told] == ["2", "12", "22"]
    assert lines(Waits(eager=False, detail=False), *map(at, range(9))) == []


def test_a_silence_of_which_nothing_is_known_is_told_every_ten_seconds() -> None:
    told = lines(quiet(), *[(n, Waiting(seconds=n, prompt_tokens=0)) for n in range(25)])
    assert told == [f"waiting for the engine: {n} s" for n in (10, 20)]


def test_warming_is_told_once() -> None:
    assert lines(quiet(), (1, Warming(tokens=5_000)), (2, Warming(tokens=0))) == [
        "ready, warming 5,000 tokens"
    ]


@pytest.mark.parametrize("seconds", [None, math.nan, math.inf, -math.inf, -3.0, 0.0, 0.4, 1e9])
def test_seconds_that_mean_nothing_are_written_nowhere(seconds: float | None) -> None:
    assert about(seconds) == left(seconds) == ""
    queued = Queued(position=1, seconds=3.0, eta_s=seconds, ahead=AHEAD)
    waiting = Waiting(seconds=3.0, prompt_tokens=9_000, percent=4.0, eta_s=seconds)
    progress = EngineProgress(phase="loading weights", percent=4.0, eta_s=seconds)
    status = EngineStatus(
        state="starting", profile="p", phase="loading weights", eta_s=seconds,
        waiting=({"position": 1, "label": "x", "class": "hook", "since": 99.0, "eta_s": seconds},),
    )  # fmt: skip
    texts = [
        queued_text(queued), queue_text(queued), silence_text(waiting, detail=True),
        waiting_text(waiting), progress_text(progress), describe(status),
        *queue_lines(status, 100.0),
        Place(position=1, ahead=(), eta_s=seconds, seconds=3.0).words(),
    ]  # fmt: skip
    for text in texts:
        assert not any(word in text for word in ("about", "left", "nan", "inf", "-"))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.5, "about 1 s"), (1.2, "about 1 s"), (119.4, "about 119 s"), (120, "about 2 min"),
     (7_100, "about 118 min"), (7_200, "about 2.0 h"), (90_000, "about 25.0 h")],
)  # fmt: skip
def test_seconds_are_written_in_the_unit_that_people_think_in(seconds: float, text: str) -> None:
    assert about(seconds) == text


@pytest.mark.parametrize(
    ("key", "value"),
    [("eta_s", math.inf), ("eta_s", -3), ("eta_s", math.nan), ("seconds", math.inf),
     ("seconds", -1), ("seconds", None), ("ahead", [["hook", "x", math.nan, True]]),
     ("ahead", [["hook", "x", -5, True]]), ("position", math.inf), ("eta_s", "soon")],
)  # fmt: skip
def test_a_place_with_figures_that_are_none_is_not_taken(key: str, value: object) -> None:
    said = {"position": 1, "eta_s": 3.0, "seconds": 2.0, "ahead": [["hook", "x", 4.0, True]]}
    assert read_place(json.dumps(said)) is not None
    assert read_place(json.dumps({**said, key: value})) is None


def test_a_guess_is_marked_as_one() -> None:
    guess = Waiting(seconds=3.0, prompt_tokens=9_000, percent=43.2, eta_s=81.4, estimated=True)
    assert waiting_text(guess) == "prompt of 9,000 tokens: ~43 %, about 81 s left"
    only = Waiting(seconds=3.0, prompt_tokens=9_000, eta_s=81.4)
    assert waiting_text(only) == "prompt of 9,000 tokens: about 81 s left"
