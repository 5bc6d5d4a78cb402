from __future__ import annotations

from typing import Any

import pytest

from glmcode.context.ledger import (
    COMPACTED,
    EVICTED,
    INSTRUCTIONS,
    MAP,
    NEW_PREAMBLE,
    NOT_REPORTED,
    REASONING,
    RESTARTED,
    RESUMED,
    UNKNOWN,
    Earlier,
    Head,
    Ledger,
    earlier_head,
    earlier_line,
    head_from_json,
    ledger_json,
    ledger_rows,
    summary_rows,
)
from glmcode.core.events import RequestFinished

ENGINE = "4711-1"


def request(**fields: Any) -> RequestFinished:
    base: dict[str, Any] = {
        "kind": "step", "prompt_tokens": 2_000, "cached_tokens": 0, "output_tokens": 100,
        "held": 2_100, "engine": ENGINE, "served": 1, "block": 16,
    }  # fmt: skip
    return RequestFinished(**{**base, **fields})


def second(**fields: Any) -> RequestFinished:
    """The request after `request()`, as it should be: all whole blocks of 2,100 are cached."""
    base = {"prompt_tokens": 2_500, "cached_tokens": 2_096, "prefix": 2_100, "held": 2_600}
    return request(**{**base, "served": 2, **fields})


def after_first(**fields: Any) -> RequestFinished:
    ledger = Ledger(Earlier())
    ledger.take(request())
    return ledger.take(second(**fields))


def test_what_was_expected_is_the_earlier_prompt_and_answer_in_whole_blocks() -> None:
    judged = after_first()
    assert (judged.expected, judged.again, judged.cause) == (2_096, 0, "")
    assert after_first(block=128, cached_tokens=2_048).expected == 2_048
    assert after_first(block=0, cached_tokens=2_048).expected == 2_048


def test_the_last_token_of_a_prompt_is_always_computed() -> None:
    judged = after_first(prompt_tokens=2_096, prefix=2_096, cached_tokens=2_080)
    assert (judged.expected, judged.cause) == (2_080, "")


def test_one_block_less_is_no_loss_but_two_are() -> None:
    assert after_first(cached_tokens=2_080).cause == ""
    judged = after_first(cached_tokens=2_064)
    assert (judged.cause, judged.again) == (UNKNOWN, 32)


def test_another_start_of_the_engine_is_named_as_the_cause() -> None:
    judged = after_first(engine="4712-9", served=1, cached_tokens=0)
    assert (judged.cause, judged.again) == (RESTARTED, 2_096)


@pytest.mark.parametrize(
    ("served", "tries", "cause"),
    [(2, 1, UNKNOWN), (3, 1, EVICTED), (3, 2, UNKNOWN), (9, 2, EVICTED)],
)
def test_requests_of_others_in_between_are_named_as_the_cause_and_our_own_are_not(
    served: int, tries: int, cause: str
) -> None:
    assert after_first(served=served, tries=tries, cached_tokens=512).cause == cause


def test_others_without_a_loss_are_no_cause() -> None:
    assert after_first(served=50).cause == ""


def test_a_server_without_a_mark_leaves_the_cause_unknown() -> None:
    ledger = Ledger(Earlier())
    ledger.take(request(engine="", served=0))
    assert ledger.take(second(engine="", served=0, cached_tokens=0)).cause == UNKNOWN


def test_a_server_that_does_not_report_cached_tokens_is_said_and_nothing_is_made_up() -> None:
    judged = after_first(cached_tokens=None)
    assert (judged.cause, judged.again, judged.again_s) == (NOT_REPORTED, 0, None)
    line = ledger_json(judged)
    assert line["cached"] is None and line["new"] is None


def test_an_answer_that_broke_off_tells_no_cost_and_no_cause() -> None:
    assert after_first(cached_tokens=None, whole=False).cause == ""


def test_the_first_request_after_a_compaction_says_so_with_all_that_was_computed() -> None:
    judged = after_first(segment=1, prompt_tokens=1_000, prefix=400, cached_tokens=400)
    assert (judged.cause, judged.expected, judged.again) == (COMPACTED, 400, 600)


def test_the_request_after_that_one_is_ordinary_again() -> None:
    ledger = Ledger(Earlier())
    ledger.take(request())
    new = {"segment": 1, "prompt_tokens": 1_000, "prefix": 400, "cached_tokens": 400}
    ledger.take(second(**new, held=1_010))
    third = second(segment=1, prompt_tokens=1_200, prefix=1_010, cached_tokens=1_008, served=3)
    assert ledger.take(third).cause == ""


def test_a_question_on_a_fork_does_not_count_as_the_conversations_last_prompt() -> None:
    ledger = Ledger(Earlier())
    ledger.take(request())
    fork = second(kind="compaction", prompt_tokens=2_300, held=2_900)
    assert ledger.take(fork).cause == ""
    assert ledger.take(second(served=3)).cause == ""


def test_reasoning_that_the_policy_leaves_out_is_told_with_what_it_costs() -> None:
    judged = after_first(prefix=700, cached_tokens=688, prompt_tokens=1_900)
    assert (judged.cause, judged.again) == (REASONING, 1_212)


def head(**fields: Any) -> Head:
    base: dict[str, Any] = {
        "fixed": "f", "instructed": "i", "whole": "w", "ids": tuple(range(1_000)),
        "engine": ENGINE, "served": 5,
    }  # fmt: skip
    return Head(**{**base, **fields})


