from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.fake_engine import FakeEngine, Reply
from tests.repl.pty_driver import glmcode
from tests.repl.test_turns import reach, ready
from tests.sandbox.kit import WORKING


def bash(command: str) -> Reply:
    return Reply(calls=[{"name": "Bash", "arguments": {"command": command}}])


def last_result(engine: FakeEngine, step: int) -> str:
    return str(json.loads(engine.steps[step].body)["messages"][-1]["content"])


@pytest.mark.skipif(not WORKING, reason="no sandbox works here")
def test_mode_changes_what_runs_and_the_sandbox_goes_and_comes_with_it(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    command = f"echo x >> {outside}"
    script = [bash(command), Reply(text="one"), bash(command), Reply(text="two")]
    with (
        FakeEngine(script) as engine,
        glmcode(tmp_path, *reach(engine), "--allowed-tools", "Bash,Edit(//**)") as session,
    ):
        ready(session)
        session.type("/mode bypass\r")
        session.wait_for("mode bypassPermissions: everything runs")
        session.wait_for("commands run outside the sandbox from now on")
        session.wait_for_visible("ready · glm · bypassPermissions")
        session.type("go\r")
        session.wait_for("one")
        assert outside.read_text() == "x\n"
        ready(session)
        session.type("/mode default\r")
        session.wait_for("commands run in the sandbox from now on (workspace-write)")
        session.wait_for_visible("ready · glm · default")
        session.type("go\r")
        session.wait_for_visible("outside the sandbox?")
        session.read(0.5)
        session.type("4")
        session.wait_for("two")
        assert "the sandbox forbids writing" in last_result(engine, 3)
        assert outside.read_text() == "x\n"
        assert session.screen.foreign == []


def test_shift_tab_goes_round_and_an_unsent_draft_stays(tmp_path: Path) -> None:
    with FakeEngine([]) as engine, glmcode(tmp_path, *reach(engine)) as session:
        ready(session)
        session.type("a draft")
        for mode in ("acceptEdits", "plan", "default"):
            session.type("\x1b[Z")
            session.wait_for_visible(f"glm · {mode}")
        session.wait_for_visible("❯ a draft")
        assert "sandbox" not in session.screen.text, "nothing changed there"


def test_plan_mode_by_key_keeps_a_command_from_running(tmp_path: Path) -> None:
    script = [bash("touch made"), Reply(text="I would touch it.")]
    with FakeEngine(script) as engine, glmcode(tmp_path, *reach(engine)) as session:
        ready(session)
        session.type("/mode plan\rgo\r")
        session.wait_for("I would touch it.")
        assert "plan mode: nothing may be changed or run" in last_result(engine, 1)
        assert not (tmp_path / "workspace" / "made").exists()


def test_mode_alone_lists_them_and_a_wrong_name_is_told(tmp_path: Path) -> None:
    with FakeEngine([]) as engine, glmcode(tmp_path, *reach(engine)) as session:
        ready(session)
        session.type("/mode\r")
        session.wait_for("default (now)")
        session.wait_for("what a rule allows runs")
        session.type("/mode wild\r")
        session.wait_for("unknown permission mode 'wild': one of plan, default")
        session.type("/mode PLAN\r")
        session.wait_for("mode plan: looks only")
