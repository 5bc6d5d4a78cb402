from __future__ import annotations

import base64
import json
import random

import pytest

from glmcode.engine.repetition import PATIENCE, REPEATS, SPAN, RepetitionDetector, Verbatim
from glmcode.engine.tokens import REPETITION
from tests.engine.test_client_tokens import GLM, once, raw
from tests.fake_engine import Reply

PERIODS = [*range(1, 65), 100, 199, 200]


def noise(chance: random.Random, count: int) -> list[int]:
    return [chance.randrange(1000, 100_000) for _ in range(count)]


def noticed_after(tokens: list[int], *, patient: bool = False, step: int = 1) -> int | None:
    """How many tokens had come; None: never."""
    detector = RepetitionDetector()
    for at in range(0, len(tokens), step):
        if detector.feed(tokens[at : at + step], patient=patient):
            return at + step
    return None


@pytest.mark.parametrize("period", PERIODS)
@pytest.mark.parametrize("patient", [False, True])
def test_a_period_is_noticed_when_it_has_lasted_and_not_before(period: int, patient: bool) -> None:
    chance = random.Random(period)
    before, pattern = noise(chance, 50), noise(chance, period)
    lasts = (PATIENCE if patient else 1) * max(SPAN, REPEATS * period)
    whole = before + pattern * (2 * lasts // period + 2)
    after = noticed_after(whole, patient=patient)
    assert after is not None
    assert lasts <= after - len(before) <= lasts + 2 * period
    short = before + (pattern * lasts)[: lasts - 1] + noise(chance, 100)
    assert noticed_after(short, patient=patient) is None


def test_a_period_of_few_different_tokens_is_noticed_whatever_stands_in_it() -> None:
    chance = random.Random(22)
    for _ in range(1500):
        period = chance.randint(2, 64)
        pattern = [chance.randrange(2) for _ in range(period)]
        need = max(SPAN, REPEATS * period) + 4 * period
        assert noticed_after((pattern * need)[:need]) is not None, pattern


@pytest.mark.parametrize("step", [1, 3, 16, 1000])
def test_how_the_tokens_are_cut_does_not_matter(step: int) -> None:
    tokens = [*noise(random.Random(1), 30), *([7, 8, 9] * 400)]
    after, exact = noticed_after(tokens, step=step), noticed_after(tokens)
    assert after is not None and exact is not None
    assert exact <= after < exact + step


def test_what_counts_up_does_not_repeat() -> None:
    tokens = [token for number in range(2000) for token in (1, 2, 3, 1000 + number, 4)]
    assert noticed_after(tokens) is None


def test_the_engine_s_own_detector_never_comes_before_ours() -> None:
    least, most = REPETITION["min_pattern_size"], REPETITION["max_pattern_size"]
    for period in range(1, most + 1):
        multiples = [size for size in range(period, most + 1, period) if size >= least]
        theirs = min(multiples) * REPETITION["min_count"]
        assert theirs >= PATIENCE * max(SPAN, REPEATS * period), period


ZEROS = ", ".join(["0"] * 450)
ROW = "| 0 | 0 | 0 | 0 |\n"
FENCED = {
    "zeros": f"Here:\n```json\n[{ZEROS}]\n```\nDone.",
    "a table in code": f"Here:\n\n```\n{ROW * 60}```\nDone.",
    "another fence": f"~~~text\n{'=' * 900}\n~~~\nDone.",
    "base64": f"```\n{base64.b64encode(bytes(900)).decode()}\n```\nDone.",
    "an indented fence": f"1. so\n   ```c\n   int a[] = {{{ZEROS}}};\n   ```\nDone.",
    "equal lines in code": "```\n" + "pass\n" * 350 + "```\nDone.",
}


@pytest.mark.parametrize("name", FENCED)
@pytest.mark.parametrize("chunk", [1, 8, 64])
def test_fenced_code_may_repeat_for_long(name: str, chunk: int) -> None:
    asked = once(Reply(ids=[*raw("\n<think></think>\n"), *raw(FENCED[name])], chunk=chunk))
    assert asked.reply.stop == "end"
    assert asked.reply.text == FENCED[name]


@pytest.mark.parametrize(
    "text", [f"[{ZEROS}]", json.dumps({"rows": [[0] * 10] * 45}), f"\n [{ZEROS}]"]
)
def test_an_answer_in_json_may_repeat_for_long(text: str) -> None:
    ids = [*raw("\n<think></think>"), *raw("\n" + text)]
    assert len(ids) > 2 * SPAN
    assert once(Reply(ids=ids, chunk=4)).reply.stop == "end"


def test_lists_of_many_lines_that_differ_a_little_are_no_repetition() -> None:
    lines = [
        f"- [x] src/module_{number}/file.py: nothing to change here\n" for number in range(120)
    ]
    asked = once(Reply(ids=[*raw("\n<think></think>\n"), *raw("".join(lines))], chunk=4))
    assert asked.reply.stop == "end" and asked.reply.text.count("\n") >= 119


@pytest.mark.parametrize(
    ("before", "loop"),
    [
        ("\n<think></think>\nSo: ", "I will look again. "),
        ("\n<think>Hm. ", "Wait, no. "),
        ("\n<think></think>\n```\nx\n```\nAnd ", "so on and "),
        ("\n<think></think>\nIn `[` there is ", "nothing, "),
        ("\n<think></think>\n", "\n"),
    ],
)
def test_a_loop_in_text_and_reasoning_is_stopped_and_little_of_it_kept(
    before: str, loop: str
) -> None:
    ids = [*raw(before), *raw(loop) * 900]
    asked = once(Reply(ids=ids, chunk=4))
    assert asked.reply.stop == "repetition"
    kept = asked.reply.token_ids
    assert kept is not None and len(kept) < len(raw(before)) + 4 * len(raw(loop)) + 2
    assert asked.reply.usage.output_tokens < 2 * SPAN + len(raw(before))


def test_a_loop_in_fenced_code_is_stopped_too() -> None:
    ids = [*raw("\n<think></think>\n```\n"), *raw("x = 0\n") * 3000]
    assert once(Reply(ids=ids, chunk=16)).reply.stop == "repetition"


@pytest.mark.parametrize("step", [1, 2, 5, 1000])
def test_fences_are_told_however_the_text_is_cut(step: int) -> None:
    text = "a ``` b\n```py\nx\n``\n  ```\nrest\n~~~\n"
    literal, seen = Verbatim(), []
    for at in range(0, len(text), step):
        literal.feed(text[at : at + step])
        seen.append(literal.open)
    assert literal.open
    if step == 1:
        opened = [at for at in range(1, len(seen)) if seen[at] != seen[at - 1]]
        assert [text[: at + 1].count("\n") for at in opened] == [2, 5, 7]


def test_ids_of_the_stop_are_no_part_of_a_repetition() -> None:
    ids = [*raw("\n<think></think>\nok"), GLM.control_id("<|user|>")]
    assert once(Reply(ids=ids)).reply.stop == "end"
