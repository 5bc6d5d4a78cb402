from __future__ import annotations

import json
import os
import re
import signal
import socket
import sys
import time
from pathlib import Path

import pytest

from tests.fake_engine import FakeEngine, Reply
from tests.repl.pty_driver import glmcode
from tests.repl.test_turns import reach, ready, slow


def journal_of(folder: Path) -> list[dict[str, object]]:
    files = sorted((folder / "home" / "state" / "sessions").rglob("*.jsonl"))
    return [json.loads(line) for line in files[-1].read_text().splitlines()]


def test_ctrl_d_on_an_empty_input_leaves_and_the_terminal_is_as_it_was(tmp_path: Path) -> None:
    with FakeEngine([]) as engine, glmcode(tmp_path, *reach(engine)) as session:
        ready(session)
        session.type("x\x04")
        session.wait_for_visible("❯ x")
        session.type("\x7f\x04")
        assert session.wait_exit() == 0
        assert session.terminal_is_restored()
        assert "ready" not in session.screen.visible, "the live part is erased"


def test_ctrl_c_clears_the_input_and_leaves_when_it_comes_twice_on_an_empty_one(
    tmp_path: Path,
) -> None:
    with FakeEngine([]) as engine, glmcode(tmp_path, *reach(engine)) as session:
        ready(session)
        session.type("some words")
        session.wait_for_visible("❯ some words")
        session.type("\x03")
        session.wait_gone("some words")
        session.type("\x1b[A")
        session.wait_for_visible("❯ some words")
        session.type("\x03")
        session.wait_gone("some words")
        session.type("\x03")
        session.wait_for_visible("Ctrl-C again leaves")
        session.type("\x03")
        assert session.wait_exit() == 0
        assert session.terminal_is_restored()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_in_the_middle_of_a_turn_ends_it_cleanly(tmp_path: Path, number: int) -> None:
    script = [slow("Some words that were generated. " * 30)]
    with FakeEngine(script) as engine, glmcode(tmp_path, *reach(engine)) as session:
        ready(session)
        session.type("go\r")
        session.wait_for("Some words that")
        session.process.send_signal(number)
        assert session.wait_exit() == 143
        assert session.terminal_is_restored()
        assert "Traceback" not in session.raw
        kept = [entry["message"] for entry in journal_of(tmp_path) if entry["t"] == "message"]
        assert "Some words that" in json.dumps(kept[-1])
        assert f"glmcode -r {journal_of(tmp_path)[0]['id']} goes on with it" in session.raw


def test_a_terminal_that_vanishes_ends_the_session_and_its_command(tmp_path: Path) -> None:
    command = {"command": "echo $$ > pid; sleep 100"}
    script = [Reply(calls=[{"name": "Bash", "arguments": command}])]
    with FakeEngine(script) as engine, glmcode(tmp_path, *reach(engine), "-y") as session:
        ready(session)
        session.type("go\r")
        pid = tmp_path / "workspace" / "pid"
        session.wait_until(lambda: pid.exists() and pid.read_text().strip() != "", "the command")
        os.close(session.master)
        os.close(session.slave)
        session.master, session.slave = os.open(os.devnull, os.O_RDWR), os.open(os.devnull, 0)
        assert session.process.wait(30) == 143
        end = time.monotonic() + 10
        while Path(f"/proc/{pid.read_text().strip()}").exists():
            assert time.monotonic() < end, "the command lives on"
            time.sleep(0.05)


def test_an_interrupt_signal_from_outside_does_as_the_key_does(tmp_path: Path) -> None:
    with (
        FakeEngine([slow("Words. " * 200)]) as engine,
        glmcode(tmp_path, *reach(engine)) as session,
    ):
        ready(session)
        session.type("go\r")
        session.wait_for("Words.")
        session.process.send_signal(signal.SIGINT)
        session.wait_for("interrupted")
        ready(session)


def test_an_unknown_profile_is_a_usage_error(tmp_path: Path) -> None:
    with glmcode(tmp_path, "--profile", "no-such-profile") as session:
        assert session.wait_exit() == 2
        assert "no-such-profile" in session.screen.text
        assert session.terminal_is_restored()


def test_a_journal_that_cannot_be_written_is_told_before_anything_is_sent(tmp_path: Path) -> None:
    state = tmp_path / "home" / "state"
    state.mkdir(parents=True)
    (state / "sessions").write_text("in the way")
    with FakeEngine([]) as engine, glmcode(tmp_path, *reach(engine)) as session:
        assert session.wait_exit() == 1
        assert "journal" in session.screen.text
        assert session.terminal_is_restored()


