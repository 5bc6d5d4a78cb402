from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from glmcode.agent import Approval
from glmcode.base.config import load_config
from glmcode.core.events import (
    Appended,
    ApprovalAnswered,
    ApprovalAsked,
    CallStarted,
    Event,
    Notice,
)
from glmcode.core.messages import RejectedCall, ToolMessage
from glmcode.permissions import parse_rules
from glmcode.sessions import read_entries
from tests.scripted import calls, says
from tests.test_agent import READ, Held

ALL = Approval(allowed=True, together=True)
ONE = Approval(allowed=True, singly=True)


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLMCODE_HOME", str(tmp_path / "home"))


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = (tmp_path / "work").resolve()
    folder.mkdir()
    (folder / "a.py").write_text("x = 1\ny = 1\n")
    return folder


def bash(command: str) -> tuple[str, dict[str, Any]]:
    return ("Bash", {"command": command})


def edit(old: str, new: str, path: str = "a.py") -> tuple[str, dict[str, Any]]:
    return ("Edit", {"file_path": path, "old_string": old, "new_string": new})


def told(events: list[Event]) -> list[str]:
    """What happened, in order: asked (about which calls), answered, started, appended."""
    lines: list[str] = []
    for event in events:
        match event:
            case ApprovalAsked():
                ids = [event.call_id, *(one.call_id for one in event.others)]
                lines.append("asked " + " ".join(ids))
            case ApprovalAnswered():
                lines.append(f"{'yes' if event.allowed else 'no'} {event.call_id}")
            case CallStarted():
                lines.append(f"start {event.call_id}")
            case Appended(message=ToolMessage() as message):
                lines.append(f"end {message.call_id}")
            case _:
                pass
    return lines


def test_what_a_message_asks_is_put_together_and_one_yes_runs_all_in_their_order(
    work: Path,
) -> None:
    script = [calls(bash("echo 1 >> log"), bash("ls"), bash("echo 2 >> log")), says("ok")]
    held = Held(work, script, [ALL])
    held.run("go")
    assert [one.subject for one in held.asked[0].others] == ["echo 2 >> log"]
    assert (work / "log").read_text() == "1\n2\n" and len(held.asked) == 1
    assert told(held.events) == [
        *("asked call_1_1 call_1_3", "yes call_1_1", "start call_1_1", "end call_1_1"),
        *("start call_1_2", "end call_1_2"),
        *("yes call_1_3", "start call_1_3", "end call_1_3"),
    ]


def test_one_no_refuses_all_with_the_same_words_and_every_call_is_answered(work: Path) -> None:
    script = [calls(bash("touch 1"), bash("touch 2"), bash("touch 3")), says("ok")]
    held = Held(work, script, [Approval(allowed=False, advice="not now", together=True)])
    held.run("go")
    assert held.results() == ["not run: the user said no: not now"] * 3
    assert not list(work.glob("[123]")) and len(held.asked) == 1


def test_an_edit_that_looks_different_when_its_turn_comes_is_asked_again(work: Path) -> None:
    both = calls(edit("x = 1\n", "x = 2\nz = 0\n"), edit("y = 1", "y = 2"), step=2)
    held = Held(work, [calls(READ), both, says("ok")], [ALL, Approval(allowed=True)])
    held.run("go")
    first, again = held.asked
    assert [one.call_id for one in first.others] == ["call_2_2"]
    assert again.call_id == "call_2_2" and again.preview != first.others[0].preview
    assert "+y = 2" in again.preview.body and " z = 0" in again.preview.body
    assert (work / "a.py").read_text() == "x = 2\nz = 0\ny = 2\n"
    assert any("looks different now" in e.text for e in held.events if isinstance(e, Notice))


def test_an_edit_that_is_the_same_when_its_turn_comes_is_not_asked_again(work: Path) -> None:
    (work / "b.py").write_text("x = 1\n")
    reads = calls(READ, ("Read", {"file_path": "b.py"}))
    both = calls(edit("x = 1", "x = 2"), edit("x = 1", "x = 3", "b.py"), bash("touch c"), step=2)
    held = Held(work, [reads, both, says("ok")], [ALL])
    held.run("go")
    assert len(held.asked) == 1 and (work / "c").exists()
    assert (work / "b.py").read_text() == "x = 3\n"


def test_a_command_in_another_folder_than_it_was_shown_in_is_asked_again(work: Path) -> None:
    (work / "sub").mkdir()
    script = [calls(bash("cd sub && touch a"), bash("touch b")), says("ok")]
    held = Held(work, script, [ALL, Approval(allowed=False)])
    held.run("go")
    assert [one.call_id for one in held.asked] == ["call_1_1", "call_1_2"]
    assert (work / "sub" / "a").exists() and not (work / "sub" / "b").exists()


