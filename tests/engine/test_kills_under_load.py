from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from tests.engine.client_kit import TOKENIZER
from tests.engine.engine_kit import Home
from tests.engine.load_kit import Load, Victim, doubled

ROUNDS = 1
STOP_S = 3.0


@pytest.fixture
def load(home: Home) -> Iterator[Load]:
    options = ("--gap", "0.01", "--prefill", "0.02", "--workers", "2")
    home.profile("fake", *options, tokenizer=str(TOKENIZER), protocol="tokens")
    Load.core_is_vital = False  # the fake engine does not need its workers
    made = Load("fake", 3, 60.0, random.Random(f"{random.random()}"))
    try:
        made.all_go_on(0.0)
        yield made
    finally:
        made.abandon()


def test_whatever_is_killed_under_load_each_request_is_answered_once_and_nothing_is_left(
    home: Home, load: Load
) -> None:
    victims: tuple[Victim, ...] = ("supervisor", "server", "core", "front end")
    for victim in victims * ROUNDS:
        load.kill(victim)
    counts = load.close()
    load.nothing_is_left()
    assert home.living() == []
    assert counts["failed"] > 0 and counts["answered"] > 8 * ROUNDS
    assert doubled(home.noted()) == []


def test_while_one_front_end_is_stopped_the_others_go_on(home: Home, load: Load) -> None:
    assert load.stop_one(STOP_S) > 6
    load.close()
    load.nothing_is_left()
    assert home.living() == []
    assert doubled(home.noted()) == []
