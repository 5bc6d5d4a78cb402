from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glmcode.engine.lane import (
    CLASSES,
    Lane,
    Place,
    QueueClass,
    inside,
    new_lane,
    ordinal,
    read_lane,
    read_place,
)
from glmcode.engine.queue import (
    AGE_S,
    FAIR_S,
    HOLD_S,
    LONG_S,
    MOST_BREAKS,
    NESTED_S,
    OWN_S,
    PATIENCE_S,
    Queue,
)
from glmcode.engine.tenure import NEXT_S, PAYS, TENURE_S, TURN_S
from glmcode.engine.ticket import Ticket


class Time:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def ours(run: str, kind: QueueClass = "scripted", *parents: str) -> Lane:
    return Lane(kind=kind, run=run, parents=parents, label=run, ours=True)


def stranger(run: str) -> Lane:
    return Lane(run=run, label=run)


class Case:
    """A queue with a clock that a test moves."""

    def __init__(self, seats: int = 1, pool: int = 0) -> None:
        self.time = Time()
        self.queue = Queue(seats=seats, pool=pool, clock=self.time)

    def enter(self, lane: Lane, tokens: int = 0) -> Ticket:
        return self.queue.enter(lane, tokens)

    def served(self) -> str:
        """Whom the engine is given to now; "" for nobody."""
        ticket = self.queue.next()
        return ticket.lane.run if ticket else ""

    def done(self, after: float = 0.0) -> None:
        """The running request ends."""
        self.time.now += after
        self.queue.leave(self.queue.running[0])


def test_classes_go_in_their_order() -> None:
    case = Case()
    for kind in reversed(CLASSES):
        case.enter(replace(stranger(kind), kind=kind))
    seen = []
    while run := case.served():
        seen.append(run)
        case.done()
    assert seen == list(CLASSES)


def test_as_many_are_served_at_once_as_there_are_seats() -> None:
    case = Case(seats=2)
    for run in "abc":
        case.enter(stranger(run))
    assert [case.served() for _ in range(3)] == ["a", "b", ""]


def test_runs_of_one_class_take_turns_however_many_requests_one_of_them_sends() -> None:
    case = Case()
    for _ in range(4):
        case.enter(stranger("greedy"))
    case.enter(stranger("modest"))
    case.enter(stranger("other"))
    seen = []
    while run := case.served():
        seen.append(run)
        case.done(1.0)
    assert seen == ["greedy", "modest", "other", "greedy", "greedy", "greedy"]


def test_many_connections_of_one_program_never_make_a_newcomer_wait_for_all_of_them() -> None:
    case = Case()
    for _ in range(100):
        case.enter(stranger("greedy"))
    assert case.served() == "greedy"
    for _ in range(50):
        case.done(5.0)
        assert case.served() == "greedy"
    case.enter(stranger("late"))
    case.done(5.0)
    assert case.served() == "late"


def test_the_next_step_of_the_one_just_served_goes_before_its_equals() -> None:
    case = Case()
    case.enter(ours("a"))
    assert case.served() == "a"
    case.enter(ours("b"))
    case.done(1.0)
    assert case.served() == "", "the engine is kept for the next step of a"
    assert case.queue.wake_in() == pytest.approx(HOLD_S)
    case.time.now += HOLD_S / 2
    case.enter(ours("a"))
    assert case.served() == "a"


def test_the_engine_is_not_kept_long_for_a_next_step_that_does_not_come() -> None:
    case = Case()
    case.enter(ours("a"))
    case.served()
    case.enter(ours("b"))
    case.done(1.0)
    case.time.now += HOLD_S + 0.01
    assert case.served() == "b"


def test_it_is_not_kept_for_a_run_that_has_ended_nor_from_a_more_urgent_one() -> None:
    case = Case()
    case.enter(ours("a"))
    case.served()
    case.enter(ours("b"))
    case.done(1.0)
    case.queue.gone("a")
    assert case.served() == "b"
    case.done(1.0)
    case.enter(ours("person", "interactive"))
    assert case.served() == "person"


def test_a_run_that_goes_on_and_on_does_not_keep_its_equals_from_the_engine() -> None:
    case = Case()
    case.enter(ours("a"))
    case.served()
    case.enter(ours("b"))
    waited = 0.0
    while True:
        case.done(1.0)
        waited += 1.0
        case.enter(ours("a"))
        if case.served() == "b":
            break
        assert waited < FAIR_S + 2
    assert waited > FAIR_S - 2, "and it had the engine for a whole turn before"


