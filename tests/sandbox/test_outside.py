from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from glmcode.agent import Agent, AgentOptions, Answer, Approval, nobody
from glmcode.agent_options import CommandOptions
from glmcode.core.events import ApprovalAsked, CallStarted, Event
from glmcode.core.messages import ToolMessage
from glmcode.engine.client import Client
from glmcode.permissions import parse_rules
from glmcode.sandbox import Sandbox
from glmcode.sandbox.explain import lifted
from glmcode.sessions import read_entries
from tests.sandbox.kit import WORKING, backend
from tests.scripted import ScriptedModel, calls, says

pytestmark = pytest.mark.skipif(not WORKING, reason="no sandbox works here")
YES, NO = Approval(allowed=True), Approval(allowed=False)


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GLMCODE_HOME", str(tmp_path / "home"))
    (tmp_path / "work").mkdir()
    return tmp_path.resolve()


@pytest.fixture(params=WORKING)
def mechanism(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Asked:
    """An agent that is to run one command, and what its person was asked."""

    def __init__(
        self,
        base: Path,
        command: str,
        answer: Callable[[], Awaitable[Approval | None]] | Approval,
        mechanism: str = WORKING[0] if WORKING else "",
        **options: Any,
    ) -> None:
        self.events: list[Event] = []
        self.questions: list[ApprovalAsked] = []
        script = [calls(("Bash", {"command": command})), says("done")]
        rules = {"allow": parse_rules(["Bash", "Edit(//**)"])}
        given = AgentOptions(workspace=base / "work", **(rules | options))

        async def asked(question: ApprovalAsked) -> Approval | None:
            self.questions.append(question)
            return answer if isinstance(answer, Approval) else await answer()

        heard: Answer = nobody if answer is nobody else asked
        model = cast(Client, ScriptedModel(script))
        self.agent = Agent(given, model, self.events.append, heard)
        sandbox = self.agent.context.sandbox
        assert isinstance(sandbox, Sandbox)
        sandbox._find = lambda: backend(mechanism)

    def run(self) -> str:
        """The result that the model got."""

        async def main() -> None:
            await self.agent.submit("go")
            await self.agent.close()

        asyncio.run(main())
        (result,) = self.results()
        return result

    def results(self) -> list[str]:
        return [m.text for m in self.agent.transcript.messages if isinstance(m, ToolMessage)]


def twice(base: Path) -> str:
    """A command that counts its runs in the workspace, and then writes beside it."""
    return f"echo ran >> log; echo said; echo x >> {base}/outside"


def runs(base: Path) -> int:
    return (base / "work" / "log").read_text().count("ran")


def test_a_yes_runs_it_again_outside_and_the_model_gets_that_result_and_is_told(
    base: Path, mechanism: str
) -> None:
    asked = Asked(base, twice(base), YES, mechanism)
    result = asked.run()
    assert runs(base) == 2 and (base / "outside").read_text() == "x\n"
    assert result.startswith("said\n[run outside the sandbox, as the user allowed; before that")
    assert result.split("\n")[-1].startswith("[exit 0 in ")
    (question,) = asked.questions
    assert question.question == "Run it again outside the sandbox?"
    assert "The sandbox forbids writing outside the workspace" in question.preview.body
    assert "may have done part of its work" in question.preview.body
    assert "said\n" in question.preview.body, "what the first run printed"
    assert len([event for event in asked.events if isinstance(event, CallStarted)]) == 2
    entries = read_entries(asked.agent.journal.path)
    assert [entry["t"] for entry in entries].count("intent") == 2


@pytest.mark.parametrize("words", ["", "use f instead"])
def test_a_no_leaves_the_first_result_and_says_so_before_how_it_ended(
    base: Path, words: str
) -> None:
    asked = Asked(base, twice(base), Approval(allowed=False, advice=words))
    result = asked.run()
    assert runs(base) == 1 and not (base / "outside").exists()
    said, why, declined, end = result.split("\n")[-4:]
    assert "[the sandbox forbids writing outside" in why and "outside" in said
    advice = f": {words}" if words else ""
    assert declined == f"[the user was asked and did not let it run outside the sandbox{advice}]"
    assert end.startswith("[exit 1 in ")


@pytest.mark.parametrize(
    "options",
    [
        {"mode": "dontAsk"},
        {"mode": "bypassPermissions", "commands": CommandOptions(sandbox="workspace-write")},
    ],
)
def test_modes_that_ask_nobody_do_not_ask_this_either(base: Path, options: dict[str, Any]) -> None:
    asked = Asked(base, twice(base), YES, **options)
    result = asked.run()
    assert asked.questions == [] and runs(base) == 1 and not (base / "outside").exists()
    assert "the user can allow it" in result and "was asked" not in result


def test_where_nobody_can_answer_nothing_is_asked_and_nothing_runs_twice(base: Path) -> None:
    asked = Asked(base, twice(base), nobody)  # type: ignore[arg-type]
    result = asked.run()
    assert runs(base) == 1 and "the user can allow it" in result
    assert not [event for event in asked.events if isinstance(event, ApprovalAsked)]
    assert asked.agent.approvals.unanswered == 0


def test_a_deny_rule_given_while_it_ran_keeps_the_question_away(base: Path) -> None:
    asked = Asked(base, f"echo ran >> log; sleep 0.5; echo x >> {base}/outside", YES)
    agent = asked.agent

    async def main() -> None:
        task = asyncio.ensure_future(agent.submit("go"))
        while not (base / "work" / "log").exists():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        agent.policy = replace(agent.policy, deny=parse_rules(["Bash(echo x *)"]))
        await task
        await agent.close()

    asyncio.run(main())
    assert asked.questions == [] and not (base / "outside").exists()


@pytest.mark.parametrize("change", ["mode", "rule"])
def test_what_changed_while_the_question_stood_is_asked_again_before_it_runs(
    base: Path, change: str
) -> None:
    async def answer() -> Approval:
        if change == "mode":
            asked.agent.set_mode("plan")
        else:
            deny = parse_rules(["Bash(echo x *)"])
            asked.agent.policy = replace(asked.agent.policy, deny=deny)
        return YES

    asked = Asked(base, twice(base), answer)
    assert "a rule or the mode keeps it from running outside" in asked.run()
    assert runs(base) == 1 and not (base / "outside").exists()


def test_a_failure_that_is_not_the_sandboxes_is_not_asked_about(base: Path) -> None:
    asked = Asked(base, "echo ran >> log; false", YES)
    assert "[exit 1" in asked.run()
    assert asked.questions == [] and runs(base) == 1


def test_looking_into_folders_that_stay_unseen_is_no_reason_to_leave(base: Path) -> None:
    asked = Asked(base, f"cat {base}/home/state/x; echo x > {base}/outside", YES)
    assert "looking into glmcode's own folders" in asked.run()
    assert not any(question.question for question in asked.questions)


def test_it_fails_outside_as_well_and_that_is_not_asked_about_again(base: Path) -> None:
    command = f"echo ran >> log; touch {base}/outside && echo Read-only file system && exit 7"
    asked = Asked(base, command, YES)
    result = asked.run()
    assert len(asked.questions) == 1 and runs(base) == 2
    assert "[exit 7" in result and "sandbox forbids" not in result


def test_the_second_run_begins_in_the_folder_of_the_first(base: Path) -> None:
    inner = base / "work" / "inner"
    inner.mkdir()
    asked = Asked(base, f"cd inner && pwd && echo x >> {base}/outside", YES)
    assert asked.run().startswith(f"{inner}\n[run outside")
    assert (base / "outside").exists()
    assert asked.agent.context.cwd == inner


def test_stopping_at_the_question_keeps_what_the_first_run_printed(base: Path) -> None:
    async def stop() -> Approval:
        asked.agent.cancel()
        await asyncio.sleep(60)
        return YES

    asked = Asked(base, twice(base), stop)
    result = asked.run()
    assert runs(base) == 1 and not (base / "outside").exists()
    assert result.startswith("said\n") and "[exit 1 in" in result
    assert "[the user stopped when asked whether to run it outside the sandbox]" in result
    assert result.endswith("cancelled by the user]")


def test_stopping_the_second_run_keeps_what_both_printed(base: Path) -> None:
    asked = Asked(base, f"echo ran >> log; echo said; echo x >> {base}/outside && sleep 60", YES)

    async def main() -> None:
        task = asyncio.ensure_future(asked.agent.submit("go"))
        while not (base / "outside").exists():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
        asked.agent.cancel()
        await task
        await asked.agent.close()

    asyncio.run(main())
    (result,) = asked.results()
    first, again = result.split("[once more, outside the sandbox]\n")
    assert first.startswith("said\n") and again.startswith("said\n")


def test_what_the_person_saves_while_the_question_stands_is_theirs_when_it_is_undone(
    base: Path,
) -> None:
    from glmcode.checkpoints.undo import Undo

    theirs = base / "work" / "theirs"

    async def answer() -> Approval:
        await asyncio.sleep(0.5)
        theirs.write_text("mine\n")
        return YES

    asked = Asked(base, twice(base), answer)

    async def main() -> None:
        await asked.agent.submit("go")
        await asked.agent.past.settled()
        undo = Undo(asked.agent.past.checkpoints)
        plan = await asyncio.to_thread(undo.plan, 1)
        await asyncio.to_thread(lambda: undo.apply(plan, force=False))
        await asked.agent.close()

    asyncio.run(main())
    assert not (base / "work" / "log").exists(), "both runs are taken back"
    assert theirs.read_text() == "mine\n"


def test_rules_that_forbid_to_read_are_named_in_the_question(base: Path) -> None:
    asked = Asked(base, twice(base), NO, deny=parse_rules(["Read(.env)"]))
    asked.run()
    assert "what rules forbid to read is then kept from it only where" in (
        asked.questions[0].preview.body
    )


@pytest.mark.parametrize(
    ("output", "command", "told"),
    [
        ("touch: /x: Read-only file system", "touch /x", "writing outside the workspace"),
        ("curl: (6) Could not resolve host: h", "curl h", "network access"),
        ("/home/state/key: Read-only file system", "x", ""),
        ("Could not resolve host", "cat /home/state/key", ""),
        ("AssertionError", "make", ""),
        ("KeyError: A_TOKEN", "make", ""),
    ],
)
def test_only_what_is_otherwise_outside_is_a_reason_to_leave(
    output: str, command: str, told: str
) -> None:
    said = lifted(
        output,
        command,
        mechanism="bubblewrap",
        read_only=False,
        network=False,
        hidden=(Path("/home/state"),),
    )
    assert told in said and bool(said) == bool(told)
    assert lifted(output, command, mechanism="none", read_only=True, network=False) == ""


def test_a_no_holds_for_the_same_command_and_for_no_other(base: Path) -> None:
    asked = Asked(base, twice(base), NO)
    script = cast(Any, asked.agent.client).script
    again = [calls(("Bash", {"command": twice(base)}), step=2)]
    other = [calls(("Bash", {"command": twice(base) + "2"}), step=3)]
    script[1:1] = [*again, *other]

    async def main() -> None:
        await asked.agent.submit("go")
        await asked.agent.close()

    asyncio.run(main())
    assert len(asked.questions) == 2 and runs(base) == 3
    assert (
        "[the user did not let this command run outside the sandbox before]" in (asked.results()[1])
    )


def test_a_command_that_a_header_cannot_show_stands_whole_in_the_question(base: Path) -> None:
    lines = [*(f"echo {n}" for n in range(60)), "printf '%0300d' 5; echo; echo A yes is safe"]
    asked = Asked(base, "\n".join([*lines, twice(base)]), NO)
    asked.run()
    body = asked.questions[0].preview.body.split("\n")
    assert body[:62] == [f"$ {line}" for line in [*lines, twice(base)]]
    *said, forbids, partly = body[62:]
    assert len(said) == 8 and all(line.startswith("| ") for line in said)
    assert f"| {'0' * 200}…" in said and "| A yes is safe" in said
    assert forbids.startswith("The sandbox forbids") and partly.startswith("It may have done")
