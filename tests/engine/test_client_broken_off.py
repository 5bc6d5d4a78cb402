from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from glmcode.core.events import Delta, DeltasDiscarded, RequestFinished
from glmcode.engine.client import connect
from glmcode.tools.specs import load_specs
from tests.engine.client_kit import TOKENIZER, Asked, ask, ask_once, new_transcript, tokens
from tests.engine.test_client_tokens import GLM, raw
from tests.fake_engine import FakeEngine, Reply

CALL = (
    "\n<think>wie naïve 😀 …</think>\nLesen ☃.\n<tool_call>Write\n<arg_key>file_path</arg_key>\n"
    "<arg_value>ä.py</arg_value>\n<arg_key>content</arg_key>\n<arg_value>x = '😀'\n</arg_value>\n"
    "</tool_call>"
)
OBSERVATION = GLM.control_id("<|observation|>")


def part(ids: Sequence[int], *, chunk: int = 1) -> Reply:
    """What comes until somebody more urgent does."""
    groups = [list(ids[at : at + chunk]) for at in range(0, len(ids), chunk)]
    events: list[Any] = [{"choices": [{"token_ids": group}]} for group in groups]
    return Reply(events=[*events, {"glmcode": {"broken_off": True}}], no_done=True)


def end(ids: Sequence[int], **fields: Any) -> Reply:
    return Reply(**{"ids": [*ids, OBSERVATION], "chunk": 1, **fields})


def asked_of(script: Sequence[Reply], **fields: Any) -> tuple[Asked, list[dict[str, Any]]]:
    with FakeEngine(script, tokenizer=TOKENIZER, window=16_384) as engine:
        asked = ask_once(tokens(engine, **fields))
        return asked, [step.json for step in engine.steps]


WHOLE = raw(CALL)
PLACES = range(len(WHOLE) + 1)


@pytest.mark.parametrize("cut", PLACES)
def test_an_answer_that_is_broken_off_anywhere_is_the_same_answer_shown_once(cut: int) -> None:
    whole, (first,) = asked_of([end(WHOLE)])
    asked, bodies = asked_of([part(WHOLE[:cut]), end(WHOLE[cut:])])
    assert asked.reply.token_ids == whole.reply.token_ids == tuple(WHOLE)
    assert (asked.reply.calls, asked.reply.stop) == (whole.reply.calls, "calls")
    for kind in ("text", "reasoning"):
        deltas = [one.text for one in asked.of(Delta) if one.kind == kind]
        assert "".join(deltas) == whole.shown(kind), "nothing was shown twice or lost"
    assert not asked.of(DeltasDiscarded) and not asked.retries
    assert [body["token_ids"] for body in bodies] == [
        first["token_ids"],
        [*first["token_ids"], *WHOLE[:cut]],
    ]
    limits = [body["sampling_params"]["max_tokens"] for body in bodies]
    assert limits == [first["sampling_params"]["max_tokens"], limits[0] - cut]
    usage = asked.reply.usage
    assert usage.prompt_tokens == len(first["token_ids"])
    assert usage.output_tokens == len(WHOLE) + 1, "the stop is a token that was computed"
    done = asked.of(RequestFinished)
    assert [one.kind for one in done] == ["step", "go_on" if cut else "step"]
    assert sum(one.output_tokens for one in done) == len(WHOLE) + 1


def test_what_must_at_least_be_generated_is_of_the_whole_answer() -> None:
    sampling = {"temperature": 0.0, "min_tokens": 20}
    _, bodies = asked_of([part(WHOLE[:8]), part(WHOLE[8:30]), end(WHOLE[30:])], sampling=sampling)
    assert [body["sampling_params"]["min_tokens"] for body in bodies] == [20, 12, 0]


def test_broken_off_with_its_last_token_it_goes_on_as_an_answer_at_its_limit() -> None:
    whole = raw("\n<think></think>\nOne two three four five six")
    cap = len(whole) - 2
    script = [part(whole[:5]), part(whole[5:cap]), end(whole[cap:])]
    asked, bodies = asked_of(script, step_cap=cap)
    limits = [body["sampling_params"]["max_tokens"] for body in bodies]
    assert limits == [cap, cap - 5, cap], "never is nothing asked for"
    assert asked.reply.token_ids == tuple(whole)


