from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from glmcode.core.events import (
    CallStarted,
    Delta,
    EngineProgress,
    Queued,
    RequestFinished,
    Retrying,
    StepStarted,
    TurnFinished,
    TurnStarted,
    Waiting,
    Warming,
)
from glmcode.core.tool import Preview
from glmcode.repl.columns import columns
from glmcode.repl.status import Status
from tests.fake_engine import FakeEngine
from tests.repl.pty_driver import glmcode
from tests.repl.test_turns import reach, slow


def text(status: Status, now: float = 10.0, width: int = 200) -> str:
    return "".join(part for _, part in status.spans(now, width))


def test_the_engine_on_its_way_is_shown_with_percent_and_seconds_left() -> None:
    status = Status()
    assert text(status) == "connecting 10 s · default"
    status.event(EngineProgress(phase="loading weights", percent=43.2, eta_s=81.4), 3.0)
    assert text(status).startswith("engine: loading weights 43 %, about 81 s left")
    status.event(EngineProgress(phase="capturing graphs"), 4.0)
    assert text(status).startswith("engine: capturing graphs · ")


def test_a_turn_says_what_it_does_and_for_how_long() -> None:
    status = Status(model="glm", used=2101, window=16_384)
    status.event(TurnStarted(), 2.0)
    status.event(StepStarted(number=1), 2.0)
    assert text(status).startswith("asking the model 8 s · Esc stops · glm · default · ")
    assert "2,101 of 16,384 tokens (13 %)" in text(status)
    status.event(Waiting(seconds=5.2, prompt_tokens=2101), 7.0)
    assert "waiting for the engine 5 s" in text(status)
    status.event(Delta(kind="text", text="a"), 8.0)
    assert text(status).startswith("answering 8 s")
    preview = Preview(kind="command", title="id")
    status.event(CallStarted(call_id="1", name="Bash", preview=preview), 8.0)
    assert text(status).startswith("running Bash")
    status.event(Retrying(why="gone", attempt=1, wait_s=2.0), 8.0)
    assert text(status, 8.0).startswith("trying again in 2 s · Esc stops")
    assert text(status, 9.1).startswith("trying again in 1 s · Esc stops")
    assert text(status, 10.5).startswith("trying again 8 s · Esc stops"), "it is on its way"
    status.event(TurnFinished(reason="done", steps=1), 9.0)
    assert text(status).startswith("ready · glm")


def test_how_far_a_long_prompt_is_is_shown_with_the_seconds_left() -> None:
    status = Status(model="glm")
    status.event(TurnStarted(), 2.0)
    status.event(Waiting(seconds=9.0, prompt_tokens=120_000, percent=43.2, eta_s=81.4), 7.0)
    shown = "prompt of 120,000 tokens: ████░░░░░░ 43 %, about 81 s left · Esc stops"
    assert text(status).startswith(shown)
    status.unicode = False
    assert "tokens: ####...... 43 %" in text(status)
    status.event(Waiting(seconds=10.0, prompt_tokens=120_000), 8.0)
    assert text(status).startswith("waiting for the engine 10 s")


def test_warming_is_shown_until_it_is_over_or_something_is_said() -> None:
    status = Status(model="glm", state="idle")
    status.event(Warming(tokens=12_345), 3.0)
    assert text(status).startswith("ready, warming 12,345 tokens · glm")
    status.event(Warming(tokens=0), 4.0)
    assert text(status).startswith("ready · glm")
    status.event(Warming(tokens=12_345), 5.0)
    status.event(TurnStarted(), 6.0)
    assert "warming" not in text(status)


def test_a_place_in_the_queue_is_shown_until_the_engine_is_at_it() -> None:
    status = Status(model="glm")
    status.event(TurnStarted(), 2.0)
    ahead = (("scripted", "scripted run in ~/pr\x1boj", 40.0, True),)
    status.event(Queued(position=2, seconds=3.0, eta_s=12.4, ahead=ahead), 5.0)
    shown = text(status)
    assert shown.startswith("queue: 2nd, about 12 s, after the scripted run in ~/pr")
    assert "Esc stops" in shown and "\x1b" not in shown
    status.event(Queued(position=1, seconds=4.0), 6.0)
    assert text(status).startswith("queue: 1st · Esc stops")
    status.event(Waiting(seconds=5.2, prompt_tokens=2101), 7.0)
    assert "waiting for the engine 5 s" in text(status)
    status.event(Queued(position=1, seconds=4.0, broken_off=True), 8.0)
    status.event(Delta(kind="text", text="a"), 9.0)
    assert text(status).startswith("answering")