def test_ctrl_c_while_a_server_is_being_reached_leaves_at_once(tmp_path: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        with glmcode(tmp_path, "--base-url", url) as session:
            session.wait_for_visible("connecting")
            session.type("\x03")
            assert session.wait_exit() == 130
            assert session.terminal_is_restored()


def test_what_is_typed_while_the_engine_is_reached_is_sent_when_it_is_there(
    tmp_path: Path,
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with glmcode(tmp_path, "--base-url", f"http://127.0.0.1:{port}/v1") as session:
        session.wait_for_visible("connecting")
        session.type("an early word\r")
        session.wait_for_visible("queued: an early word")
        with FakeEngine([Reply(text="Answered.")], port=port):
            session.wait_for("Answered.")
            assert "> an early word" in session.screen.text


def test_slash_commands_do_what_they_say(tmp_path: Path) -> None:
    script = [Reply(text="First."), Reply(text="Second.")]
    with FakeEngine(script) as engine, glmcode(tmp_path, *reach(engine)) as session:
        ready(session)
        session.type("hello\r")
        session.wait_for("First.")
        ready(session)
        session.type("/status\r")
        session.wait_for("journal")
        first = re.findall(r"session +(\d{8}-\d{6}-\w{6})", session.screen.text)[-1]
        assert engine.base_url in session.screen.text
        session.type("/cache\r")
        session.wait_for("#1 step")
        assert "the server does not report cached tokens: once" in session.screen.text
        session.type("/clear\r")
        session.wait_for("new session")
        second = re.findall(r"new session (\S+);", session.screen.text)[-1]
        assert first != second
        session.type("hello again\r")
        session.wait_for("Second.")
        assert [m["role"] for m in engine.steps[1].json["messages"]] == ["system", "user"]
        session.type("/stauts\r")
        session.wait_for("did you mean /status?")
        session.type("/help\r")
        session.wait_for("a new session on the same engine")
        session.type("/quit\r")
        assert session.wait_exit() == 0
        assert len(engine.steps) == 2
        assert second in session.screen.text


def test_history_is_kept_over_sessions_and_searched(tmp_path: Path) -> None:
    with FakeEngine([Reply(text="One."), Reply(text="Two.")]) as engine:
        with glmcode(tmp_path, *reach(engine)) as session:
            ready(session)
            session.type("\x1b[200~a pasted\nsecond line\x1b[201~")
            session.wait_for_visible("second line")
            session.type("\r")
            session.wait_for("One.")
            session.type("\x04")
            assert session.wait_exit() == 0
        (history,) = (tmp_path / "home" / "state" / "histories").iterdir()
        assert history.stat().st_mode & 0o777 == 0o600
        with glmcode(tmp_path, *reach(engine)) as session:
            ready(session)
            session.type("\x12pasted")
            session.wait_for_visible("second line")
            session.type("\r")
            session.read(0.3)
            session.type("\r")
            session.wait_for("Two.")
            assert "a pasted\nsecond line" in engine.steps[1].json["messages"][-1]["content"]


def test_ctrl_z_goes_to_the_shell_and_back_with_the_draft_in_place(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "glmcode"]
    with (
        FakeEngine([Reply(text="Welcome back.")]) as engine,
        glmcode(
            tmp_path, "--norc", "--noprofile", "-i", env={"PS1": "$ "}, program=["bash"]
        ) as session,
    ):
        session.wait_for_visible("$")
        session.type(" ".join([*words, *reach(engine)]) + "\r")
        ready(session)
        session.type("a draft")
        session.wait_for_visible("❯ a draft")
        session.type("\x1a")
        session.wait_for_visible("Stopped")
        session.type("stty -a | grep -o -- '-*icanon'\r")
        session.wait_until(lambda: "\nicanon" in session.screen.visible, "a cooked terminal")
        session.type("fg\r")
        ready(session)
        session.type(" goes on\r")
        session.wait_for("> a draft goes on")
        session.wait_for("Welcome back.")


def test_ctrl_c_pressed_on_and_on_leaves_without_a_traceback(tmp_path: Path) -> None:
    with FakeEngine([]) as engine, glmcode(tmp_path, *reach(engine)) as session:
        ready(session)
        session.type("\x03")
        session.wait_for_visible("Ctrl-C again leaves")
        while session.process.poll() is None:
            session.type("\x03")
            session.read(0.003)
        session.read(0.1)
        assert session.process.returncode in (0, -2)
        assert "Traceback" not in session.raw
        assert session.terminal_is_restored()
