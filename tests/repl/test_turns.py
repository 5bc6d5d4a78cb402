from __future__ import annotations

import json
import re
import time
from itertools import pairwise
from pathlib import Path

from tests.fake_engine import FakeEngine, Reply
from tests.repl.pty_driver import PtySession, glmcode


def reach(engine: FakeEngine) -> tuple[str, ...]:
    return ("--base-url", engine.base_url, "--protocol", "chat", "-m", "glm")


def slow(text: str, **fields: object) -> Reply:
    return Reply(text=text, chunk=4, gap=0.05, close=True, **fields)  # type: ignore[arg-type]


def sent(engine: FakeEngine, step: int) -> str:
    return json.dumps(engine.steps[step].json["messages"], ensure_ascii=False)


def ready(session: PtySession) -> None:
    session.wait_for_visible("ready")


CALC = "def add(a, b):\n    return a - b\n"


def test_a_task_is_typed_an_edit_is_approved_and_the_file_is_changed(tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    (workspace / "calc.py").write_text(CALC)
    edit = {"file_path": "calc.py", "old_string": "a - b", "new_string": "a + b"}
    script = [
        Reply(
            reasoning="I should read it first.",
            text="I look at the file.",
            calls=[{"name": "Read", "arguments": {"file_path": "calc.py"}}],
        ),
        Reply(calls=[{"name": "Edit", "arguments": edit}]),
        Reply(text="Now `add` **adds**.\n\n- one\n- two\n"),
    ]
    with FakeEngine(script) as engine, glmcode(tmp_path, *reach(engine)) as session:
        ready(session)
        session.type("repair add in calc.py\r")
        session.wait_for("Allow it?")
        shown = session.screen.text
        assert "> repair add in calc.py" in shown
        assert "reasoning: 5 words" in shown
        assert "I look at the file." in shown
        assert "Read calc.py" in shown
        assert re.search(r"2 - +return a - b", shown) and re.search(r"2 \+ +return a \+ b", shown)
        assert (workspace / "calc.py").read_text() == CALC
        session.read(0.4)
        session.type("1")
        session.wait_for("two")
        ready(session)
        assert (workspace / "calc.py").read_text() == CALC.replace("a - b", "a + b")
        assert "Now add adds." in session.screen.text and "• one" in session.screen.text
        assert session.screen.foreign == []


def test_no_with_a_word_of_advice_reaches_the_model_and_the_draft_is_kept(tmp_path: Path) -> None:
    script = [
        Reply(calls=[{"name": "Bash", "arguments": {"command": "rm -rf build"}}]),
        Reply(text="I leave it."),
    ]
    with FakeEngine(script) as engine, glmcode(tmp_path, *reach(engine)) as session:
        ready(session)
        session.type("clean up\r")
        session.wait_for("Allow it?")
        session.read(0.4)
        session.type("4")
        session.wait_for("What instead?")
        session.type("keep build, it is needed\r")
        session.wait_for("I leave it.")
        assert "no: keep build, it is needed" in session.screen.text
        assert "the user said no: keep build, it is needed" in sent(engine, 1)


def test_what_was_typed_before_a_question_never_answers_it(tmp_path: Path) -> None:
    script = [
        slow("Wait a little, I think.", calls=[{"name": "Bash", "arguments": {"command": "make"}}]),
        Reply(text="Finished."),
    ]
    with FakeEngine(script) as engine, glmcode(tmp_path, *reach(engine)) as session:
        ready(session)
        session.type("go\r")
        session.wait_for("Wait a")
        while "Allow it?" not in session.screen.visible:
            session.type("y")
            session.read(0.1)
        for _ in range(20):
            session.type("y1a")
            session.read(0.05)
        assert "Allow it?" in session.screen.visible
        assert "y1ay1ay1a" in session.screen.visible
        assert len(engine.steps) == 1
        session.read(1.2)
        session.type("1")
        session.wait_for("Finished.")
        ready(session)
        assert "y1ay1ay1a" in session.screen.visible, "the draft is kept"


def test_a_message_typed_during_a_question_is_sent_and_not_taken_for_an_answer(
    tmp_path: Path,
) -> None:
    script = [
        Reply(calls=[{"name": "Bash", "arguments": {"command": "touch ran"}}]),
        Reply(text="Understood."),
    ]
    with FakeEngine(script) as engine, glmcode(tmp_path, *reach(engine)) as session:
        ready(session)
        session.type("go\r")
        session.wait_for("Allow it?")
        session.read(0.4)
        for char in "use any":
            session.type(char)
            session.read(0.35)
        assert "Allow it?" in session.screen.visible
        session.type("\x13")
        session.wait_for_visible("steering: use any")
        session.read(0.4)
        session.type("y")
        session.wait_for("Understood.")
        assert "use any" in sent(engine, 1)
        assert "> use any" in session.screen.text


def test_ctrl_s_during_a_turn_steers_it(tmp_path: Path) -> None:
    script = [
        slow(
            "Let me run something now.",
            calls=[{"name": "Bash", "arguments": {"command": "echo ran"}}],
        ),
        Reply(text="As you wish."),
    ]
    with FakeEngine(script) as engine, glmcode(tmp_path, *reach(engine), "-y") as session:
        ready(session)
        session.type("go\r")
        session.wait_for("Let me")
        session.type("be brief\x13")
        session.wait_for_visible("steering: be brief")
        session.wait_for("As you wish.")
        ready(session)
        assert "steering" not in session.screen.visible
        assert "> be brief" in session.screen.text
        assert "be brief" in sent(engine, 1)


def test_enter_during_a_turn_queues_and_the_message_is_the_next_turn(tmp_path: Path) -> None:
    script = [
        slow(
            "Let me run something now.",
            calls=[{"name": "Bash", "arguments": {"command": "echo ran"}}],
        ),
        Reply(text="It ran."),
        Reply(text="You are welcome."),
    ]
    with FakeEngine(script) as engine, glmcode(tmp_path, *reach(engine), "-y") as session:
        ready(session)
        session.type("go\r")
        session.wait_for("Let me")
        session.type("thank you\r")
        session.wait_for_visible("queued: thank you")
        session.wait_for("You are welcome.")
        ready(session)
        assert "queued" not in session.screen.visible
        assert "thank you" not in sent(engine, 1)
        assert engine.steps[2].json["messages"][-1]["content"] == "thank you"


def test_up_takes_a_queued_message_back_and_ctrl_s_hands_over_what_is_queued(
    tmp_path: Path,
) -> None:
    script = [
        slow(
            "Let me run something now. " * 4,
            calls=[{"name": "Bash", "arguments": {"command": "echo ran"}}],
        ),
        Reply(text="Heard."),
    ]
    with FakeEngine(script) as engine, glmcode(tmp_path, *reach(engine), "-y") as session:
        ready(session)
        session.type("go\r")
        session.wait_for("Let me")
        session.type("one\r")
        session.wait_for_visible("queued: one")
        session.type("twain\r")
        session.wait_for_visible("queued: twain")
        session.type("\x1b[A")
        session.wait_for_visible("❯ twain")
        session.wait_gone("queued: twain")
        session.type("\x15\x13")
        session.wait_for_visible("steering: one")
        session.type("\x1b[A")
        session.wait_for_visible("❯ one")
        session.wait_gone("steering")
        session.type(" more\x13")
        session.wait_for("Heard.")
        ready(session)
        assert engine.steps[1].json["messages"][-1]["content"].count("one more") == 1
        assert "twain" not in sent(engine, 1)


def test_the_setting_steer_swaps_enter_and_ctrl_s(tmp_path: Path) -> None:
    script = [
        slow(
            "Let me run something now.",
            calls=[{"name": "Bash", "arguments": {"command": "echo ran"}}],
        ),
        Reply(text="Heard."),
        Reply(text="And again."),
    ]
    steer = ("--set", "ui.enter=steer", "-y")
    with FakeEngine(script) as engine, glmcode(tmp_path, *reach(engine), *steer) as session:
        ready(session)
        session.type("go\r")
        session.wait_for("Let me")
        session.type("now\rlater\x13")
        session.wait_for("And again.")
        assert "now" in sent(engine, 1) and "later" not in sent(engine, 1)
        assert "later" in sent(engine, 2)


def test_a_second_escape_on_an_empty_input_offers_to_rewind(tmp_path: Path) -> None:
    with FakeEngine([Reply(text="Done.")]) as engine, glmcode(tmp_path, *reach(engine)) as session:
        ready(session)
        session.type("do it\r")
        session.wait_for("Done.")
        ready(session)
        session.type("\x1b")
        session.wait_for_visible("Esc again")
        session.type("\x1b")
        session.wait_for('to before "do it"')
        session.wait_for_visible("Do it?")
        session.read(0.4)
        session.type("y")
        session.wait_for_visible("❯ do it")
        assert "messages are gone" in session.screen.text


def test_an_interrupt_keeps_what_was_generated_and_the_next_message_says_so(
    tmp_path: Path,
) -> None:
    script = [slow("First words that stay. " * 40), Reply(text="Going on.")]
    with FakeEngine(script) as engine, glmcode(tmp_path, *reach(engine)) as session:
        ready(session)
        session.type("write a lot\r")
        session.wait_for("First words that stay.")
        session.type("and one more thing\r")
        session.wait_for("queued: and one more thing")
        session.type("\x03")
        session.wait_for("interrupted")
        ready(session)
        assert "First words that stay." in session.screen.text
        assert "❯ and one more thing" in session.screen.visible, "unread words are back"
        session.wait_until(lambda: engine.steps[0].aborted is not None, "the request's end")
        session.type(" now\r")
        session.wait_for("Going on.")
        messages = engine.steps[1].json["messages"]
        assert "First words that stay." in messages[-2]["content"]
        assert "interrupted" in messages[-1]["content"]
        assert messages[-1]["content"].endswith("and one more thing now")


def test_escape_stops_a_turn_at_once_and_alt_enter_does_not(tmp_path: Path) -> None:
    script = [slow("Words and words. " * 60), Reply(text="Again.")]
    with FakeEngine(script) as engine, glmcode(tmp_path, *reach(engine)) as session:
        ready(session)
        session.type("write\r")
        session.wait_for("Words and words.")
        session.type("line one\x1b\rline two")
        session.wait_for_visible("line two")
        session.read(0.3)
        assert "interrupted" not in session.screen.text
        session.type("\x1b")
        session.wait_for("interrupted")
        assert "line two" in session.screen.visible
        session.wait_until(lambda: engine.steps[0].aborted is not None, "the request's end")


def test_escape_and_ctrl_c_stop_the_request_within_100_ms(tmp_path: Path) -> None:
    script = [slow("Words and words. " * 60) for _ in range(6)]
    took = []
    with FakeEngine(script) as engine, glmcode(tmp_path, *reach(engine)) as session:
        for number, key in enumerate(("\x1b", "\x03") * 3):
            ready(session)
            session.type("write\r")
            before = number + 1
            session.wait_until(lambda: session.screen.text.count("> write") >= before, "it")  # noqa: B023
            session.wait_for_visible("answering")
            pressed = time.monotonic()
            session.type(key)
            session.wait_until(lambda: engine.steps[-1].aborted is not None, "the end")
            took.append((engine.steps[-1].aborted or 0.0) - pressed)
            session.wait_until(lambda: session.screen.text.count("interrupted") >= before, "it")  # noqa: B023
    assert min(took[0::2]) < 0.1 and min(took[1::2]) < 0.1, took


def test_escape_at_a_question_is_a_no_and_stops_the_turn(tmp_path: Path) -> None:
    command = {"command": "touch made"}
    script = [Reply(calls=[{"name": "Bash", "arguments": command}]), Reply(text="Fine.")]
    with FakeEngine(script) as engine, glmcode(tmp_path, *reach(engine)) as session:
        ready(session)
        session.type("go\r")
        session.wait_for("Allow it?")
        session.type("\x1b")
        session.wait_for("interrupted")
        ready(session)
        assert "Allow it?" not in session.screen.visible
        session.type("go on\r")
        session.wait_for("Fine.")
        assert not (tmp_path / "workspace" / "made").exists()
        assert "cancelled by the user" in sent(engine, 1)


def test_live_output_is_shown_and_an_interrupt_ends_the_command(tmp_path: Path) -> None:
    command = {"command": "echo early; sleep 60; echo late"}
    script = [Reply(calls=[{"name": "Bash", "arguments": command}]), Reply(text="Stopped.")]
    with FakeEngine(script) as engine, glmcode(tmp_path, *reach(engine), "-y") as session:
        ready(session)
        session.type("go\r")
        session.wait_for_visible("running Bash")
        session.wait_until(lambda: "    early\n" in session.screen.visible, "live output")
        session.type("\x1b")
        session.wait_for("interrupted")
        session.type("what now\r")
        session.wait_for("Stopped.")
        assert "early" in sent(engine, 1) and "cancelled by the user" in sent(engine, 1)


def test_an_engine_that_fails_in_a_turn_is_told_and_the_next_message_goes_on(
    tmp_path: Path,
) -> None:
    script = [Reply(status=400), Reply(text="Here again.")]
    with FakeEngine(script) as engine, glmcode(tmp_path, *reach(engine)) as session:
        ready(session)
        session.type("hello\r")
        session.wait_for("✗")
        ready(session)
        assert "Traceback" not in session.screen.text
        session.type("hello again\r")
        session.wait_for("Here again.")


def test_verbose_says_what_each_step_cost(tmp_path: Path) -> None:
    usage = {
        "prompt_tokens": 2101,
        "completion_tokens": 41,
        "prompt_tokens_details": {"cached_tokens": 2048},
    }
    script = [Reply(text="Hi.", usage=usage)]
    with FakeEngine(script) as engine, glmcode(tmp_path, *reach(engine), "--verbose") as session:
        ready(session)
        session.type("hi\r")
        session.wait_for("step 1: prompt 2,101 tokens, cached 2,048, new 53, answer 41 tokens in")


TOKENIZER = Path(__file__).resolve().parents[2] / "models" / "tiny" / "tokenizer.json"


def test_in_the_tokens_protocol_a_task_a_steering_word_and_an_interrupt_go_the_same_way(
    tmp_path: Path,
) -> None:
    long = " ".join(f"word{number}" for number in range(400))
    script = [
        slow("A few words first.", calls=[{"name": "Bash", "arguments": {"command": "echo ran"}}]),
        Reply(text="Heard.", reasoning="I was told."),
        Reply(text=long, gap=0.02, chunk=2, close=True),
        Reply(text="On we go."),
    ]
    tokens = ("--protocol", "tokens", "-m", "glm", "--set", f"engine.tokenizer={TOKENIZER}", "-y")
    with (
        FakeEngine(script, tokenizer=TOKENIZER) as engine,
        glmcode(tmp_path, "--base-url", engine.base_url, *tokens) as session,
    ):
        ready(session)
        session.type("go\r")
        session.wait_for("A few")
        session.type("be brief\x13")
        session.wait_for("Heard.")
        ready(session)
        assert "> be brief" in session.screen.text and "reasoning: 3 words" in session.screen.text
        session.type("tell me all\r")
        session.wait_for("word9")
        session.type("\x03")
        session.wait_for("interrupted")
        ready(session)
        session.type("go on\r")
        session.wait_for("On we go.")
        prompts = [step.json.get("token_ids", step.json.get("prompt")) for step in engine.steps]
        for before, after in pairwise(prompts):
            assert after[: len(before)] == before, "no token is ever prefilled twice"
        ready(session)
        assert " of 16,384 tokens" in session.screen.visible