def test_how_long_stopping_takes_is_shown() -> None:
    status = Status(model="glm")
    status.event(TurnStarted(), 2.0)
    status.enter("stopping", 6.0)
    assert text(status) == "stopping 4 s · glm · default"
    assert text(status, width=9) == "stopping"


def test_a_hint_comes_before_everything() -> None:
    status = Status(state="idle", hint="Ctrl-C again leaves")
    assert text(status).startswith("Ctrl-C again leaves")


@pytest.mark.parametrize("width", [1, 5, 12, 20, 33, 50, 79])
def test_a_narrow_line_drops_what_matters_least(width: int) -> None:
    status = Status(state="idle", model="a-model-with-a-name", mode="plan", used=5, window=10)
    assert len(text(status, width=width)) <= width
    if width == 20:
        assert text(status, width=width) == "ready · plan · 50 %"


def working(**fields: object) -> Status:
    known = {"model": "glm", "used": 2_101, "window": 16_384, "branch": "main", "cached": 99.0}
    status = Status(**(known | fields))  # type: ignore[arg-type]
    status.rate = 20.0
    status.event(TurnStarted(), 7.0)
    return status


def test_what_gives_way_first_is_what_matters_least() -> None:
    status = working(mode="acceptEdits")
    status.event(Delta(kind="text", text="a"), 8.0)
    tokens = "2,101 of 16,384 tokens (13 %)"
    lines = [
        f"answering 3 s · Esc stops · glm · acceptEdits · main · {tokens} · cache 99 % · 20 tok/s",
        f"answering 3 s · Esc stops · glm · acceptEdits · {tokens} · cache 99 % · 20 tok/s",
        f"answering 3 s · Esc stops · acceptEdits · {tokens} · cache 99 % · 20 tok/s",
        f"answering 3 s · Esc stops · acceptEdits · {tokens} · cache 99 %",
        "answering 3 s · Esc stops · acceptEdits · 2,101 of 16,384 (13 %) · cache 99 %",
        "answering 3 s · Esc stops · acceptEdits · 2,101 of 16,384 (13 %)",
        "answering 3 s · acceptEdits · 2,101 of 16,384 (13 %)",
        "answering 3 s · acceptEdits · 13 %",
        "answering 3 s · acceptEdits",
        "answering 3 s",
    ]
    assert text(status, width=300) == lines[0]
    for line, narrower in pairwise(lines):
        assert text(status, width=len(line)) == line
        assert text(status, width=len(line) - 1) == narrower
    assert text(status, width=10) == "answering…"


def test_in_forty_columns_the_exact_tokens_have_room() -> None:
    status = working()
    status.event(Delta(kind="text", text="a"), 8.0)
    assert text(status, width=40) == "answering 3 s · 2,101 of 16,384 (13 %)"
    status.event(Waiting(seconds=9.0, prompt_tokens=120_000, percent=43.2, eta_s=81.4), 9.0)
    assert text(status, width=40) == "prompt 43 %, about 81 s left · 13 %"
    ahead = (("scripted", "scripted run in ~/proj", 40.0, True),)
    status.event(Queued(position=2, seconds=3.0, eta_s=12.4, ahead=ahead), 9.5)
    assert text(status, width=40) == "queue: 2nd, about 12 s · 13 %"
    assert text(status, width=80).startswith("queue: 2nd, about 12 s, after the scripted run")


@pytest.mark.parametrize("width", [*range(1, 121), 150, 300])
def test_no_line_is_wider_than_the_screen_whatever_it_holds(width: int) -> None:
    ahead = (("scripted", "scripted run in ~/日本語", 40.0, True),)
    for event in (
        Delta(kind="reasoning", text="a"),
        Waiting(seconds=9.0, prompt_tokens=120_000, percent=43.2, eta_s=81.4, estimated=True),
        Queued(position=2, seconds=3.0, eta_s=12.4, ahead=ahead),
        EngineProgress(phase="loading 重み", percent=43.2, eta_s=81.4),
        Retrying(why="gone", attempt=1, wait_s=2.0),
    ):
        status = working(model="模型" * 30, branch="枝/" * 30, mode="bypassPermissions")
        status.event(event, 8.0)
        assert 0 < columns(text(status, width=width)) <= width
    status.hint = "🙂" * 40
    assert 0 < columns(text(status, width=width)) <= width


