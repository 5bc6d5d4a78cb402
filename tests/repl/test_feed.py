from __future__ import annotations

import asyncio
import threading
import time

from glmcode.core.events import Delta, EngineProgress, Event, Notice, ToolOutput, Waiting
from glmcode.repl.feed import OUTPUT_KEPT, Feed


def collect(
    put: object = None, *, seconds: float = 0.3, batches: list[list[Event]] | None = None
) -> list[list[Event]]:
    seen: list[list[Event]] = [] if batches is None else batches

    async def run() -> None:
        feed = Feed(seen.append, lambda: None)
        writer = asyncio.ensure_future(feed.run())
        await put(feed)  # type: ignore[operator]
        await asyncio.sleep(seconds)
        writer.cancel()
        await asyncio.wait({writer})
        feed.drain()

    asyncio.run(run())
    return seen


def test_many_pieces_become_few_drawings_and_no_text_is_lost() -> None:
    async def put(feed: Feed) -> None:
        for number in range(300):
            feed.put(Delta(kind="text", text=f"{number} "))
            await asyncio.sleep(0.001)

    start = time.monotonic()
    batches = collect(put)
    most = (time.monotonic() - start) * 15 + 2
    assert 2 <= len(batches) <= most
    text = "".join(e.text for batch in batches for e in batch if isinstance(e, Delta))
    assert text == "".join(f"{number} " for number in range(300))


def test_facts_keep_their_place_and_pieces_of_other_streams_are_not_joined() -> None:
    async def put(feed: Feed) -> None:
        for event in (
            Delta(kind="reasoning", text="a"),
            Delta(kind="reasoning", text="b"),
            Delta(kind="text", text="c"),
            Notice(text="n"),
            Delta(kind="text", text="d"),
            Delta(kind="call", text="e", call_index=0),
            Delta(kind="call", text="f", call_index=1),
        ):
            feed.put(event)

    [batch] = collect(put)
    assert batch == [
        Delta(kind="reasoning", text="ab"),
        Delta(kind="text", text="c"),
        Notice(text="n"),
        Delta(kind="text", text="d"),
        Delta(kind="call", text="e", call_index=0),
        Delta(kind="call", text="f", call_index=1),
    ]


def test_of_live_output_the_end_is_kept_and_of_progress_the_last() -> None:
    async def put(feed: Feed) -> None:
        for number in range(20_000):
            feed.put(ToolOutput(call_id="1", text=f"line {number}\n"))
        for seconds in (1.0, 2.0, 3.0):
            feed.put(Waiting(seconds=seconds, prompt_tokens=1))
        feed.put(EngineProgress(phase="a"))
        feed.put(EngineProgress(phase="b"))

    [[output, waiting, progress]] = collect(put)
    assert isinstance(output, ToolOutput)
    assert output.text.endswith("line 19999\n") and len(output.text) <= OUTPUT_KEPT
    assert waiting == Waiting(seconds=3.0, prompt_tokens=1)
    assert progress == EngineProgress(phase="b")


def test_another_thread_may_put_events_also_after_the_loop_has_ended() -> None:
    feeds: list[Feed] = []

    async def put(feed: Feed) -> None:
        feeds.append(feed)
        thread = threading.Thread(target=feed.put, args=(Notice(text="from a thread"),))
        thread.start()
        thread.join()

    assert collect(put) == [[Notice(text="from a thread")]]
    late = threading.Thread(target=feeds[0].put, args=(Notice(text="late"),))
    late.start()
    late.join()
