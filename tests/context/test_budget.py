from __future__ import annotations

import pytest

from glmcode.context.budget import LEAST_RESULT, Budget, budget_of, shrink

CARD = 202_752


def budget(window: int, **fields: object) -> Budget:
    given = {"step_cap": 32_768, "result_chars": 30_000, "question": 330, **fields}
    return budget_of(window, **given)  # type: ignore[arg-type]


def test_each_reserve_is_absolute_in_a_large_window_and_a_share_in_a_small_one() -> None:
    large, small = budget(CARD), budget(8_192)
    assert (large.answer, large.result, large.summary) == (32_768, 15_000, 4_096)
    assert large.trigger == 202_752 - 32_768 - 15_000 - 4_096 - 330 == 150_558
    assert (small.answer, small.result, small.summary) == (1_365, 1_024, 512)
    assert small.trigger == 8_192 - 1_365 - 1_024 - 512 - 330 == 4_961


@pytest.mark.parametrize("window", [4_096, 8_192, 16_384, 32_768, CARD, 1_000_000])
def test_a_result_at_the_trigger_always_leaves_room_for_the_summary(window: int) -> None:
    shares = budget(window)
    assert 0 < shares.trigger < shares.limit < window
    used = shares.trigger + shares.answer + shares.result_tokens(shares.trigger + shares.answer, 1)
    assert used <= shares.limit == window - shares.summary - shares.question - shares.least


@pytest.mark.parametrize("results", [1, 2, 3, 7])
@pytest.mark.parametrize("used", [5_000, 6_000, 6_500])
def test_results_of_one_message_fit_together_whatever_each_of_them_takes(
    used: int, results: int
) -> None:
    shares = budget(8_192)
    for left in range(results, 0, -1):
        used += shares.result_tokens(used, left)
    assert used <= shares.limit


def test_at_the_very_end_a_result_still_may_say_that_it_was_cut() -> None:
    assert budget(8_192).result_tokens(8_192, 3) == LEAST_RESULT


def test_exactly_the_card_s_window_fits_and_one_token_more_does_not() -> None:
    shares = budget(CARD, compact=False)
    assert shares.window == CARD and shares.limit == CARD - 1_024
    assert shares.overrun(CARD - 1_024 - 500, 500) == 0
    assert shares.overrun(CARD - 1_024 - 500, 501) == 1
    assert shares.overrun(0, CARD - 1_024 + 1) == 1


def test_without_compaction_nothing_is_kept_for_a_summary() -> None:
    shares = budget(8_192, compact=False)
    assert (shares.summary, shares.question, shares.spare) == (0, 0, 512)


def test_a_window_that_is_not_known_is_never_full() -> None:
    shares = budget(0)
    assert shares.overrun(10_000_000, 10_000_000) < 0 and shares.summary == 4_096


def test_a_text_is_shortened_until_its_tokens_fit_and_no_further_than_needed() -> None:
    text = "é" * 1_000 + "a" * 1_000
    counted: list[int] = []

    def count(made: str) -> int:
        counted.append(len(made))
        return len(made.encode())

    made = shrink(lambda size: text[:size], len(text), count, 1_500)
    assert 1_200 <= len(made.encode()) <= 1_500 and len(counted) < 12
    assert shrink(lambda size: text[:size], len(text), count, 5_000) == text
    assert shrink(lambda size: text[:size], len(text), count, 0) == ""
