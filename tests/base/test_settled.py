from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable

import pytest

from glmcode.base import settled as module
from glmcode.base.settled import GRACE_S, in_thread, settled

Runner = Callable[[Callable[[], object]], object]


def by_in_thread(work: Callable[[], object]) -> object:
    return asyncio.run(in_thread(work))


def by_settled(work: Callable[[], object]) -> object:
    return asyncio.run(settled(lambda stopped: work()))


both = pytest.mark.parametrize("run", [by_in_thread, by_settled])


@both
def test_what_the_work_returns_comes_back_from_another_thread(run: Runner) -> None:
    assert run(threading.get_ident) != threading.get_ident()


def test_arguments_are_passed_on() -> None:
    assert asyncio.run(in_thread(divmod, 7, 2)) == (3, 1)
    assert asyncio.run(in_thread(sorted, [1, 2], reverse=True)) == [2, 1]


@both
@pytest.mark.parametrize("pause", [0.0, 4 * GRACE_S], ids=["short", "long"])
@pytest.mark.parametrize("error", [ValueError, TimeoutError, KeyError, asyncio.TimeoutError])
def test_what_the_work_raises_passes_whenever_it_is_raised(
    run: Runner, pause: float, error: type[Exception]
) -> None:
    def work() -> None:
        time.sleep(pause)
        raise error("of the work")

    with pytest.raises(error, match="of the work"):
        run(work)


@pytest.mark.parametrize("way", ["in_thread", "settled"])
def test_others_run_while_long_work_goes_on_and_not_while_short_work_does(way: str) -> None:
    async def steps_during(seconds: float) -> int:
        steps = 0

        async def others() -> None:
            nonlocal steps
            while True:
                steps += 1
                await asyncio.sleep(0)

        task = asyncio.ensure_future(others())
        if way == "in_thread":
            await in_thread(time.sleep, seconds)
        else:
            await settled(lambda stopped: time.sleep(seconds))
        done = steps
        task.cancel()
        return done

    async def main() -> None:
        assert await steps_during(0.0) == 0
        assert await steps_during(0.2) > 10

    asyncio.run(main())


def test_the_loop_stands_still_no_longer_than_it_says() -> None:
    async def main() -> float:
        began = time.monotonic()
        task = asyncio.ensure_future(settled(lambda stopped: time.sleep(0.5)))
        await asyncio.sleep(0)  # it begins
        stood = time.monotonic() - began
        await task
        return stood

    assert min(asyncio.run(main()) for _ in range(3)) < GRACE_S + 0.15


def test_cancelled_work_is_asked_to_stop_and_waited_for() -> None:
    log: list[str] = []

    def work(stopped: Callable[[], bool]) -> None:
        end = time.monotonic() + 10
        while not stopped() and time.monotonic() < end:
            time.sleep(0.001)
        time.sleep(0.1)
        log.append("stopped" if stopped() else "not asked")

    async def main() -> None:
        task = asyncio.ensure_future(settled(work))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        log.append("cancelled")

    asyncio.run(main())
    assert log == ["stopped", "cancelled"]


def test_work_that_does_not_stop_is_not_waited_for_for_ever(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "_SETTLE_S", 0.05)
    released = threading.Event()

    def work(stopped: Callable[[], bool]) -> None:
        released.wait(20)
        raise ValueError("nobody hears of it")

    async def main() -> None:
        task = asyncio.ensure_future(settled(work))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not released.is_set()
        released.set()
        await asyncio.sleep(0.1)

    asyncio.run(main())
    assert caplog.records == []


def test_a_read_that_hangs_lets_its_turn_be_cancelled_at_once() -> None:
    released = threading.Event()

    async def main() -> float:
        task = asyncio.ensure_future(in_thread(released.wait, 20))
        await asyncio.sleep(0.05)
        began = time.monotonic()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return time.monotonic() - began

    try:
        assert asyncio.run(main()) < 5
    finally:
        released.set()


def test_a_cancellation_that_came_before_the_work_still_lets_nothing_run_unasked() -> None:
    asked: list[bool] = []

    def work(stopped: Callable[[], bool]) -> None:
        end = time.monotonic() + 10
        while not stopped() and time.monotonic() < end:
            time.sleep(0.001)
        asked.append(stopped())

    async def main() -> None:
        task = asyncio.ensure_future(settled(work))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert asked == [True]

    asyncio.run(main())