def test_where_two_contexts_do_not_fit_the_cache_the_engine_is_kept_longer() -> None:
    case = Case(pool=100_000)
    case.enter(ours("a"), 70_000)
    case.served()
    case.enter(ours("b"), 60_000)
    case.done(1.0)
    case.time.now += HOLD_S + 0.1
    assert case.served() == ""
    case.time.now += NEXT_S
    assert case.served() == "b"


def told(run: str, kind: QueueClass = "scripted", *parents: str) -> Lane:
    return replace(ours(run, kind, *parents), turns=True)


def in_a_turn(case: Case, tokens: int = 70_000, took: float = 1.0) -> None:
    """A run that says when its turn is over is in the middle of one, and runs a command."""
    case.enter(told("a"), tokens)
    assert case.served() == "a"
    case.done(took)


def test_a_turn_whose_end_is_told_keeps_a_context_out_that_does_not_fit_beside_it() -> None:
    case = Case(pool=100_000)
    in_a_turn(case)
    case.enter(told("b"), 60_000)
    case.time.now += TURN_S - 1
    assert case.served() == "" and case.queue.wake_in() == pytest.approx(1.0)
    case.enter(told("a"), 71_000)
    assert case.served() == "a", "though the other one came before it and long after its last step"
    case.done(1.0)
    case.queue.over("a")
    assert case.served() == "b"


def test_one_that_waits_for_the_end_of_a_turn_is_told_whose() -> None:
    case = Case(pool=100_000)
    in_a_turn(case)
    waits = case.enter(told("b"), 60_000)
    case.time.now += 3.0
    place = case.queue.place(waits)
    assert place.words() == "1st in the queue, after the a (for 3 s)"
    assert place.eta_s is None
    case.queue.over("a")
    assert case.queue.place(waits).words() == "1st in the queue"


def test_a_context_that_fits_beside_it_does_not_wait_for_it() -> None:
    case = Case(pool=100_000)
    in_a_turn(case)
    case.enter(told("b"), 30_000)
    case.enter(told("c"), 60_000)
    case.time.now += HOLD_S
    assert case.served() == "b"
    case.done(1.0)
    case.queue.over("b")
    assert case.served() == "", "the turn goes on all the same"


def test_while_one_is_kept_out_the_engine_serves_those_that_fit_though_less_urgent() -> None:
    case = Case(pool=100_000)
    in_a_turn(case)
    case.enter(told("b"), 60_000)
    hook = case.enter(ours("hook", "hook"), 20_000)
    case.time.now += HOLD_S
    assert case.queue.waiting_order()[0] is hook and case.served() == "hook"
    case.queue.over("a")
    case.done(1.0)
    case.queue.gone("hook")
    assert case.served() == "b"


def test_three_contexts_of_which_only_two_fit_do_not_change_places_at_every_step() -> None:
    case = Case(pool=100_000)
    for run in "ab":
        case.enter(told(run), 45_000)
        assert case.served() == run
        case.done(1.0)
        case.time.now += HOLD_S
    case.enter(told("c"), 45_000)
    case.enter(told("a"), 46_000)
    assert case.served() == "a"
    case.done(1.0)
    assert case.served() == ""
    case.queue.over("b")
    case.time.now += HOLD_S
    assert case.served() == "c"


def test_a_turn_that_goes_on_and_on_gives_its_place_in_the_cache_up_in_the_end() -> None:
    for took, limit in ((1.0, TENURE_S), (200.0, PAYS * 200.0)):
        case = Case(pool=100_000)
        in_a_turn(case, took=took)
        case.enter(told("b"), 60_000)
        began = case.time.now
        while case.time.now - began < 2 * limit:
            case.enter(told("a"), 70_000)
            if case.served() == "b":
                break
            case.done(1.0)
        assert limit <= case.time.now - began < limit + 3
        case.done(1.0)
        assert case.served() == "", "and now it is the other way round"


def test_a_turn_is_not_kept_from_one_that_is_more_urgent_nor_from_what_it_waits_for() -> None:
    for urgent in (told("person", "interactive"), told("hook", "hook", "a")):
        case = Case(pool=100_000)
        in_a_turn(case)
        case.enter(urgent, 60_000)
        assert case.served() == urgent.run
    case.done(1.0)
    case.queue.over("hook")
    case.enter(told("b"), 60_000)
    assert case.served() == "", "the turn that the hook was part of goes on"