@pytest.mark.parametrize(
    ("old", "cause", "prefix"),
    [
        (None, NEW_PREAMBLE, 0),
        (head(), "", 1_000),
        (head(whole="x", ids=(*range(950), 7, 7)), MAP, 950),
        (head(instructed="y", whole="x", ids=(*range(900), 7, 7)), INSTRUCTIONS, 900),
        (head(fixed="x", instructed="y", whole="z", ids=(7, 8)), NEW_PREAMBLE, 0),
        (head(engine=""), "", 0),
    ],
)
def test_a_new_session_expects_what_it_shares_with_the_last_head_of_its_workspace(
    old: Head | None, cause: str, prefix: int
) -> None:
    earlier = earlier_head(old, head(served=0))
    assert (earlier.cause, earlier.prefix) == (cause, prefix)
    judged = Ledger(earlier).take(request(served=6, cached_tokens=prefix // 16 * 16))
    assert (judged.cause, judged.again, judged.expected) == (cause, 0, prefix // 16 * 16)


def test_a_head_that_is_gone_from_the_cache_tells_what_took_it() -> None:
    earlier = earlier_head(head(), head())
    assert Ledger(earlier).take(request(served=6)).cause == UNKNOWN
    assert Ledger(earlier).take(request(served=9)).cause == EVICTED
    assert Ledger(earlier).take(request(engine="other")).cause == RESTARTED


def test_a_head_is_stored_and_read_back_and_what_is_damaged_is_none() -> None:
    assert head_from_json(head().to_json()) == head()
    for damaged in (None, [], {}, {**head().to_json(), "ids": ["x"]}):
        assert head_from_json(damaged) is None


def test_a_resumed_session_expects_what_its_last_line_held() -> None:
    line = {"t": "ledger", **ledger_json(request())}
    earlier = earlier_line(line)
    resumed = request(prompt_tokens=2_500, served=2)
    assert Ledger(earlier).take(second(prefix=0)).cause == ""
    assert Ledger(earlier).take(resumed).again == 2_096
    assert Ledger(earlier).take(request(prompt_tokens=2_500, engine="x")).cause == RESTARTED
    unmarked = request(prompt_tokens=2_500, engine="", served=0)
    assert Ledger(earlier).take(unmarked).cause == RESUMED
    assert Ledger(earlier_line({})).take(unmarked).cause == ""


def test_seconds_are_estimated_only_from_larger_prefills_of_this_conversation() -> None:
    ledger = Ledger(Earlier())
    ledger.take(request(prompt_tokens=40, prefill_s=5.0, held=48))
    lost = second(engine="x", prompt_tokens=60, prefix=48, cached_tokens=0)
    assert ledger.take(lost).again_s is None
    ledger.take(second(engine="x", prompt_tokens=4_000, cached_tokens=0, prefill_s=2.0))
    ledger.take(second(engine="x", prompt_tokens=2_396, prefill_s=9.0))
    assert ledger.speed() == 2_000
    judged = ledger.take(second(engine="y", prefix=4_000, prompt_tokens=4_001, cached_tokens=0))
    assert judged.again_s == 2.0


def test_sums_hold_every_request_and_every_cause() -> None:
    ledger = Ledger(Earlier(cause=NEW_PREAMBLE))
    ledger.take(request(prefill_s=1.0))
    ledger.take(second(engine="x", cached_tokens=0, prefill_s=1.25))
    ledger.take(second(engine="x", cached_tokens=None))
    found = ledger.totals.to_json()
    assert found["requests"] == 3
    assert (found["prompt_tokens"], found["cached_tokens"]) == (7_000, 0)
    assert (found["expected_tokens"], found["again_tokens"]) == (4_192, 2_096)
    assert found["again_s"] == 1.048
    assert found["causes"] == [
        {"cause": NEW_PREAMBLE, "requests": 1, "again_tokens": 0},
        {"cause": RESTARTED, "requests": 1, "again_tokens": 2_096},
        {"cause": NOT_REPORTED, "requests": 1, "again_tokens": 0},
    ]


def test_a_table_shows_the_ledger_lines_of_a_session_and_no_others() -> None:
    ledger = Ledger(Earlier(cause=NEW_PREAMBLE))
    ledger.take(request(prefill_s=1.0))
    judged = ledger.take(second(kind="go_on", engine="x", cached_tokens=0, queue_s=0.5))
    entries = [{"t": "header"}, {"t": "ledger", **ledger_json(judged)}, {"t": "ledger"}]
    heading, row, odd, sums = ledger_rows(entries)
    assert dict(zip(heading, row, strict=True)) == {
        "#": "1", "request": "go on", "prompt": "2,500", "cached": "0", "new": "2,500",
        "expected": "2,096", "again": "2,096", "queue": "0.50", "prefill": "0.00",
        "decode": "0.00", "cause": "the engine restarted (about 1.0 s)",
    }  # fmt: skip
    assert odd[2] == "?"
    assert sums[1:4] == ("all", "2,500", "0")
    assert ledger_rows([{"t": "header"}]) == []


def test_a_persons_view_begins_with_the_sums_and_ends_with_the_newest_requests() -> None:
    ledger = Ledger(Earlier())
    assert summary_rows(ledger) == [("cache", "nothing was asked yet")]
    for number in range(20):
        ledger.take(second(served=number, prefill_s=0.1))
    rows = summary_rows(ledger)
    assert rows[0] == ("requests", "20")
    assert [label for label, _ in rows if label.startswith("#")][-1] == "#20 step"
    assert sum(label.startswith("#") for label, _ in rows) == 12
