from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from glmcode.agent import Agent, AgentOptions, Approval
from glmcode.agent_edited import EditFault
from glmcode.core.events import ApprovalAnswered, ApprovalAsked, CallStarted, Event
from glmcode.core.messages import AssistantMessage, ToolMessage
from glmcode.engine.client import Client
from glmcode.permissions import parse_rules
from glmcode.sessions import read_entries
from tests.scripted import Entry, ScriptedModel, calls, says
from tests.test_agent import EDIT, READ

YES = Approval(allowed=True)


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLMCODE_HOME", str(tmp_path / "home"))


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = (tmp_path / "work").resolve()
    folder.mkdir()
    (folder / "a.py").write_bytes(b"x = 1\ny = 1\n")
    return folder


class Editing:
    """An agent whose person edits each proposal with the functions given, then answers yes."""

    def __init__(
        self, work: Path, script: list[Entry], *edits: Callable[[bytes], bytes], **options: Any
    ) -> None:
        self.events: list[Event] = []
        self.asked: list[ApprovalAsked] = []
        self.faults: list[str] = []
        self.warnings: list[str] = []
        self.names: list[str] = []
        self.answer = YES
        self._edits = edits
        self.model = ScriptedModel(script)
        given = AgentOptions(workspace=work, **options)
        self.agent = Agent(given, cast(Client, self.model), self.events.append, self._answer)

    async def _answer(self, asked: ApprovalAsked) -> Approval:
        self.asked.append(asked)
        for edit in self._edits if asked.editable else ():
            draft = self.agent.approvals.draft()
            assert draft is not None
            self.names.append(draft.name)
            try:
                again, warning = await self.agent.approvals.revise(edit(draft.data))
            except EditFault as fault:
                self.faults.append(str(fault))
            else:
                self.asked.append(again)
                self.warnings.append(warning)
        return self.answer

    def run(self, *prompts: str) -> Editing:
        async def main() -> None:
            for prompt in prompts:
                await self.agent.submit(prompt)
            await self.agent.close()

        asyncio.run(main())
        return self

    def results(self) -> list[str]:
        return [m.text for m in self.agent.transcript.messages if isinstance(m, ToolMessage)]


def bash(command: str) -> list[Entry]:
    return [calls(("Bash", {"command": command})), says("ok")]


def editing(content: dict[str, Any] = EDIT[1], name: str = "Edit") -> list[Entry]:
    return [calls(READ), calls((name, content), step=2), says("ok")]


def test_the_edited_command_runs_and_the_model_is_told_while_its_own_call_stays(
    work: Path,
) -> None:
    held = Editing(work, bash("touch one"), lambda data: data.replace(b"one", b"two") + b"\n")
    held.run("go")
    assert (work / "two").exists() and not (work / "one").exists()
    (result,) = held.results()
    assert result.startswith(
        "[The user changed your command before it ran. This ran instead:\ntouch two\n]\n"
    )
    assert "[exit 0 in" in result and held.names == ["command.sh"]
    (message,) = (
        m for m in held.agent.transcript.messages if isinstance(m, AssistantMessage) and m.calls
    )
    assert message.calls[0].arguments == {"command": "touch one"}
    assert [one.subject for one in held.asked] == ["touch one", "touch two"]
    assert held.asked[1].rules == ("Bash(touch two)",)
    (answered,) = (e for e in held.events if isinstance(e, ApprovalAnswered))
    assert answered.allowed and answered.why == "a person, who edited it"
    (started,) = (e for e in held.events if isinstance(e, CallStarted))
    assert started.preview.title == "touch two"
    entries = read_entries(held.agent.journal.path)
    assert [e["subject"] for e in entries if e["t"] == "intent"] == ["touch two"]