def test_nothing_is_broken_off_for_one_that_would_have_to_wait_all_the_same() -> None:
    case = Case(pool=100_000)
    case.enter(told("a", "interactive"), 70_000)
    case.served()
    case.done(1.0)
    job = case.enter(told("job", "hook"), 10_000)
    case.time.now += HOLD_S
    assert case.served() == "job"
    case.enter(told("b", "interactive"), 60_000)
    assert case.queue.victim() is None
    case.enter(told("c", "interactive"), 10_000)
    assert case.queue.victim() is job


def test_the_end_of_a_turn_may_be_told_before_its_last_answer_is_done() -> None:
    case = Case(pool=100_000)
    case.enter(told("a"), 70_000)
    case.served()
    case.enter(told("b"), 60_000)
    case.time.now += 1.0
    case.queue.over("a")
    case.done()
    assert case.served() == "b"


def test_a_look_that_ends_beside_a_request_is_not_the_end_of_a_turn() -> None:
    case = Case(pool=100_000)
    case.enter(told("a"), 70_000)
    case.served()
    case.queue.gone("a")
    case.done(1.0)
    case.enter(told("b"), 60_000)
    assert case.served() == ""
    case.queue.gone("a")
    assert case.served() == "b"


def test_runs_come_in_turn_whether_or_not_they_were_served_before() -> None:
    case = Case()
    for run in ("old", "other"):
        case.enter(ours(run))
        case.served()
        case.done(1.0)
        case.queue.gone(run)
    case.time.now += NEXT_S + 1
    case.enter(ours("busy"))
    case.served()
    for run in ("old", "new", "other", "newer"):
        case.time.now += 0.1
        case.enter(ours(run))
    seen = []
    case.done(1.0)
    case.queue.gone("busy")
    while run := case.served():
        seen.append(run)
        case.done(1.0)
        case.queue.gone(run)
    assert seen == ["old", "new", "other", "newer"]


def test_a_nested_run_goes_before_the_equals_of_the_run_that_waits_for_it() -> None:
    case = Case()
    case.enter(ours("a", "interactive"))
    case.served()
    case.done(1.0)
    case.enter(ours("b", "interactive"))
    case.enter(ours("hook", "hook", "a"))
    assert case.served() == "hook"
    assert case.queue.victim() is None, "it is not broken off for an equal of its parent"


def test_a_nested_run_whose_parent_asks_itself_is_a_run_like_others() -> None:
    case = Case()
    case.enter(ours("a", "interactive"))
    case.served()
    case.enter(ours("b", "interactive"))
    case.enter(ours("child", "hook", "a"))
    case.queue.leave(case.queue.running[0])
    case.enter(ours("a", "interactive"))
    seen = []
    while run := case.served():
        seen.append(run)
        case.queue.gone(run)
        case.done(1.0)
        case.queue.gone(run)
    assert seen == ["a", "child", "b"], "the child goes first only once its parent waits for it"


def command(run: str, of: Lane, kind: QueueClass = "interactive") -> Lane:
    """What a sandboxed command of a run asks, which claims to be urgent."""
    return inside(ours(run, kind), of, f"{of.run}.{run}", ())


def test_a_sandboxed_command_is_nested_in_its_run_and_never_more_urgent() -> None:
    outer = ours("a", "hook", "o")
    liar = replace(ours("b", "interactive", "victim"), label="session in ~/work", within="victim")
    lane = inside(liar, outer, "a.0", ("a.1",))
    assert (lane.kind, lane.run, lane.within) == ("hook", "a.0", "a")
    assert lane.parents == ("o", "a", "a.1") and lane.label == "command of the a"
    assert inside(replace(liar, kind="background"), outer, "a.0", ()).kind == "background"
    assert "within" not in " ".join(lane.headers())
    assert read_lane(lane.headers(), Lane()).within == ""


def test_a_sandboxed_command_goes_first_while_its_run_waits_for_it() -> None:
    case, a = Case(), ours("a")
    case.enter(a)
    case.served()
    case.done(1.0)
    case.enter(ours("b"))
    case.enter(command("c", a))
    assert case.served() == "a.c"


def test_a_run_that_asks_goes_before_all_that_its_own_commands_ask() -> None:
    case, a = Case(), ours("a")
    for number in range(5):
        case.enter(command(str(number), a))
    case.enter(a)
    assert case.served() == "a"


