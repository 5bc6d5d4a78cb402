from __future__ import annotations

import asyncio
import time

from glmcode.engine.gather import GATHER_S, ROW, Gather


def spent(times: int, pause_s: float) -> float:
    async def run() -> float:
        gather = Gather()
        slept = 0.0
        for _ in range(times):
            gather.before()
            await asyncio.sleep(pause_s)
            began = time.monotonic()
            await gather.after()
            slept += time.monotonic() - began
        return slept

    return asyncio.run(run())


TRIES = 5
"""A loaded machine may be late in some of them, hardly in all."""


def test_what_comes_slowly_is_never_held_back() -> None:
    assert any(spent(5, 0.03) < GATHER_S for _ in range(TRIES))


def test_a_fast_stream_is_read_once_in_a_while() -> None:
    assert any(spent(10 + ROW, 0.001) > 9 * GATHER_S for _ in range(TRIES))


def test_what_is_there_already_is_taken_without_a_pause() -> None:
    async def run() -> float:
        gather = Gather()
        gather.before()
        await asyncio.sleep(0)
        await gather.after()
        began = time.monotonic()
        for _ in range(1_000):
            gather.before()
            await gather.after()
        return time.monotonic() - began

    assert asyncio.run(run()) < GATHER_S * 100


def test_the_first_pieces_of_an_answer_are_never_held_back() -> None:
    assert any(spent(ROW - 1, 0.001) < GATHER_S for _ in range(TRIES))