@pytest.mark.parametrize(
    "saved",
    [
        b"x = 9\ny = 1\n",
        b"x = 9\r\ny = 1\r\n",
        b"x = 9",
        b"\xef\xbb\xbfx = 9\n",
        "x = 'caf\u00e9 \U0001f600'\n\n\n".encode(),
        b"x = '\xe9'\n",
    ],
)
def test_a_file_holds_the_very_bytes_that_the_person_saved(work: Path, saved: bytes) -> None:
    held = Editing(work, editing(), lambda data: saved).run("go")
    assert (work / "a.py").read_bytes() == saved
    assert held.names == ["a.py"] and "the user's version" in held.results()[1]


def test_the_model_is_told_what_is_not_as_it_had_proposed_and_goes_on_from_there(
    work: Path,
) -> None:
    again = ("Edit", {"file_path": "a.py", "old_string": "x = 7", "new_string": "x = 8"})
    script: list[Entry] = [calls(READ), calls(EDIT, step=2), calls(again, step=3), says("ok")]
    held = Editing(work, script, lambda data: data.replace(b"x = 2", b"x = 7"))
    held.run("go")
    assert held.results()[1] == (
        "wrote a.py: 2 lines (+1 -1)\n[The user edited what you proposed before it was written: "
        "what stands in the file is the user's version. From your proposal to it:\n"
        "@@ -1,2 +1,2 @@\n-x = 2\n+x = 7\n y = 1\n]"
    )
    assert "-x = 7" in held.asked[2].preview.body, "what it then edits is the user's version"
    assert (work / "a.py").read_bytes() == b"x = 8\ny = 1\n"


def test_a_write_of_a_new_file_is_edited_too(work: Path) -> None:
    script = editing({"file_path": "b/new.txt", "content": "one\n"}, "Write")
    held = Editing(work, script, lambda data: data + b"two\r\n").run("go")
    assert (work / "b" / "new.txt").read_bytes() == b"one\ntwo\r\n"
    assert held.results()[1].startswith("created b/new.txt: 2 lines (+2 -0)")


def test_a_change_too_large_to_be_told_must_be_read_before_the_next_one(work: Path) -> None:
    again = ("Edit", {"file_path": "a.py", "old_string": "line 7\n", "new_string": ""})
    script: list[Entry] = [calls(READ), calls(EDIT, step=2), calls(again, step=3), says("ok")]
    saved = "".join(f"line {n}\n" for n in range(3_000)).encode()
    held = Editing(work, script, lambda data: saved).run("go")
    assert "more was changed: Read the file before you go on with it]" in held.results()[1]
    assert "was not read in this session: Read it first" in held.results()[2]
    assert len(held.results()[1]) < 8_000 and (work / "a.py").read_bytes() == saved


def test_what_a_rule_denies_stays_denied_and_the_proposal_is_as_it_was(work: Path) -> None:
    held = Editing(
        work,
        bash("touch one"),
        lambda data: b"rm -rf a.py",
        deny=parse_rules(["Bash(rm *)"]),
    )
    held.run("go")
    assert (work / "a.py").exists() and (work / "one").exists()
    (fault,) = held.faults
    assert "as you edited it, it is not allowed" in fault and "Bash(rm *)" in fault
    assert "changed your command" not in held.results()[0]


@pytest.mark.parametrize(
    ("saved", "why"),
    [
        (b"touch \xff", "not text in UTF-8"),
        (b"touch a\0b", "NUL"),
        (b"   \n", "empty"),
    ],
)
def test_a_command_that_cannot_run_is_said_and_the_proposal_stays(
    work: Path, saved: bytes, why: str
) -> None:
    held = Editing(work, bash("touch one"), lambda data: saved).run("go")
    assert why in held.faults[0] and (work / "one").exists()


@pytest.mark.parametrize(
    ("saved", "why"),
    [(b"x = 1\ny = 1\n", "would stay as it is"), (b"\0\1\2", "not text")],
)
def test_a_content_that_cannot_be_written_is_said_and_the_proposal_stays(
    work: Path, saved: bytes, why: str
) -> None:
    held = Editing(work, editing(), lambda data: saved).run("go")
    assert why in held.faults[0]
    assert (work / "a.py").read_bytes() == b"x = 2\ny = 1\n"
    assert held.results()[1] == "edited a.py: 1 replacement at line 1 (+1 -1)"