def test_an_answer_of_a_command_gives_way_to_its_run_soon_and_to_others_after_long() -> None:
    case, a = Case(), ours("a", "interactive")
    case.enter(command("c", a))
    case.served()
    case.queue.running[0].breakable = False
    assert case.queue.wake_in() is None
    case.enter(ours("b", "interactive"))
    assert case.queue.wake_in() == pytest.approx(LONG_S) and case.queue.victim() is None
    case.time.now += 1.0
    case.enter(a)
    assert case.queue.wake_in() == pytest.approx(OWN_S)
    case.time.now += OWN_S - 0.1
    assert case.queue.victim() is None
    case.time.now += 0.1
    victim = case.queue.victim()
    assert victim is not None and victim.forced and victim.lane.run == "a.c"
    case.queue.back(victim)
    seen = []
    while run := case.served():
        seen.append(run)
        case.done(0.1)
        case.queue.gone(run)
    assert seen == ["b", "a", "a.c"], "it is not put at the head of its class"


def test_commands_of_one_run_do_not_push_each_other_out() -> None:
    case, a = Case(), ours("a")
    case.enter(command("c", a))
    case.served()
    case.enter(command("d", a))
    case.time.now += LONG_S
    assert case.queue.victim() is None and case.queue.wake_in() is None
    case.enter(ours("b"))
    case.time.now += PATIENCE_S + 0.1
    victim = case.queue.victim()
    assert victim is not None and victim.lane.run == "a.c"
    case.queue.leave(victim, broken=True)
    case.enter(command("c", a))
    case.enter(command("new", a))
    assert case.served() == "b", "new names and those who waited meanwhile are the same commands"


def test_an_answer_is_not_broken_off_for_one_that_would_not_go_before_it() -> None:
    case, a = Case(), ours("a", "interactive")
    case.enter(a)
    case.served()
    case.done(1.0)
    case.enter(command("c", a))
    assert case.served() == "a.c"
    case.queue.running[0].breakable = False
    case.enter(ours("b", "hook"))
    case.time.now += 2 * AGE_S - 1.0
    assert case.queue.victim() is None and (case.queue.wake_in() or 9.0) <= 1.0
    case.time.now += 1.1
    victim = case.queue.victim()
    assert victim is not None and victim.lane.run == "a.c"
    case.queue.leave(victim, broken=True)
    case.enter(command("c", a))
    assert case.served() == "b"


def test_what_a_session_left_running_in_the_background_does_not_stay_urgent() -> None:
    case = Case()
    case.enter(ours("a", "interactive"))
    case.served()
    case.done(1.0)
    case.time.now += NESTED_S
    case.enter(ours("left", "scripted", "a"))
    case.enter(ours("b", "interactive"))
    assert case.served() == "b"


def test_a_person_breaks_off_a_hook_and_background_work_and_nothing_else() -> None:
    for kind in CLASSES:
        case = Case()
        case.enter(ours("job", kind))
        case.served()
        case.enter(ours("person", "interactive"))
        victim = case.queue.victim()
        assert (victim is not None) == (kind in ("hook", "background"))


def test_background_work_gives_way_to_everybody() -> None:
    for kind in ("scripted", "hook"):
        case = Case()
        case.enter(ours("job", "background"))
        case.served()
        case.enter(ours("other", kind))
        assert case.queue.victim() is not None


def test_one_that_was_broken_off_comes_back_to_the_head_of_its_class() -> None:
    case = Case()
    first = case.enter(ours("job", "hook"))
    case.served()
    case.enter(ours("other", "hook"))
    case.time.now += FAIR_S + 1
    case.enter(ours("person", "interactive"))
    assert case.queue.victim() is first
    first.breaking = True
    case.queue.leave(first, broken=True)
    assert case.served() == "person"
    case.time.now += NEXT_S + 1
    case.enter(ours("job", "hook"))
    case.done()
    case.queue.gone("person")
    assert case.served() == "job", "however long the other one waited"