def test_what_cannot_be_prepared_ahead_is_asked_about_when_it_can(work: Path) -> None:
    both = calls(edit("x = 1", "x = 2"), edit("x = 2", "x = 3"), step=2)
    held = Held(work, [calls(READ), both, says("ok")], [ALL, Approval(allowed=True)])
    held.run("go")
    assert held.asked[0].others == () and len(held.asked) == 2
    assert (work / "a.py").read_text() == "x = 3\ny = 1\n"


def test_one_by_one_asks_about_each_alone(work: Path) -> None:
    script = [calls(bash("touch 1"), bash("touch 2"), bash("touch 3")), says("ok")]
    held = Held(work, script, [ONE, Approval(allowed=False), Approval(allowed=True)])
    held.run("go")
    assert [len(one.others) for one in held.asked] == [2, 0, 0]
    assert sorted(path.name for path in work.glob("[123]")) == ["1", "3"]


def test_a_rule_for_the_session_answers_the_questions_after_it(work: Path) -> None:
    script = [calls(bash("git init a"), bash("git init b")), says("ok")]
    held = Held(work, script, [Approval(allowed=True, session="Bash(git init *)")])
    held.run("go")
    assert len(held.asked) == 1 and (work / "b" / ".git").exists()


def test_reads_side_by_side_are_asked_about_together(work: Path, tmp_path: Path) -> None:
    for name in ("p", "q"):
        (tmp_path / name).write_text(f"{name}\n")
    reads = calls(*(("Read", {"file_path": str(tmp_path / name)}) for name in ("p", "q")))
    held = Held(work, [reads, says("ok")], [ALL])
    held.run("go")
    assert len(held.asked) == 1 and [len(one.others) for one in held.asked] == [1]
    assert ["p" in held.results()[0], "q" in held.results()[1]] == [True, True]


def test_calls_behind_a_rejected_one_are_not_shown_ahead(work: Path) -> None:
    message = calls(bash("touch 1"), bash("touch 2"))
    rejected = RejectedCall(id="call_1_9", reason="malformed", raw="x", before=1)
    held = Held(work, [replace(message, rejected=(rejected,)), says("ok")], [ALL])
    held.run("go")
    assert held.asked[0].others == () and not (work / "2").exists()


def test_preparing_ahead_changes_nothing_and_a_cancelled_question_answers_every_call(
    work: Path,
) -> None:
    script = [calls(bash("touch 1"), bash("touch 2")), says("never")]
    held = Held(work, script)

    async def main() -> None:
        asked = asyncio.Event()

        async def wait(question: ApprovalAsked) -> Approval | None:
            held.asked.append(question)
            asked.set()
            await asyncio.Event().wait()
            return None

        held.agent.approvals._answer = wait
        turn = asyncio.ensure_future(held.agent.submit("go"))
        await asked.wait()
        held.agent.cancel()
        assert (await turn).reason == "cancelled"
        await held.agent.close()

    asyncio.run(main())
    assert (
        held.results() == ["not run to its end: cancelled by the user"] * 2
        and len(held.asked[0].others) == 1
    )
    assert [path.name for path in work.iterdir()] == ["a.py"]


def test_always_is_kept_in_the_settings_for_this_folder_and_not_in_the_journal(
    work: Path,
) -> None:
    script = [calls(bash("touch 1")), calls(bash("touch 1"), step=2), says("ok")]
    held = Held(work, script, [Approval(allowed=True, always="Bash(touch 1)")])
    held.run("go")
    assert len(held.asked) == 1
    assert load_config(work, {})[0].permissions.allow == ("Bash(touch 1)",)
    assert "grant" not in [entry["t"] for entry in read_entries(held.agent.journal.path)]
    assert held.agent.approvals.kept == parse_rules(["Bash(touch 1)"])


def test_where_the_settings_cannot_be_written_the_rule_holds_for_the_session_and_that_is_said(
    work: Path, tmp_path: Path
) -> None:
    settings = tmp_path / "home" / "config" / "config.toml"
    settings.parent.mkdir(parents=True)
    settings.write_text("[broken\n")
    script = [calls(bash("touch 1")), calls(bash("touch 1"), step=2), says("ok")]
    held = Held(work, script, [Approval(allowed=True, always="Bash(touch 1)")])
    held.run("go")
    assert len(held.asked) == 1 and settings.read_text() == "[broken\n"
    assert "grant" in [entry["t"] for entry in read_entries(held.agent.journal.path)]
    said = [event.text for event in held.events if isinstance(event, Notice)]
    assert any(str(settings) in text and "this session only" in text for text in said)


def test_a_yes_that_comes_after_plan_mode_was_chosen_lets_nothing_run(work: Path) -> None:
    held = Held(work, [calls(bash("touch 1"), bash("touch 2")), says("ok")])

    async def change(asked: ApprovalAsked) -> Approval | None:
        held.asked.append(asked)
        held.agent.set_mode("plan")
        return ALL

    held.agent.approvals._answer = change
    held.run("go")
    assert all("plan mode" in text for text in held.results()) and len(held.asked) == 1
    assert not list(work.glob("[12]"))
