from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from glmcode.repl.editor import editor_of
from tests.fake_engine import FakeEngine, Reply
from tests.repl.pty_driver import PATIENCE_S, glmcode
from tests.repl.test_turns import reach, ready, slow


def script(tmp_path: Path, body: str) -> dict[str, str]:
    path = tmp_path / "my editor"
    path.write_text(f"#!/bin/bash\n{body}\n")
    path.chmod(0o755)
    return {"VISUAL": f"'{path}' --wait"}


def test_the_editor_gets_the_draft_and_what_it_saved_comes_back_and_is_sent(
    tmp_path: Path,
) -> None:
    env = script(tmp_path, 'cp "$2" ../seen; stat -c %a "$(dirname "$2")" > ../mode;'
                 ' printf "first\\nsecond ☃\\n" > "$2"; stty raw -echo')  # fmt: skip
    with (
        FakeEngine([Reply(text="Read.")]) as engine,
        glmcode(tmp_path, *reach(engine), env=env) as session,
    ):
        ready(session)
        session.type("a draft")
        session.wait_for_visible("❯ a draft")
        session.type("\x07")
        session.wait_for_visible("second ☃")
        assert (tmp_path / "seen").read_text() == "a draft"
        assert (tmp_path / "mode").read_text() == "700\n"
        session.type(" and more\r")
        session.wait_for("Read.")
        told = engine.steps[0].json["messages"][-1]["content"]
        assert told.endswith("first\nsecond ☃ and more")
        session.type("\x04")
        assert session.wait_exit() == 0
        assert session.terminal_is_restored()


def test_an_editor_that_fails_leaves_the_draft_as_it_was(tmp_path: Path) -> None:
    env = script(tmp_path, 'echo lost > "$2"; echo -n half a line; exit 3')
    with FakeEngine([]) as engine, glmcode(tmp_path, *reach(engine), env=env) as session:
        ready(session)
        session.type("kept\x07")
        session.wait_for_visible("ended with 3: the draft is as it was")
        session.wait_for_visible("❯ kept")
        session.type("\x03\x04")
        assert session.wait_exit() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("options", [(), ("--plain",)])
def test_a_signal_ends_the_session_and_the_editor_that_has_the_draft(
    tmp_path: Path, number: signal.Signals, options: tuple[str, ...]
) -> None:
    env = script(tmp_path, "stty raw -echo; trap 'touch ../ended; exit' TERM; touch ../open;"
                 " while true; do sleep 0.05; done")  # fmt: skip
    with (
        FakeEngine([]) as engine,
        glmcode(tmp_path, *reach(engine), *options, env=env) as session,
    ):
        session.wait_for_visible("/help")
        session.type("/editor a draft\r")
        session.wait_until((tmp_path / "open").exists, "the editor")
        session.process.send_signal(number)
        assert session.wait_exit() == 143 and session.terminal_is_restored()
        end = time.monotonic() + PATIENCE_S
        while not (tmp_path / "ended").exists():
            assert time.monotonic() < end, "the editor goes on"
            time.sleep(0.02)


def test_what_is_no_file_any_more_leaves_the_draft_as_it_was(tmp_path: Path) -> None:
    env = script(tmp_path, 'rm "$2"; mkfifo "$2"')
    with FakeEngine([]) as engine, glmcode(tmp_path, *reach(engine), env=env) as session:
        ready(session)
        session.type("a draft\x07")
        session.wait_for("left no file: the draft is as it was")
        session.wait_for_visible("❯ a draft")


def test_what_a_turn_says_meanwhile_is_printed_after_the_editor(tmp_path: Path) -> None:
    env = script(
        tmp_path,
        'trap "" INT; echo editing; until [ -e ../go ]; do sleep 0.05; done; echo "x" > "$2"',
    )
    words = " ".join(f"w{n}" for n in range(30))
    with (
        FakeEngine([slow(f"Begun.\n\n{words}\n\nThe end.")]) as engine,
        glmcode(tmp_path, *reach(engine), env=env) as session,
    ):
        ready(session)
        session.type("go\r")
        session.wait_for("Begun.")
        session.type("\x07")
        session.wait_for_visible("editing")
        session.read(3.0)
        assert "w29" not in session.screen.text
        session.type("\x03")
        session.read(0.3)
        (tmp_path / "go").touch()
        session.wait_for("The end.")
        assert "w29" in session.screen.text and "interrupted" not in session.screen.text
        session.wait_for_visible("❯ x")


def test_the_words_of_visual_come_before_those_of_editor() -> None:
    assert editor_of({"VISUAL": "code --wait", "EDITOR": "ed"}) == ["code", "--wait"]
    assert editor_of({"VISUAL": " ", "EDITOR": "ed"}) == ["ed"]
    assert editor_of({"VISUAL": "'broken", "EDITOR": "ed"}) == ["ed"]


def test_vi_keys_edit_and_an_answer_is_still_one_key(tmp_path: Path) -> None:
    call = {"name": "Bash", "arguments": {"command": "touch made"}}
    engine_script = [Reply(calls=[call]), Reply(text="Made.")]
    env = {"GLMCODE_UI__KEYS": "vi"}
    with (
        FakeEngine(engine_script) as engine,
        glmcode(tmp_path, *reach(engine), env=env) as session,
    ):
        ready(session)
        session.type("one two")
        session.wait_for_visible("❯ one two")
        session.type("\x1b")
        session.read(0.8)
        session.type("0dwA three\x1b")
        session.wait_for_visible("❯ two three")
        session.read(0.8)
        session.type("\r")
        session.wait_for_visible("Allow it?")
        session.read(0.5)
        session.type("y")
        session.wait_for("Made.")
        assert (tmp_path / "workspace" / "made").exists()


def test_a_draft_that_was_left_for_an_older_line_is_in_the_history_when_that_is_sent(
    tmp_path: Path,
) -> None:
    script = [Reply(text="one"), Reply(text="two")]
    with FakeEngine(script) as engine, glmcode(tmp_path, *reach(engine)) as session:
        ready(session)
        session.type("an older line\r")
        session.wait_for("one")
        ready(session)
        session.type("half a thought")
        session.wait_for_visible("half a thought")
        session.type("\x1b[A")
        session.wait_gone("half a thought")
        session.type("\r")
        session.wait_for("two")
        ready(session)
        session.type("\x1b[A\x1b[A")
        session.wait_for_visible("❯ half a thought")


def test_advice_that_was_typed_is_in_the_history(tmp_path: Path) -> None:
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
        session.type("keep build\r")
        session.wait_for("I leave it.")
        ready(session)
        session.type("\x1b[A")
        session.wait_for_visible("❯ keep build")