def test_it_is_broken_off_twice_and_no_more() -> None:
    case = Case()
    for count in range(MOST_BREAKS + 1):
        job = case.enter(ours("job", "hook"))
        assert case.served() == "job"
        person = case.enter(ours(f"person {count}", "interactive"))
        assert (case.queue.victim() is job) == (count < MOST_BREAKS)
        if count == MOST_BREAKS:
            break
        case.queue.leave(job, broken=True)
        assert case.served() == person.lane.run
        case.done()
        case.queue.gone(person.lane.run)
    case.queue.leave(job)
    case.served()
    case.done()
    case.queue.gone(person.lane.run)
    again = case.enter(ours("job", "hook"))
    assert case.served() == "job"
    case.enter(ours("person", "interactive"))
    assert case.queue.victim() is again, "its next request counts anew"


def test_of_two_at_the_engine_the_one_is_broken_off_that_was_not_twice_already() -> None:
    case = Case(seats=2)
    first = case.enter(ours("first", "hook"))
    second = case.enter(ours("second", "hook"))
    case.served()
    case.time.now += 1.0
    case.served()
    second.breaks = MOST_BREAKS
    case.enter(ours("person", "interactive"))
    assert case.queue.victim() is first, "though the other one has had the engine for less long"


def test_an_answer_that_was_seen_and_can_not_go_on_is_not_broken_off() -> None:
    case = Case()
    job = case.enter(ours("job", "hook"))
    case.served()
    job.breakable = False
    case.enter(ours("person", "interactive"))
    assert case.queue.victim() is None


def test_the_lowest_class_is_served_in_the_end_however_busy_the_others_are() -> None:
    case = Case()
    case.enter(ours("low", "background"))
    case.enter(ours("a", "interactive"))
    case.served()
    began = case.time.now
    for _ in range(1000):
        case.enter(ours("b", "interactive"))
        case.enter(ours("c", "interactive"))
        case.done(5.0)
        case.time.now += HOLD_S
        if case.served() == "low":
            break
    assert case.time.now - began < 4 * AGE_S


def test_a_place_is_told_with_who_is_ahead_and_how_long_it_will_take() -> None:
    case = Case()
    case.enter(ours("a"))
    case.served()
    case.done(10.0)
    case.queue.gone("a")
    case.enter(ours("b"))
    case.served()
    case.time.now += 4.0
    case.enter(ours("c"))
    last = case.enter(ours("d", "hook"))
    place = case.queue.place(last)
    assert place.position == 2
    assert [(a.label, a.running) for a in place.ahead] == [("b", True), ("c", False)]
    assert place.eta_s == 16.0
    assert place.words() == ("2nd in the queue, after the b (for 4 s) and 1 more, about 16 s left")


def test_no_time_is_promised_before_anything_was_measured() -> None:
    case = Case()
    case.enter(stranger("a"))
    case.served()
    assert case.queue.place(case.enter(stranger("b"))).eta_s is None


@pytest.mark.parametrize("took", [0.0, 0.001, -5.0, 1e9, float("nan")])
def test_what_is_no_measure_of_an_answer_promises_nothing(took: float) -> None:
    case = Case()
    case.enter(stranger("a"))
    case.served()
    case.done(took)
    case.time.now = 100.0
    case.enter(stranger("b"))
    case.served()
    assert case.queue.place(case.enter(stranger("c"))).eta_s is None


def test_one_that_was_not_answered_is_no_measure() -> None:
    case = Case()
    for answered, took in ((True, 20.0), (False, 0.5)):
        ticket = case.enter(stranger("a"))
        case.served()
        case.time.now += took
        case.queue.leave(ticket, answered=answered)
    case.enter(stranger("b"))
    case.served()
    assert case.queue.place(case.enter(stranger("c"))).eta_s == 20.0


def test_background_work_is_no_measure_for_anybody_else() -> None:
    case = Case()
    case.enter(replace(stranger("a"), kind="background"))
    case.served()
    case.done(1.0)
    case.enter(stranger("b"))
    case.served()
    assert case.queue.place(case.enter(stranger("c"))).eta_s is None


def test_one_that_goes_on_without_end_has_others_wait_longer_and_longer() -> None:
    case = Case()
    case.enter(stranger("a"))
    case.served()
    case.done(10.0)
    case.enter(stranger("endless"))
    case.served()
    last = case.enter(stranger("b"))
    told = []
    for _ in range(200):
        case.time.now += 3.0
        told.append(case.queue.place(last).eta_s)
    assert all(eta is not None and eta > 1.0 for eta in told)
    assert told[-1] == pytest.approx(0.3 * 600)


