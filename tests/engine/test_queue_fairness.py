from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from typing import Any

import pytest

from glmcode.engine.queue import AGE_S, FAIR_S, PATIENCE_S
from tests.engine.queue_kit import Machine, User, sessions

SHORT_S = 4.0
"""What a request of the scripts below takes, about."""


def new_runs(stem: str = "script", **fields: Any) -> Callable[[], User]:
    """A loop in a shell: each run asks once and ends, and the next one begins."""
    numbers = itertools.count()

    def one() -> User:
        given: dict[str, Any] = {"turns": 1, "tokens": 2_000, "answer": lambda: 90}
        return User(name=f"{stem} {next(numbers)}", follower=one, **(given | fields))

    return one


def waits(machine: Machine, name: str) -> list[float]:
    return machine.waits.get(name, [])


def test_scripts_in_a_loop_do_not_keep_an_old_run_of_their_class_waiting() -> None:
    machine = Machine()
    old = User(name="old", tokens=3_000, grows=10, thought=lambda: 7.0)
    machine.joins(old)
    loop = new_runs()
    for number in range(3):
        machine.joins(loop(), number * 0.5)
    machine.run(3600)
    # Of each of the three loops one may be before it, and it comes back long after its last step.
    assert len(waits(machine, "old")) > 150
    assert max(waits(machine, "old")) < 3 * SHORT_S + 1


def test_old_runs_that_come_back_do_not_keep_a_new_one_waiting() -> None:
    machine = Machine()
    for number in range(5):
        machine.joins(
            User(name=f"old {number}", tokens=3_000, grows=10, thought=lambda: 2.5), number
        )
    loop = new_runs()
    machine.joins(loop(), 60.0)
    machine.run(3600)
    new = [w for name, each in machine.waits.items() if name.startswith("script") for w in each]
    assert len(new) > 100
    assert max(new) < 5 * SHORT_S + 1


def test_runs_in_the_middle_of_a_turn_keep_a_new_one_waiting_for_a_bounded_time() -> None:
    machine = Machine()
    for number in range(3):
        machine.joins(User(name=f"busy {number}", tokens=3_000, grows=1, steps=lambda: 10**6))
    machine.joins(new_runs()(), 60.0)
    machine.run(3600)
    new = [w for name, each in machine.waits.items() if name.startswith("script") for w in each]
    assert len(new) > 60
    assert max(new) < FAIR_S + 4 * SHORT_S + 1


def test_each_of_two_equal_streams_gets_its_half() -> None:
    machine = Machine()
    machine.joins(User(name="old", tokens=3_000, grows=1, thought=lambda: 2.5))
    machine.joins(new_runs()())
    machine.run(3600)
    share = len(waits(machine, "old")) / len(machine.served)
    assert 0.4 < share < 0.6


def test_a_loop_of_runs_inside_a_session_does_not_keep_other_sessions_waiting_for_ever() -> None:
    machine = Machine()
    parent = User(name="parent", kind="interactive", steps=lambda: 10**6, work=lambda: 600.0)
    machine.joins(parent)
    loop = new_runs("inner", kind="scripted", parents=("parent",))
    for _ in range(2):
        machine.joins(loop(), 15.0)
    other = User(name="other", kind="interactive", tokens=3_000, grows=1, thought=lambda: 5.0)
    machine.joins(other, 30.0)
    machine.run(580.0)
    assert waits(machine, "other"), "it is served while the loop goes on"
    assert max(waits(machine, "other")) < PATIENCE_S + SHORT_S
    # Once the inner runs had their time together, they are runs like others.
    late = waits(machine, "other")[len(waits(machine, "other")) // 2 :]
    assert max(late) < 3 * SHORT_S + 1


@pytest.mark.parametrize("kind", ["scripted", "hook", "background"])
def test_no_class_starves_however_many_people_ask(kind: str) -> None:
    machine = Machine()
    for number in range(4):
        machine.joins(
            User(name=f"person {number}", kind="interactive", grows=1, thought=lambda: 2.5)
        )
    machine.joins(User(name="low", kind=kind, tokens=3_000, grows=1))  # type: ignore[arg-type]
    machine.run(3600)
    assert len(waits(machine, "low")) > 5
    assert max(waits(machine, "low")) < 3 * AGE_S + 5 * SHORT_S


@pytest.mark.parametrize("seed", range(6))
def test_whoever_asks_in_a_mixed_crowd_is_served_in_the_end(seed: int) -> None:
    chance = random.Random(seed)
    machine = Machine(150_000)
    machine.queue.pool = 150_000
    for user in sessions(chance, 3, chance.choice([20_000, 60_000, 90_000]), tells=seed % 2 == 0):
        machine.joins(user)
    for kind in ("scripted", "hook", "background"):
        loop = new_runs(kind, kind=kind, tokens=chance.choice([2_000, 60_000]))
        machine.joins(loop(), chance.uniform(0, 60))
    machine.run(4 * 3600)
    for ticket in machine.queue.waiting:
        machine.waits.setdefault(ticket.lane.run, []).append(machine.now - ticket.entered)
    # Six at once: nobody waits for more than each of the others' time, whatever it costs.
    assert max(w for each in machine.waits.values() for w in each) < 2 * 3600
    for kind in ("scripted", "hook", "background"):
        assert sum(name.startswith(kind) for name in machine.served) > 3


def measured(tokens: int, eye: bool, tells: bool, count: int = 2) -> Machine:
    machine = Machine(200_000)
    machine.queue.pool = 200_000 if eye else 0
    for user in sessions(random.Random(7), count, tokens, tells=tells):
        machine.joins(user)
    machine.run(3 * 3600)
    return machine


@pytest.mark.parametrize(("count", "tokens"), [(2, 110_000), (3, 80_000), (4, 110_000)])
def test_contexts_that_do_not_fit_together_change_places_at_the_ends_of_turns(
    count: int, tokens: int
) -> None:
    blind, turns = measured(tokens, False, True, count), measured(tokens, True, True, count)
    again = [machine.twice / machine.steps for machine in (blind, turns)]
    assert again[1] < again[0] / 3, "most of what was computed twice is not any more"
    assert turns.steps > 2 * blind.steps


def test_a_turn_whose_end_is_told_is_not_given_up_for_a_command_of_some_seconds() -> None:
    guessed, told = measured(110_000, True, False), measured(110_000, True, True)
    assert told.twice / told.steps < 0.7 * guessed.twice / guessed.steps
    assert told.steps > 1.2 * guessed.steps


def test_contexts_that_fit_together_cost_nobody_anything() -> None:
    blind, turns = measured(60_000, False, True), measured(60_000, True, True)
    assert turns.steps == blind.steps and turns.idle == blind.idle