def test_several_edits_add_up_and_one_that_fails_keeps_the_one_before(work: Path) -> None:
    prepared: list[Any] = []

    def once_more(data: bytes) -> bytes:
        prepared.extend(held.agent.context.edited.values())  # what a second run is prepared from
        return data.replace(b"z = 3", b"z = 4")

    held = Editing(work, editing(), lambda data: data + b"z = 3\n", lambda data: b"\0", once_more)
    held.run("go")
    assert (work / "a.py").read_bytes() == b"x = 2\ny = 1\nz = 4\n"
    assert len(held.faults) == 1 and "+z = 4" in held.results()[1]
    assert prepared == [b"x = 2\ny = 1\nz = 3\n"]


def test_a_syntax_error_that_the_person_put_in_is_said_before_it_is_written(work: Path) -> None:
    held = Editing(work, editing(), lambda data: data + b"def f(:\n").run("go")
    (warning,) = held.warnings
    assert warning.startswith("as you edited it, there is a syntax error at line 3, column ")
    assert (work / "a.py").read_bytes().endswith(b"def f(:\n"), "the person has the last word"


def test_a_no_after_editing_does_nothing(work: Path) -> None:
    held = Editing(work, editing(), lambda data: data + b"z = 3\n")
    held.answer = Approval(allowed=False)
    held.run("go")
    assert (work / "a.py").read_bytes() == b"x = 1\ny = 1\n"
    assert held.results()[1] == "not run: the user said no"


def test_a_file_that_changed_while_it_was_edited_is_not_overwritten(work: Path) -> None:
    def edit(data: bytes) -> bytes:
        (work / "a.py").write_bytes(b"theirs\n")
        return data + b"z = 3\n"

    held = Editing(work, editing(), edit).run("go")
    assert "changed since it was last read" in held.faults[0]
    assert (work / "a.py").read_bytes() == b"theirs\n"


def test_a_file_that_changes_after_the_editing_keeps_and_the_model_learns_of_the_edit(
    work: Path,
) -> None:
    held = Editing(work, editing(), lambda data: data + b"z = 3\n")
    real = held.agent.approvals.revise

    async def late(data: bytes) -> Any:
        done = await real(data)
        (work / "a.py").write_bytes(b"theirs\n")
        return done

    held.agent.approvals.revise = late  # type: ignore[method-assign]
    held.run("go")
    assert (work / "a.py").read_bytes() == b"theirs\n"
    assert held.results()[1].startswith("not run: a.py changed") and "+z = 3" in held.results()[1]


def test_an_edited_write_can_be_undone(work: Path) -> None:
    from glmcode.checkpoints.recorder import Checkpoints
    from glmcode.checkpoints.undo import Undo

    held = Editing(work, editing(), lambda data: data + b"z = 3\n").run("go")
    kept = Checkpoints(work, held.agent.session_id)
    undo = Undo(kept)
    undo.apply(undo.plan(1))
    kept.close()
    assert (work / "a.py").read_bytes() == b"x = 1\ny = 1\n"


def test_the_next_message_is_prepared_as_the_model_wrote_it(work: Path) -> None:
    script = [*bash("touch one"), *bash("touch three")]
    Editing(work, script, lambda data: data.replace(b"one", b"two")).run("go", "again")
    assert (work / "two").exists() and (work / "three").exists()


def test_a_question_that_is_over_can_not_be_edited(work: Path) -> None:
    held = Editing(work, bash("touch one")).run("go")
    assert held.agent.approvals.draft() is None
    with pytest.raises(EditFault, match="nothing is asked any more"):
        asyncio.run(held.agent.approvals.revise(b"touch two"))