def test_a_mode_in_which_all_runs_is_marked_and_stays_longer_than_the_numbers() -> None:
    status = working(mode="bypassPermissions", state="idle")
    status.event(TurnFinished(reason="done", steps=1), 9.0)
    assert ("warning", "bypassPermissions") in status.spans(10.0, 100)
    assert text(status, width=30) == "ready · bypassPermissions"
    status.mode = "bypassPermissions, thinking off"
    assert ("warning", status.mode) in status.spans(10.0, 100)


def test_the_percent_says_full_only_where_nothing_is_left() -> None:
    for used, percent in ((0, 0), (1, 1), (16_300, 99), (16_383, 99), (16_384, 100), (17_000, 104)):
        assert f"({percent} %)" in text(Status(used=used, window=16_384))


def test_without_unicode_the_line_is_ascii() -> None:
    status = working(unicode=False)
    status.event(Waiting(seconds=9.0, prompt_tokens=120_000, percent=43.2, eta_s=81.4), 9.0)
    assert text(status).isascii() and " | glm | default | main | " in text(status)


def request(**fields: object) -> RequestFinished:
    known = {"kind": "step", "prompt_tokens": 2_000, "cached_tokens": 1_990, "output_tokens": 41}
    return RequestFinished(**(known | {"decode_s": 2.0} | fields))  # type: ignore[arg-type]


def test_the_cache_hit_and_the_speed_of_the_last_request_are_shown() -> None:
    status = Status(model="glm", used=2_000, window=16_384, state="idle", branch="main")
    assert "cache" not in text(status) and "tok/s" not in text(status)
    status.event(request(), 5.0)
    shown = "ready · glm · default · main · 2,000 of 16,384 tokens (12 %) · cache 99 % · 20 tok/s"
    assert text(status) == shown
    status.event(request(kind="warm", cached_tokens=0, decode_s=0.0), 6.0)
    assert text(status) == shown, "what is computed ahead says nothing about a step"
    status.event(request(cached_tokens=None, decode_s=0.0), 7.0)
    assert text(status) == shown, "a server that does not say changes nothing"
    assert text(status, width=62) == "ready · 2,000 of 16,384 tokens (12 %) · cache 99 % · 20 tok/s"
    assert text(status, width=50) == "ready · 2,000 of 16,384 tokens (12 %) · cache 99 %"


def test_the_speed_is_measured_while_an_answer_streams_and_not_over_its_prompt() -> None:
    status = Status(model="glm")
    status.event(TurnStarted(), 0.0)
    status.event(StepStarted(number=1), 0.0)
    status.event(Delta(kind="text", text="a", tokens=7), 30.0)
    status.event(Delta(kind="text", text="b", tokens=10), 30.2)
    assert "tok/s" not in text(status)
    status.event(Delta(kind="text", text="c", tokens=10), 31.0)
    assert "20 tok/s" in text(status)
    status.event(Delta(kind="text", text="d"), 32.0)
    assert "10 tok/s" in text(status)


def test_on_every_width_the_line_is_one_row_below_the_input(tmp_path: Path) -> None:
    git = tmp_path / "workspace" / ".git"
    git.mkdir(parents=True)
    (git / "HEAD").write_text("ref: refs/heads/枝-of-mine\n")
    env = {"GLMCODE_CONTEXT__WINDOW": "16384", "GLMCODE_PERMISSIONS__MODE": "acceptEdits"}
    with (
        FakeEngine([slow(" ".join(f"Words {n}" for n in range(2_000)))]) as engine,
        glmcode(tmp_path, *reach(engine), env=env, size=(10, 14)) as session,
    ):
        session.wait_for_visible("ready")
        session.type("go\r")
        session.wait_for("Words")

        def rows() -> list[str]:
            return session.screen.visible.split("\n")

        for width, shown in (
            (12, "answering"),
            (20, "answering"),
            (30, "· acceptEdits"),
            (40, "· acceptEdits · "),
            (60, " of 16,384 ("),
            (80, "Esc stops · glm · acceptEdits · "),
            (120, " · glm · acceptEdits · 枝-of-mine · "),
            (300, " · glm · acceptEdits · 枝-of-mine · "),
        ):
            session.resize(width, 14)
            session.wait_until(
                lambda shown=shown: shown in rows()[-1] and rows()[-2] == "❯",
                f"{shown} in the last row of {width} columns",
            )
            assert rows()[-1].startswith("answering")
        assert not list((tmp_path / "home").rglob("faults.log"))