def test_a_break_of_the_network_after_it_was_broken_off_loses_and_doubles_nothing() -> None:
    asked, bodies = asked_of(
        [
            part(WHOLE[:12]),
            Reply(ids=WHOLE[12:], chunk=1, cut_after_events=6),
            part(WHOLE[12:20]),
            end(WHOLE[20:]),
        ]
    )
    assert asked.reply.token_ids == tuple(WHOLE)
    assert asked.shown("text") == "Lesen ☃.\n"
    counts = [len(body["token_ids"]) - len(bodies[0]["token_ids"]) for body in bodies]
    assert counts == [0, 12, 12, 20]


def test_a_refusal_after_it_was_broken_off_keeps_what_there_was() -> None:
    asked, _ = asked_of([part(raw("\n<think></think>\nOne two three ")), Reply(status=400)])
    assert "refused" in str(asked.fault)
    assert [message.text for message in asked.kept] == ["One two three"]


def test_an_engine_that_dies_while_the_rest_is_asked_for_keeps_what_there_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("glmcode.engine.retry.FIRST_WAIT_S", 0.01)
    script = [part(raw("\n<think></think>\nOne two three ")), *[Reply(drop=True)] * 8]
    asked, _ = asked_of(script)
    assert asked.fault.kind == "unavailable"
    assert [message.text for message in asked.kept] == ["One two three"]


@pytest.mark.parametrize("cut", [3, 9, 15])
def test_a_turn_that_is_cancelled_while_the_rest_waits_keeps_what_there_was(cut: int) -> None:
    whole = raw("\n<think></think>\nOne two three four five six seven eight nine ten")

    async def run(engine: FakeEngine) -> Asked:
        client = await connect(tokens(engine), load_specs(), lambda event: None)
        asking = asyncio.ensure_future(ask(client, new_transcript()))
        try:
            while len(engine.steps) < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            asking.cancel()
            return await asking
        finally:
            await client.close()

    script = [part(whole[:cut]), Reply(delay=20.0, ids=whole[cut:])]
    with FakeEngine(script, tokenizer=TOKENIZER, window=16_384) as engine:
        asked = asyncio.run(run(engine))
    assert asked.cancelled
    (kept,) = asked.kept
    assert kept.token_ids == tuple(whole[: len(kept.token_ids or ())])
    assert len(kept.token_ids or ()) >= cut - 1


def test_a_repetition_that_goes_over_the_break_is_noticed_as_soon() -> None:
    loop = [*raw("\n<think></think>\nSo: "), *raw("over and over, ") * 400]
    straight, _ = asked_of([Reply(ids=loop, chunk=1)])
    asked, _ = asked_of([part(loop[:300]), Reply(ids=loop[300:], chunk=1)])
    assert asked.reply.stop == straight.reply.stop == "repetition"
    assert asked.reply.token_ids == straight.reply.token_ids


def test_a_stop_that_came_before_the_break_is_the_end() -> None:
    text = raw("\n<think></think>\nAll said.")
    user = GLM.control_id("<|user|>")
    done = {"choices": [{"token_ids": [user], "finish_reason": "stop", "stop_reason": user}]}
    first = Reply(
        events=[{"choices": [{"token_ids": text}]}, done, {"glmcode": {"broken_off": True}}],
        no_done=True,
    )
    asked, bodies = asked_of([first, Reply(text="more")])
    assert (asked.reply.text, len(bodies)) == ("All said.", 1)


def test_what_may_repeat_in_fenced_code_may_so_before_a_break_too() -> None:
    code = "```\n" + "x = 0\n" * 150 + "```\n"
    whole = [*raw("\n<think></think>\n"), *raw(code), *raw("Done.")]
    straight, _ = asked_of([Reply(ids=whole, chunk=1)])
    asked, _ = asked_of([part(whole[:-3]), Reply(ids=whole[-3:], chunk=1)])
    assert asked.reply.stop == straight.reply.stop == "end"
    assert asked.reply.text == straight.reply.text