def test_a_clock_that_goes_back_makes_nothing_negative() -> None:
    case = Case()
    case.enter(stranger("a"))
    case.served()
    case.done(10.0)
    case.enter(stranger("b"))
    case.served()
    last = case.enter(stranger("c"))
    case.time.now -= 50.0
    place = case.queue.place(last)
    assert place.seconds == 0.0 and place.ahead[0].seconds == 0.0
    assert place.eta_s == 10.0
    assert read_place(place.line().decode().partition(": ")[2]) == place


def test_whom_somebody_is_being_broken_off_for_waits_no_time() -> None:
    case = Case()
    case.enter(ours("job", "hook"))
    case.served()
    case.done(40.0)
    job = case.enter(ours("job", "hook"))
    case.served()
    job.breaking = True
    assert case.queue.place(case.enter(ours("me", "interactive"))).eta_s == 0.0


def test_a_place_survives_its_way_through_a_header() -> None:
    case = Case()
    case.enter(replace(stranger("a"), label="naïve “x”\r\nHost: y"))
    case.served()
    place = case.queue.place(case.enter(stranger("b")))
    line = place.line()
    assert line.count(b"\r\n") == 1 and line.isascii()
    assert read_place(line.partition(b": ")[2].decode().strip()) == place


def test_a_lane_survives_its_way_through_headers(tmp_path: Path) -> None:
    folder = tmp_path / "naïve, 100 % «x»"
    lane = new_lane("hook", folder, {"HOME": str(tmp_path), "GLMCODE_PARENT": "p,q"}, wait_s=2.5)
    lane = replace(lane, resumes=True)
    assert lane.label == "git hook in ~/naïve, 100 % «x»"
    assert lane.parents == ("p", "q")
    assert lane.chain() == f"p,q,{lane.run}"
    assert read_lane(lane.headers(), Lane()) == lane


@given(
    st.dictionaries(
        st.sampled_from(
            list(
                Lane(
                    kind="hook", run="a", parents=("b",), label="c", wait_s=0.0, resumes=True
                ).headers()
            )
        ),
        st.text(max_size=40),
    )
)
def test_headers_that_say_nonsense_cost_nothing(headers: dict[str, str]) -> None:
    lane = read_lane(headers, stranger("x"))
    assert lane.kind in CLASSES and lane.run


def test_what_is_no_place_is_not_read() -> None:
    for value in (None, "", "{}", "[]", "null", '{"position":1}', '{"position":"x"}'):
        assert read_place(value) is None
    assert isinstance(read_place('{"position":1,"eta_s":null,"seconds":0,"ahead":[]}'), Place)


def test_places_are_counted_in_words() -> None:
    numbers = (1, 2, 3, 4, 11, 12, 13, 21, 22, 101, 111)
    said = "1st 2nd 3rd 4th 11th 12th 13th 21st 22nd 101st 111th"
    assert " ".join(map(ordinal, numbers)) == said


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["enter", "done", "leave", "break", "wait", "over"]),
            st.integers(0, 5),
            st.sampled_from(CLASSES),
        ),
        max_size=80,
    ),
    st.sampled_from([0, 4000]),
)
def test_whatever_happens_no_place_is_lost_or_taken_twice(
    deeds: list[tuple[str, int, QueueClass]], pool: int
) -> None:
    case = Case(pool=pool)
    queue = case.queue
    for deed, number, kind in deeds:
        match deed:
            case "enter":
                one = ours(str(number), kind, str((number + 1) % 6))
                case.enter(replace(one, turns=number % 2 == 0), number * 1000)
            case "over":
                queue.over(str(number))
            case "wait":
                case.time.now += number * 40.0
            case "leave" if queue.waiting:
                queue.leave(queue.waiting[number % len(queue.waiting)])
            case "done" if queue.running:
                queue.leave(queue.running[0])
            case "break" if (victim := queue.victim()) is not None:
                if number % 2:
                    queue.back(victim)
                else:
                    queue.leave(victim, broken=True)
        before = len(queue.waiting) + len(queue.running)
        queue.next()
        assert len(queue.running) <= 1
        assert len(set(map(id, [*queue.waiting, *queue.running]))) == before
        order = queue.waiting_order()
        assert [queue.place(t).position for t in order] == list(range(1, len(order) + 1))
    for _ in range(len(queue.waiting) + 1):
        if queue.running:
            case.done()
        case.time.now += queue.wake_in() or 0.0
        case.time.now += 0.001
        assert queue.next() is not None or not queue.waiting, "it wakes when it says"
    assert not queue.waiting
